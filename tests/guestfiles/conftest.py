"""A guest in a scratch folder: real files, and the programs of a guest noted instead of run."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from guesthouse.guestfiles.micro.firstboot import keys, modules
from guesthouse.guestfiles.micro.firstboot.guest import Guest
from guesthouse.guestfiles.micro.firstboot.outcome import Outcome
from guesthouse.guestfiles.micro.firstboot.sources import Seed, none


class ScratchGuest(Guest):
    """`told` lists the programs that would have changed the machine; `answers` is what they say.

    `kernel` lists what the kernel would have been asked for; a text in `refused` it refuses once.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(str(root))
        self.told: list[tuple[list[str], bytes]] = []
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.kernel: list[tuple[object, ...]] = []
        self.refused: list[str] = []
        me = f"{os.getuid()}:{os.getgid()}"
        self.write("/etc/passwd", f"root:x:{me}:root:/root:/bin/sh\n".encode())
        self.write("/etc/group", f"root:x:{os.getgid()}:\n".encode())
        self.write("/etc/shadow", b"root:!:19000:0:99999:7:::\n")
        self.write("/bin/sh", b"")

    def run(self, argv: Sequence[str], stdin: bytes = b"") -> tuple[int, bytes]:
        self.told.append((list(argv), stdin))
        return self.answers.get(argv[0], (0, b""))

    def write(
        self,
        path: str,
        data: bytes,
        permissions: int = 0o644,
        owner: tuple[int, int] | None = None,
        append: bool = False,
    ) -> None:
        self.owners = {**getattr(self, "owners", {}), path: owner}
        super().write(path, data, permissions, None, append)

    def folder(self, path: str, permissions: int = 0o755, owner: tuple[int, int] | None = None) -> None:
        self.owners = {**getattr(self, "owners", {}), path: owner}
        super().folder(path, permissions, None)

    def tell(self, path: str, text: str) -> None:
        if text in self.refused:
            self.refused.remove(text)
            raise OSError(errno.EINVAL, "Invalid argument")
        self.kernel.append(("told", path, text))

    def add_entropy(self, data: bytes, counted_bytes: int) -> None:
        self.kernel.append(("entropy", data, counted_bytes))

    def set_clock(self, time_s: float) -> None:
        self.kernel.append(("clock", time_s))

    def link_up(self, nic: str) -> None:
        self.kernel.append(("up", nic))

    def set_hostname(self, name: str) -> None:
        self.kernel.append(("hostname", name))

    def stand_back(self, back: bool) -> None:
        self.kernel.append(("stand back", back))

    def mode(self, path: str) -> int:
        return Path(self.path(path)).stat().st_mode & 0o7777

    def configure(self, config: dict[str, Any], seed: Seed | None = None, scripts: Sequence[bytes] = ()) -> Outcome:
        """Run all modules of a configuration, as a boot does."""
        outcome = Outcome(self)
        work = modules.Work(self, seed or none(), keys.check(config, outcome), list(scripts), outcome)
        for stage in ("init", "modules-config", "modules-final", "after"):
            modules.run_stage(work, stage)
        return outcome


@pytest.fixture
def guest(tmp_path: Path) -> ScratchGuest:
    return ScratchGuest(tmp_path)
