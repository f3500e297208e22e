"""Looking at a machine: its files and its process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass

from guesthouse.decide.observed import Desired, Observed, ProcessSeen
from guesthouse.host.disks import DiskFiles
from guesthouse.host.machines import process
from guesthouse.host.machines.folder import Folder
from guesthouse.host.machines.layering import written_layers
from guesthouse.host.machines.qmp import Gone, Refused
from guesthouse.host.machines.run import Run
from guesthouse.host.machines.runs import Runs
from guesthouse.host.machines.wiring import Wiring
from guesthouse.host.seed import public_of
from guesthouse.host.snapshots.shelf import SnapshotShelf
from guesthouse.model.errors import TimedOut
from guesthouse.model.machine import Stage
from guesthouse.model.resources import Disk
from guesthouse.qemu.messages import BALLOON, STATUS

UNRESPONSIVE = "unresponsive"
"""Our own run state beside QEMU's: there is a process, and it does not answer."""
_END_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Observer:
    """What it takes to look at machines."""

    runs: Runs
    disks: DiskFiles
    snapshots: SnapshotShelf
    wiring: Wiring

    async def observe(self, desired: Desired) -> Observed:
        """The machine as it is; adopts a process that an earlier daemon left running."""
        folder = self.runs.folder(desired.machine.id)
        known = (*desired.disks, *desired.leaving, *desired.aside, *desired.forks)
        seen = await self._process(folder, known)
        disks = {disk.id: found for disk in known if (found := self.disks.see(disk)) is not None}
        return Observed(
            disks=disks,
            folder=folder.path.is_dir(),
            seeded=folder.seed.is_file(),
            host_key=_host_key(folder),
            process=seen,
            snapshots=self.snapshots.see(desired.snapshots),
            networks=self.wiring.seen(desired),
        )

    async def _process(self, folder: Folder, disks: Iterable[Disk]) -> ProcessSeen | None:
        try:
            run = await self.runs.find(folder.machine)
            if run is None:
                return None
            return await _see(run, await written_layers(run, self.disks, disks))
        except Gone:
            await self._gone(folder)
            return None
        except TimedOut:
            return _unresponsive(folder)

    async def _gone(self, folder: Folder) -> None:
        """QEMU hung up: it is ending. Raises `TimedOut` when it then lives on."""
        for run in self.runs.held:
            if run.folder == folder:
                try:
                    async with asyncio.timeout(_END_TIMEOUT_S):
                        await run.process.ended.wait()
                except TimeoutError as error:
                    await self.runs.drop(run)
                    raise TimedOut("QEMU hung up and does not end") from error


async def _see(run: Run, layers: dict[str, str]) -> ProcessSeen:
    record = run.record
    status, actual_mib = await asyncio.gather(run.monitor.execute(STATUS), _actual_mib(run))
    return ProcessSeen(
        pid=run.process.pid,
        runstate=status["status"],
        spec=record.spec,
        restart_epoch=record.restart_epoch,
        boot_memory_mib=record.boot_memory_mib,
        started_at=record.started_at,
        accelerator=record.accelerator,
        forwards=tuple(forward for row in record.forwards.values() for forward in row),
        ssh_port=run.ssh_port,
        screen=str(run.folder.screen) if record.spec.screen else "",
        memory_actual_mib=actual_mib,
        stage=run.stages.stage,
        outcome=run.stages.outcome,
        forked=record.forked,
        layers=layers,
        nameless=record.nameless,
    )


async def _actual_mib(run: Run) -> int:
    """What the balloon leaves the guest."""
    if run.record.spec.balloon:
        with contextlib.suppress(Refused):  # the guest's driver is not there yet, and so has taken nothing
            return int((await run.monitor.execute(BALLOON))["actual"]) >> 20
    return run.record.boot_memory_mib


def _unresponsive(folder: Folder) -> ProcessSeen:
    """All that can be said of a QEMU that does not answer."""
    record = folder.read_record()
    running = process.find(folder.pidfile)
    assert record is not None  # it is written before QEMU is started
    if running is not None:
        running.forget()
    return ProcessSeen(
        pid=running.pid if running else 0,
        runstate=UNRESPONSIVE,
        spec=record.spec,
        restart_epoch=record.restart_epoch,
        boot_memory_mib=record.boot_memory_mib,
        started_at=record.started_at,
        accelerator=record.accelerator,
        stage=Stage.NONE,
    )


def _host_key(folder: Folder) -> str:
    try:
        return public_of(folder.host_key).read_text().strip()
    except FileNotFoundError:
        return ""
