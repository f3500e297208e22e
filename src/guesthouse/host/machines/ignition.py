"""Lighting a QEMU in a folder: its sockets bound first, its lock handed on, its greeting taken.

What is started may be a machine (`starting`) or a template in the making (`templates.making`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from guesthouse.host.durable import read_from
from guesthouse.host.identity import Identity
from guesthouse.host.machines import qmp
from guesthouse.host.machines.folder import Folder
from guesthouse.host.machines.process import Process, Rank, spawn, take_lock
from guesthouse.host.machines.qmp import Gone, Monitor
from guesthouse.host.machines.runs import released
from guesthouse.model.errors import ChildFailed, TimedOut
from guesthouse.qemu.boot import Boot, Sockets
from guesthouse.qemu.command import command
from guesthouse.qemu.messages import QUIT
from guesthouse.qemu.placed import Placed

_SOCKETS = ("qmp", "console", "agent", "report")
_GREETING_TIMEOUT_S = 60.0
_LAST_WORDS_BYTES = 4096


@dataclass(frozen=True)
class Bound:
    """Descriptors for QEMU to inherit: its listening sockets, and the folder in which its screen's will be."""

    sockets: Sockets
    screens: int

    @property
    def all(self) -> tuple[int, ...]:
        sockets = self.sockets
        return sockets.qmp, sockets.console, sockets.agent, sockets.report, self.screens


class Lit(NamedTuple):
    """A QEMU that has greeted us, and with what it was started."""

    process: Process
    monitor: Monitor
    boot: Boot

    async def quit(self) -> None:
        """Have it end, its files whole."""
        with contextlib.suppress(Gone):
            await self.monitor.execute(QUIT)
        await self.process.ended.wait()

    async def end(self) -> None:
        """End it as if it had never been."""
        self.process.kill()
        await self.process.ended.wait()
        await self.monitor.close()


@dataclass(frozen=True)
class Ignition:
    """A folder whose lock we hold until QEMU has it, and as whom QEMU runs there. `reached` is told how far it is."""

    folder: Folder
    lock: int
    identity: Identity
    reached: Callable[[str], None] = lambda point: None
    rank: Rank = Rank.MACHINE

    async def light(self, placed: Placed, boot: Callable[[Bound], Boot], inherited: tuple[int, ...] = ()) -> Lit:
        """Start QEMU with the tree and the boot, and the descriptors that it is to have beside its own.

        Raises `ChildFailed` with QEMU's command and last words when it ends while starting.
        """
        with _bind(self.folder) as bound:
            self.reached("bound")
            start = boot(bound)
            argv, said_before = command(placed, start), self.folder.qemu_log.stat().st_size
            # One that is plugged later is given then: QEMU would keep an inherited one besides, and so the TAP.
            taps = (start.taps[nic.mac] for nic in placed.nics if nic.mac in start.taps)
            keep = (self.lock, *bound.all, *taps, *inherited)
            log, identity = self.folder.qemu_log, self.identity
            process = spawn(argv, keep=keep, log=log, identity=identity, rank=self.rank)
            self.reached("spawned")
        monitor = await _greet(argv, process, self.folder, said_before)
        self.reached("greeted")
        return Lit(process, monitor, start)


@contextlib.asynccontextmanager
async def locked(folder: Folder) -> AsyncIterator[int]:
    """The run lock of a folder, when whatever QEMU is just ending has let go of it."""
    while (lock := take_lock(folder.lock)) is None:
        await released(folder)
    try:
        yield lock
    finally:
        os.close(lock)


@contextlib.contextmanager
def _bind(folder: Folder) -> Iterator[Bound]:
    """The sockets, bound and listening; ours are closed at the end, when QEMU has its own."""
    with contextlib.ExitStack() as stack:
        listeners = {name: stack.enter_context(folder.listen(name)).fileno() for name in _SOCKETS}
        screens = os.open(folder.screen.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, screens)
        yield Bound(Sockets(**listeners), screens)


async def _greet(argv: tuple[str, ...], process: Process, folder: Folder, said_before: int) -> Monitor:
    """The monitor of a QEMU just started. Its socket listens already; should QEMU end, that hangs up.

    `said_before` is how long its log was before.
    """
    try:
        return await qmp.connect(folder.connect("qmp"), _GREETING_TIMEOUT_S)
    except (OSError, Gone, TimedOut) as error:
        # It ends by itself, or it hangs and is ended: nothing half-started stays.
        if isinstance(error, TimedOut):
            process.kill()
        await process.ended.wait()
        said = read_from(folder.qemu_log, said_before, _LAST_WORDS_BYTES).decode(errors="replace")
        raise ChildFailed(argv, process.status or 0, said, subject=f"machine {folder.machine}") from error
