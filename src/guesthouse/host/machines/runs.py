"""The running machines of this house: found again after a restart of the daemon, each held once.

What makes a QEMU known is its folder alone (see the rules of the package); `Runs` only caches.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from pathlib import Path

from guesthouse.host.dialling import Target
from guesthouse.host.feed import Feed
from guesthouse.host.machines import process, qmp
from guesthouse.host.machines.folder import Folder, Record
from guesthouse.host.machines.interrupted import recover
from guesthouse.host.machines.process import Process
from guesthouse.host.machines.qmp import Gone, Monitor
from guesthouse.host.machines.run import Run
from guesthouse.host.processes import run as run_program
from guesthouse.model.errors import ChildFailed, TimedOut

_LOG = logging.getLogger(__name__)
# A QEMU that answers at all does so in milliseconds, but when the box is busy, or it is just starting.
_GREETING_TIMEOUT_S = 20.0
_END_TIMEOUT_S = 20


class Runs:
    """Running machines by id; what they tell is taken up by tasks of `tasks` and told to `feed`.

    `addresses` tells where on networks a machine takes connections to a port.
    """

    def __init__(
        self, machines: Path, tasks: asyncio.TaskGroup, feed: Feed, addresses: Callable[[str, int], Iterable[Target]]
    ) -> None:
        self._machines = machines
        self._tasks = tasks
        self._feed = feed
        self._addresses = addresses
        self._held: dict[str, tuple[Run, asyncio.Task[None]]] = {}
        self._finding: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def folder(self, machine: str) -> Folder:
        return Folder(self._machines / machine)

    @property
    def held(self) -> list[Run]:
        """Those that are held now."""
        return [run for run, _ in self._held.values()]

    async def find(self, machine: str) -> Run | None:
        """The machine's QEMU, adopted if an earlier daemon left it; None when there is none.

        Raises `TimedOut` when there is one that does not answer.
        """
        if (run := self._known(machine)) is not None:
            return run
        async with self._finding[machine]:
            if (run := self._known(machine)) is not None:
                return run
            folder = self.folder(machine)
            if not process.is_locked(folder.lock):
                return None
            return await self._adopt(folder)

    @contextlib.asynccontextmanager
    async def to_be(self, machine: str) -> AsyncIterator[None]:
        """A machine that is being started: who looks for its QEMU meanwhile waits, and finds it whole or not at all."""
        async with self._finding[machine]:
            yield

    def hold(self, folder: Folder, running: Process, monitor: Monitor, record: Record) -> Run:
        """Hold a QEMU from now on."""
        machine = folder.machine
        run = Run(folder, running, monitor, record, lambda: self._feed.tell(machine), partial(self._addresses, machine))
        self._held[machine] = run, self._tasks.create_task(self._keep(machine, run))
        return run

    async def drop(self, run: Run) -> None:
        """Hold a QEMU no longer; it lives on and can be found again."""
        held = self._held.get(run.folder.machine)
        if held is not None and held[0] is run:
            held[1].cancel()
            await asyncio.wait([held[1]])

    async def close(self) -> None:
        """Hold nothing any more."""
        for run in self.held:
            await self.drop(run)

    def _known(self, machine: str) -> Run | None:
        held = self._held.get(machine)
        return held[0] if held is not None and not held[0].process.ended.is_set() else None

    async def _keep(self, machine: str, run: Run) -> None:
        try:
            await run.keep()
        except Exception:
            # QEMU may have been taken over by its guest and say anything. Others must not suffer from that.
            _LOG.exception("machine %s: its QEMU cannot be followed", machine)
        finally:
            if (held := self._held.get(machine)) is not None and held[0] is run:
                del self._held[machine]

    async def _adopt(self, folder: Folder) -> Run | None:
        try:
            monitor = await qmp.connect(folder.connect("qmp"), _GREETING_TIMEOUT_S)
        except (OSError, Gone):
            # Nobody listens though the lock was held: it was just ending.
            await released(folder)
            return None
        running, record = process.find(folder.pidfile), folder.read_record()
        if running is None or record is None:
            await monitor.close()
            await released(folder)
            return None
        if record.unfinished:
            # What an earlier daemon had not finished restoring: its vCPUs never ran, and nobody knows what it has.
            running.kill()
            await running.ended.wait()
            await monitor.close()
            return None
        if record.restored:
            folder.remember_restored(record.restart_epoch)
        run = self.hold(folder, running, monitor, record)
        try:
            await recover(run)
            await run.look_around()
        except Gone:
            await running.ended.wait()
            return None
        return run


async def released(folder: Folder) -> None:
    """Wait until no QEMU of this folder is left; raises `TimedOut`."""
    try:
        await run_program(["flock", "--shared", "--wait", str(_END_TIMEOUT_S), str(folder.lock), "true"])
    except ChildFailed as error:
        raise TimedOut(
            "QEMU neither answers nor ends",
            subject=f"machine {folder.machine}",
            hint="force it off: `guest stop --force`",
        ) from error
