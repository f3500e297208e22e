"""What the house keeps to itself: an SSH key pair for each project, by which `guest shell` enters, and a secret.

Each is made at the first need, in files that only the daemon's user may read; none leaves the house.
"""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

from guesthouse.host.durable import write_whole
from guesthouse.host.sshkeys import make_pair, public_half

_SECRET, _SECRET_BYTES = "secret", 32


class HouseKeyring:
    """Key pairs in a folder: ``PROJECT`` and ``PROJECT.pub``, as ssh-keygen would leave them; and ``secret``."""

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

    async def secret(self) -> bytes:
        """Of which the secrets of access keys are made: who removes it makes all access keys worth nothing."""
        async with self._making:
            return await asyncio.to_thread(self._ensure_secret)

    def _ensure_secret(self) -> bytes:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / _SECRET
        if not path.exists():
            write_whole(path, secrets.token_bytes(_SECRET_BYTES))
        return path.read_bytes()

    def _ensure(self, project: str) -> str:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        private, public = self._folder / project, self._folder / f"{project}.pub"
        if not private.exists():
            public.unlink(missing_ok=True)
            write_whole(private, make_pair()[0].encode())
        if not public.exists():
            write_whole(public, f"{public_half(private.read_bytes())} guesthouse\n".encode())
        return public.read_text().strip()
