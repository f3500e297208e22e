"""The house's own SSH key pair for each project: how `guest shell` enters a machine.

A pair is made at the first need, in files that only the daemon's user may read; a private key never leaves them.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from guesthouse.host.durable import write_whole
from guesthouse.host.sshkeys import make_pair, public_half


class HouseKeyring:
    """Key pairs in a folder: ``PROJECT`` and ``PROJECT.pub``, as ssh-keygen would leave them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, str] = {}
        self._making = asyncio.Lock()

    async def public(self, project: str) -> str:
        """The public key line of the project's pair."""
        if project not in self._known:
            async with self._making:
                self._known[project] = await asyncio.to_thread(self._ensure, project)
        return self._known[project]

    def private_path(self, project: str) -> str:
        """Where the private key lies, in OpenSSH's form."""
        return str(self._folder / project)

    def _ensure(self, project: str) -> str:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        private, public = self._folder / project, self._folder / f"{project}.pub"
        if not private.exists():
            public.unlink(missing_ok=True)
            write_whole(private, make_pair()[0].encode())
        if not public.exists():
            write_whole(public, f"{public_half(private.read_bytes())} guesthouse\n".encode())
        return public.read_text().strip()
