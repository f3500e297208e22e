"""Taking a snapshot of a machine that runs, stands still, or is stopped.

Rules
-----
1. Before QEMU is asked for anything, the new layers of all disks are there, empty. All disks go on in them at the same
   moment: in the pause at the end of the saving where memory is kept, else while the guest runs.
2. What a killed daemon left is told apart by the layers that QEMU writes to. The old ones: nothing has happened, and
   the snapshot is begun anew. The new ones, with memory that was not kept whole: it cannot be had any more (`Failed`).
   One that goes on in the layers that it has is hibernated: it stands still, so that it can be begun anew always.
3. What fails leaves the guest running as before, and nothing on the disk but layers that QEMU already writes to.
4. `SNAPSHOT_POINTS` names what lies between the parts; a test ends the daemon at each of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import msgspec

from guesthouse.decide.observed import Desired
from guesthouse.host import identity
from guesthouse.host.agent import AgentError
from guesthouse.host.disks import DiskFiles
from guesthouse.host.frozen.box import ThisBox
from guesthouse.host.machines import plugging
from guesthouse.host.machines.folder import Folder
from guesthouse.host.machines.interrupted import Mark, go_on, mark, thaw, unmark
from guesthouse.host.machines.keeping import Keeper
from guesthouse.host.machines.layering import forget_unused, look, written_layers
from guesthouse.host.machines.qmp import Gone, Refused
from guesthouse.host.machines.reverting import Reverter
from guesthouse.host.machines.run import Run
from guesthouse.host.machines.runs import Runs
from guesthouse.host.machines.saving import Saving
from guesthouse.host.snapshots.folder import Facts, Saved, SnapshotFolder
from guesthouse.host.snapshots.shelf import SnapshotShelf
from guesthouse.model.errors import Conflict, Failed, GuesthouseError, NoCapacity
from guesthouse.model.resources import Disk, Snapshot
from guesthouse.ports import Progress
from guesthouse.qemu import nodes
from guesthouse.qemu.messages import PAUSE, STATUS, Command

SNAPSHOT_POINTS = ("prepared", "waiting", "switched", "saved", "resumed", "taken")
_CAN_BE_TAKEN = frozenset({"running", "paused", "prelaunch", "postmigrate"})


@dataclass(frozen=True)
class Snapshotter:
    """What it takes to take snapshots. `reached` is called at every one of `SNAPSHOT_POINTS`."""

    runs: Runs
    disks: DiskFiles
    shelf: SnapshotShelf
    box: ThisBox
    reverter: Reverter
    keeper: Keeper
    reached: Callable[[str], None]

    async def take(self, snapshot: Snapshot, desired: Desired, progress: Progress) -> None:
        """Take a snapshot; raises `NoCapacity` on a full disk, `Conflict` when the machine is in no state for it."""
        run = await self.runs.find(desired.machine.id)
        if run is None and snapshot.memory:
            raise Conflict(f"machine {desired.machine.name} no longer runs", subject=f"machine {desired.machine.name}")
        try:
            with self.shelf.in_making(snapshot) as partial:
                if run is None:
                    self.reverter.settle(desired, self.runs.folder(desired.machine.id), snapshot.parent)
                    _copy_variables(self.runs.folder(desired.machine.id), partial)
                    facts = Facts()
                else:
                    facts = await self._take(run, snapshot, desired, partial, progress)
                await asyncio.to_thread(self.shelf.keep, partial, snapshot, facts)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise NoCapacity("the disk of this host is full", hint="make room and try again") from error
            raise
        self.reached("taken")

    async def _take(
        self, run: Run, snapshot: Snapshot, desired: Desired, partial: SnapshotFolder, progress: Progress
    ) -> Facts:
        disks = _held(run, snapshot, desired)
        written = await written_layers(run, self.disks, disks)
        if any(written.get(disk.id) != snapshot.disks[disk.id].layer for disk in disks):
            if snapshot.memory or any(written.get(disk.id) != disk.layer for disk in disks):
                raise Failed(
                    f"snapshot {snapshot.name} was interrupted: its disks had gone on, its memory was not kept",
                    subject=f"snapshot {snapshot.name}",
                    hint="take it again",
                )
            _copy_variables(run.folder, partial)
            return Facts()
        runstate = (await run.monitor.execute(STATUS))["status"]
        if runstate not in _CAN_BE_TAKEN:
            raise Conflict(f"machine {desired.machine.name} is in no state for a snapshot: {runstate}")
        async with self._new_layers(run, disks, snapshot, desired) as switch:
            self.reached("prepared")
            if snapshot.memory:
                return await self._with_memory(run, switch, runstate == "running", snapshot, desired, partial, progress)
            return await self._without_memory(run, switch, runstate == "running", snapshot.quiesced, partial)

    async def _with_memory(
        self,
        run: Run,
        switch: Command | None,
        ran: bool,
        snapshot: Snapshot,
        desired: Desired,
        partial: SnapshotFolder,
        progress: Progress,
    ) -> Facts:
        record = run.record
        saved = Saved(
            placed=await plugging.live_tree(run),
            spec=record.spec,
            by=await self.box.fingerprint(),
            boot_memory_mib=record.boot_memory_mib,
            stage=run.kept,
            networks=record.networks,
            forked=record.forked,
        )

        async def in_the_pause() -> None:
            nonlocal saved
            _copy_variables(run.folder, partial)
            if switch is not None:
                await run.monitor.execute(switch)
            # What the guest has told while its memory was written it does not tell again.
            saved = msgspec.structs.replace(saved, stage=run.kept)

        mark(run.folder, Mark(ran=ran))
        exact = record.accelerator == "kvm"
        saving = Saving(run.monitor, ran=ran, exact=exact, switch=in_the_pause, reached=self.reached)
        # What the machine itself goes on from is to outlast both daemon and host.
        for_forks = snapshot.id != desired.machine.restore
        held = for_forks and self.keeper.has_room(snapshot, saved.placed.memory_mib)
        try:
            if held:
                send = functools.partial(saving.send, progress=progress)
                stood = await self.keeper.keep(run, snapshot, saved, desired, partial, send)
            else:
                stood = await saving.save(partial.state, progress)
        finally:
            unmark(run.folder)
        return Facts(
            pause_ms=stood.pause_ms,
            memory_bytes=stood.memory_bytes,
            devices_bytes=stood.devices_bytes,
            held=held,
            saved=saved,
        )

    async def _without_memory(
        self, run: Run, switch: Command | None, ran: bool, quiesced: bool, partial: SnapshotFolder
    ) -> Facts:
        mark(run.folder, Mark(ran=ran, frozen=quiesced and ran))
        try:
            if quiesced and ran:
                await _freeze(run)
            if run.folder.variables.exists():
                await run.monitor.execute(PAUSE)
            _copy_variables(run.folder, partial)
            if switch is not None:
                await run.monitor.execute(switch)
            self.reached("switched")
        finally:
            with contextlib.suppress(Gone):
                await go_on(run.monitor, ran=ran)
                if quiesced and ran:
                    await thaw(run)
            unmark(run.folder)
        return Facts()

    @contextlib.asynccontextmanager
    async def _new_layers(
        self, run: Run, disks: list[Disk], snapshot: Snapshot, desired: Desired
    ) -> AsyncIterator[Command | None]:
        """New layers with QEMU, and the command to go on in them; those that it does not go on in go away again."""
        switch: dict[str, str] = {}
        try:
            for disk in disks:
                device = run.record.placed.disk(disk.id)
                await forget_unused(run, self.disks, disk, device)
                self.disks.remove_layer(disk, disk.layer)
                held = snapshot.disks[disk.id]
                file = await self.disks.make_layer(disk, disk.layer, held.layer, held.size_mib, desired.images)
                identity.give_to_machine(run.folder.path, file.path)
                node, known = await look(run, device)
                switch[node] = known.next()
                await run.monitor.execute(nodes.add_layer(device, switch[node], file))
            yield nodes.switch(switch) if switch else None
        finally:
            await self._settle_layers(run, disks, switch)

    async def _settle_layers(self, run: Run, disks: list[Disk], switch: dict[str, str]) -> None:
        written: dict[str, str] = {}
        with contextlib.suppress(Gone):
            written = await written_layers(run, self.disks, disks)
            for node in switch.values():
                with contextlib.suppress(Refused):  # it is written to now
                    await run.monitor.execute(nodes.forget(node))
        for disk in disks:
            if written.get(disk.id) == disk.layer:
                identity.let_read(run.folder.path, *self.disks.frozen(disk))
            else:
                self.disks.remove_layer(disk, disk.layer)


def _held(run: Run, snapshot: Snapshot, desired: Desired) -> list[Disk]:
    """The disks of the snapshot that QEMU has, and that are to go on in other layers.

    Raises `Conflict` when QEMU has a disk that the machine is to lose.
    """
    disks = {disk.id: disk for disk in desired.disks}
    for has in run.record.spec.disks:
        if has.disk not in disks:
            raise Conflict(
                f"machine {desired.machine.name} still has disk {has.name}, which is to be detached at its next start",
                subject=f"machine {desired.machine.name}",
                hint="restart the machine first",
            )
    held = [disks[has.disk] for has in run.record.spec.disks if has.disk in snapshot.disks]
    return [disk for disk in held if snapshot.disks[disk.id].layer != disk.layer]


def _copy_variables(folder: Folder, partial: SnapshotFolder) -> None:
    with contextlib.suppress(FileNotFoundError):
        shutil.copyfile(folder.variables, partial.variables)
        partial.variables.chmod(0o600)


async def _freeze(run: Run) -> None:
    try:
        await run.agent.call("guest-fsfreeze-freeze")
    except AgentError as error:
        raise Conflict(
            f"the guest cannot freeze its file systems: {error}", hint="take the snapshot without quiescing"
        ) from error
    except GuesthouseError as error:
        error.hint = "take the snapshot without quiescing, or see that qemu-guest-agent runs in the guest"
        raise
