"""Settling a snapshot's memory: from QEMU's stream to a file that everyone who goes on from it shares.

Rules
-----
1. A helper does it, a QEMU as confined as any, with the very tree of the snapshot and blank disks. It reads the stream
   into the file `memory`, writes the devices' state to `devices`, and ends; its vCPUs never run.
2. Before the stream goes, a second helper has gone on from the two files.
3. The snapshot's facts say which form holds. Until they are written it is the stream, after that the files; what is
   left of the other one is removed by whoever comes next.
4. Helpers take what processor and disk have to spare. They end with the daemon; what is left of one that was killed is
   cleared away by the next daemon, and before the next try.
5. `SETTLE_POINTS` names what lies between the parts; a test ends the daemon at each of them.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from guesthouse.decide.observed import Desired
from guesthouse.host import identity
from guesthouse.host.frozen.box import ThisBox
from guesthouse.host.frozen.pool import Frozen, Pool
from guesthouse.host.machines import ending, firmware
from guesthouse.host.machines.folder import Folder
from guesthouse.host.machines.freezing import freeze
from guesthouse.host.machines.ignition import Bound, Ignition, locked
from guesthouse.host.machines.process import prepare_files
from guesthouse.host.machines.restoring import restore, unfold
from guesthouse.host.snapshots.folder import Saved, SnapshotFolder
from guesthouse.host.snapshots.shelf import SnapshotShelf
from guesthouse.model.errors import Failed, NoCapacity
from guesthouse.model.house import House
from guesthouse.model.resources import Snapshot
from guesthouse.ports import Progress
from guesthouse.qemu.boot import Boot

SETTLE_POINTS = ("unfolded", "frozen", "proved", "moved", "settled", "streamless")
_PREFIX = "settling-"
# What devices take, and the folder: less than that, but for a screen's memory.
_RESERVE_BYTES = 32 << 20


@dataclass(frozen=True)
class Settler:
    """What it takes to settle memory. `reached` is called at every one of `SETTLE_POINTS`."""

    house: House
    shelf: SnapshotShelf
    box: ThisBox
    pool: Pool
    reached: Callable[[str], None]

    async def settle(self, snapshot: Snapshot, desired: Desired, progress: Progress) -> None:
        """Settle a snapshot's memory, and have it ready; the stream stays where that cannot be.

        Raises `NoCapacity` on a full disk, `Conflict` or `Failed` where it cannot be restored here.
        """
        folder = self.shelf.folder(snapshot.id)
        if not folder.read_facts().settled:
            saved = folder.read_saved(snapshot.name, await self.box.fingerprint())
            _check_room(folder, folder.state.stat().st_size + _RESERVE_BYTES)
            with self.shelf.in_making(snapshot) as partial:
                await self._split(snapshot, saved, desired, partial, progress)
                progress("writing")
                await asyncio.to_thread(self.shelf.sync, partial)
                self.shelf.move_memory(partial, snapshot)
            self.pool.drop(snapshot.id)
            self.reached("moved")
            self.shelf.call_settled(snapshot)
            self.reached("settled")
        folder.state.unlink(missing_ok=True)
        self.reached("streamless")
        await self.pool.ahead(snapshot.id, folder.memory)

    async def sweep(self) -> None:
        """Clear away what a killed daemon had begun."""
        for path in self.house.machines.glob(f"{_PREFIX}*"):
            await ending.clear(Folder(path))

    async def _split(
        self, snapshot: Snapshot, saved: Saved, desired: Desired, partial: SnapshotFolder, progress: Progress
    ) -> None:
        """Make `memory` and `devices` of the stream, and see that they can be gone on from."""
        await ending.clear(Folder(self.house.machines / f"{_PREFIX}{snapshot.id}"))
        work = Folder(identity.make_machine_folder(self.house.machines, f"{_PREFIX}{snapshot.id}"))
        try:
            self._prepare(work, self.shelf.folder(snapshot.id), partial, saved)
            boot = await self._boot(work, saved, desired)
            who = identity.identity_of(work.path, desired.project_number, kvm=saved.by.accelerator == "kvm")
            async with locked(work) as lock:
                ignition = Ignition(work, lock, who, helper=True)
                with ExitStack() as stack:
                    stream = _opened(stack, self.shelf.folder(snapshot.id).state, os.O_RDONLY)
                    memory = _opened(stack, partial.memory, os.O_RDWR)
                    progress("loading")
                    lit = await unfold(ignition, saved, boot, stream, memory)
                    try:
                        self.reached("unfolded")
                        await freeze(lit, partial.devices)
                    finally:
                        await lit.end()
                    self.reached("frozen")
                    progress("checking")
                    devices = _opened(stack, partial.devices, os.O_RDONLY)
                    await (await restore(ignition, saved, boot, Frozen(devices, memory))).end()
        except Failed:
            # A helper whose memory finds no room in its file is ended by the kernel, and can say nothing.
            _check_room(partial, _RESERVE_BYTES)
            raise
        finally:
            await ending.clear(work)
        identity.take_back(partial.memory)
        self.reached("proved")

    def _prepare(self, work: Folder, folder: SnapshotFolder, partial: SnapshotFolder, saved: Saved) -> None:
        """The files that the helper is to have: those of any QEMU, its memory, the firmware's variables."""
        identity.check_way(work.path)
        prepare_files(work)
        own = [work.pidfile, work.console_log, work.screen.parent, partial.memory]
        with partial.memory.open("xb") as memory:
            memory.truncate(saved.placed.memory_mib << 20)
        if folder.variables.exists():
            shutil.copyfile(folder.variables, work.variables)
            own.append(work.variables)
        identity.give_to_machine(work.path, *own)

    async def _boot(self, work: Folder, saved: Saved, desired: Desired) -> Callable[[Bound], Boot]:
        machine = msgspec.structs.replace(desired.machine, spec=saved.spec)
        start_with = firmware.choose(replace(desired, machine=machine), self.house, work)
        capabilities = await self.box.emulator.capabilities()
        return lambda bound: Boot(
            id=machine.id,
            name=saved.spec.name,
            accelerator=saved.by.accelerator,
            capabilities=capabilities,
            firmware=start_with,
            sockets=bound.sockets,
            disks={},
            seed=work.seed,
            console_log=work.console_log,
            pidfile=work.pidfile,
            screen=Path(f"/proc/self/fd/{bound.screens}/{work.screen.name}"),
            blank=True,
            binary=self.box.emulator.binary,
        )


def _check_room(folder: SnapshotFolder, bytes_more: int) -> None:
    there = os.statvfs(folder.path)
    if there.f_bavail * there.f_frsize < bytes_more:
        raise NoCapacity(
            "the disk of this host is too full to settle the snapshot's memory; it can be reverted to all the same",
            hint="make room; it is tried again after the next revert to it",
        )


def _opened(stack: ExitStack, path: Path, flags: int) -> int:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    stack.callback(os.close, descriptor)
    return descriptor
