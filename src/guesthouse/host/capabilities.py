"""What the QEMU of this box can: asked over QMP once for each binary, then kept.

Rules
-----
1. The answer is kept with the binary's path, size and time of change: another binary is asked anew.
2. What was kept can be thrown away at any time.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
from pathlib import Path

import msgspec

from guesthouse.host.durable import write_whole
from guesthouse.host.identity import Identity
from guesthouse.host.machines import qmp
from guesthouse.host.machines.process import PROGRAMS, Rank, spawn
from guesthouse.model.errors import Failed
from guesthouse.qemu.capabilities import Capabilities, parse
from guesthouse.qemu.messages import MACHINES, types

_TIMEOUT_S = 60.0  # as long as for the start of a machine: the box may be busy


class _Kept(msgspec.Struct, frozen=True):
    binary: tuple[str, int, int]
    capabilities: Capabilities


class Emulator:
    """The QEMU program of this box; `cache` is the folder for what it told."""

    def __init__(self, binary: str, cache: Path) -> None:
        self.binary = binary
        self._cache = cache
        self._known: Capabilities | None = None
        self._asking = asyncio.Lock()

    async def capabilities(self) -> Capabilities:
        """What it can; raises `Failed` when it is not installed, `NoCapacity` when it is too old."""
        async with self._asking:
            if self._known is None:
                self._known = await self._recall()
        return self._known

    async def _recall(self) -> Capabilities:
        found = shutil.which(self.binary, path=PROGRAMS)
        if found is None:
            raise Failed(f"{self.binary} is not installed on this host", hint="apt install qemu-system-x86")
        kept = self._cache / "qemu.json"
        if (known := _read(kept)) is not None and known.binary == _facts(found):
            return known.capabilities
        capabilities = await _ask(found, self._cache)
        with contextlib.suppress(OSError):  # what cannot be kept is asked again next time
            write_whole(kept, msgspec.json.encode(_Kept(_facts(found), capabilities)))
        return capabilities


def _facts(binary: str) -> tuple[str, int, int]:
    facts = Path(binary).stat()
    return binary, facts.st_size, facts.st_mtime_ns


def _read(kept: Path) -> _Kept | None:
    try:
        return msgspec.json.decode(kept.read_bytes(), type=_Kept)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


async def _ask(binary: str, cache: Path) -> Capabilities:
    """Start a QEMU without a machine, ask it, and end it."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    fd = theirs.fileno()
    argv = (
        binary, "-machine", "none", "-nodefaults", "-no-user-config", "-display", "none",
        "-chardev", f"socket,id=qmp,fd={fd}", "-mon", "chardev=qmp,mode=control",
    )  # fmt: skip
    process = spawn(argv, keep=(fd,), log=cache / "qemu-capabilities.log", identity=Identity(), rank=Rank.HELPER)
    theirs.close()
    try:
        return await _interview(ours)
    finally:
        process.kill()
        await process.ended.wait()


async def _interview(connection: socket.socket) -> Capabilities:
    monitor = await qmp.connect(connection, _TIMEOUT_S)
    try:
        return parse(monitor.greeting, await monitor.execute(MACHINES), await monitor.execute(types()))
    finally:
        await monitor.close()
