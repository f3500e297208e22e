"""Doing the steps of `decide.plan`: one function a step, and the table that joins them.

Rules
-----
1. A step looks at what is there first, so that doing it again after it was killed half-way ends the same.
2. What QEMU is about to have is in the record before QEMU is told (`placed`, `forwards`); what it realises
   (`spec`) only after it said yes. `plan` goes by `spec`, so an unfinished change is done again.
3. What cannot be finished is undone before the error is raised.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from guesthouse.decide.forks import shared_from
from guesthouse.decide.observed import Desired
from guesthouse.decide.steps import (
    ApplyNetworks,
    GiveIdentity,
    GiveWay,
    GrowDisk,
    Kill,
    MakeDisk,
    MergeLayer,
    Pause,
    PlugDisk,
    PlugNic,
    RemoveDisk,
    RemoveFolder,
    RemoveLayer,
    RemoveSnapshot,
    Resume,
    SetForwards,
    SetMemory,
    SettleMemory,
    ShareLayers,
    Shutdown,
    Start,
    Step,
    TakeSnapshot,
    UnplugDisk,
    UnplugNic,
    WriteSeed,
)
from guesthouse.host import identity
from guesthouse.host.disks import DiskFiles
from guesthouse.host.durable import write_whole
from guesthouse.host.frozen.pool import Pool
from guesthouse.host.machines import plugging
from guesthouse.host.machines.ending import kill, shut_down
from guesthouse.host.machines.forwarding import set_forwards
from guesthouse.host.machines.keeping import let_go
from guesthouse.host.machines.layering import forget_unused
from guesthouse.host.machines.merging import merge_live
from guesthouse.host.machines.naming import give_identity
from guesthouse.host.machines.reverting import Reverter, put_back_variables
from guesthouse.host.machines.run import Run
from guesthouse.host.machines.runs import Runs
from guesthouse.host.machines.settling import Settler
from guesthouse.host.machines.snapshotting import Snapshotter
from guesthouse.host.machines.starting import Starter
from guesthouse.host.seed import keep_host_key, keep_random_seed, render_seed
from guesthouse.host.snapshots.shelf import SnapshotShelf
from guesthouse.model.errors import Conflict
from guesthouse.model.house import House
from guesthouse.model.machine import DiskSpec
from guesthouse.ports import Progress
from guesthouse.qemu import hotplug
from guesthouse.qemu.messages import PAUSE, RESUME
from guesthouse.qemu.nodes import written_to

_MIB = 1 << 20


@dataclass(frozen=True)
class Hands:
    """What it takes to do steps."""

    house: House
    runs: Runs
    disks: DiskFiles
    starter: Starter
    reverter: Reverter
    snapshotter: Snapshotter
    settler: Settler
    snapshots: SnapshotShelf
    pool: Pool

    async def perform(self, step: Step, desired: Desired, progress: Progress) -> None:
        """Do one step; see `ports.MachineHost`."""
        await _STEPS[type(step)](self, step, desired, progress)

    async def running(self, desired: Desired) -> Run:
        """The machine's QEMU; raises `Conflict` when it does not run."""
        run = await self.runs.find(desired.machine.id)
        if run is None:
            raise Conflict(f"machine {desired.machine.name} no longer runs", subject=f"machine {desired.machine.name}")
        return run


async def _make_disk(hands: Hands, step: MakeDisk, desired: Desired, progress: Progress) -> None:
    await hands.disks.make(step.disk, desired.images, progress)


async def _grow_disk(hands: Hands, step: GrowDisk, desired: Desired, progress: Progress) -> None:
    run = await hands.runs.find(desired.machine.id)
    if run is not None and any(disk.disk == step.disk.id for disk in run.record.spec.disks):
        node = await run.monitor.execute(written_to(run.record.placed.disk(step.disk.id)))
        await run.monitor.execute(hotplug.grow_disk(node, step.disk.size_mib * _MIB))
    else:
        await hands.disks.grow(step.disk, step.disk.size_mib, desired.images)


async def _write_seed(hands: Hands, step: WriteSeed, desired: Desired, progress: Progress) -> None:
    path = identity.make_machine_folder(hands.house.machines, desired.machine.id)
    folder = hands.runs.folder(desired.machine.id)
    number = identity.machine_number(path)
    seed = render_seed(desired, keep_host_key(folder.host_key), keep_random_seed(folder.random_seed))
    write_whole(folder.seed, seed, 0o600 if number is None else 0o640, -1 if number is None else number)


async def _start(hands: Hands, step: Start, desired: Desired, progress: Progress) -> None:
    await hands.starter.start(desired)


async def _resume(hands: Hands, step: Resume, desired: Desired, progress: Progress) -> None:
    await (await hands.running(desired)).monitor.execute(RESUME)


async def _pause(hands: Hands, step: Pause, desired: Desired, progress: Progress) -> None:
    await (await hands.running(desired)).monitor.execute(PAUSE)


async def _shutdown(hands: Hands, step: Shutdown, desired: Desired, progress: Progress) -> None:
    await shut_down(hands.runs, hands.runs.folder(desired.machine.id), step.timeout_s)
    _take_back(hands, desired)


async def _kill(hands: Hands, step: Kill, desired: Desired, progress: Progress) -> None:
    await kill(hands.runs, hands.runs.folder(desired.machine.id))
    _take_back(hands, desired)


def _take_back(hands: Hands, desired: Desired) -> None:
    for disk in desired.disks:
        identity.take_back(*hands.disks.all_files(disk.id))


async def _plug_disk(hands: Hands, step: PlugDisk, desired: Desired, progress: Progress) -> None:
    run = await hands.running(desired)
    disk = next(disk for disk in desired.disks if disk.id == step.disk.disk)
    identity.give_to_machine(run.folder.path, hands.disks.path(disk))
    identity.let_read(run.folder.path, *hands.disks.frozen(disk))
    for image in desired.images:
        if image.id == disk.image:
            identity.open_image(hands.disks.house.images, image, desired.machine.project, desired.project_number)
    try:
        await plugging.plug_disk(run, step.disk, hands.disks.file(disk, desired.images))
    except BaseException:
        identity.take_back(*hands.disks.all_files(disk.id))
        raise


async def _unplug_disk(hands: Hands, step: UnplugDisk, desired: Desired, progress: Progress) -> None:
    await plugging.unplug_disk(await hands.running(desired), step.disk)
    identity.take_back(*hands.disks.all_files(step.disk.disk))


async def _plug_nic(hands: Hands, step: PlugNic, desired: Desired, progress: Progress) -> None:
    run = await hands.running(desired)
    async with hands.starter.wiring.taps(desired, (step.nic,)) as taps:
        await plugging.plug_nic(run, step.nic, desired.machine.spec.name, taps)


async def _unplug_nic(hands: Hands, step: UnplugNic, desired: Desired, progress: Progress) -> None:
    await plugging.unplug_nic(await hands.running(desired), step.nic)


async def _set_forwards(hands: Hands, step: SetForwards, desired: Desired, progress: Progress) -> None:
    await set_forwards(await hands.running(desired), step.nic)


async def _apply_networks(hands: Hands, step: ApplyNetworks, desired: Desired, progress: Progress) -> None:
    await hands.starter.wiring.apply(desired)


async def _set_memory(hands: Hands, step: SetMemory, desired: Desired, progress: Progress) -> None:
    run = await hands.running(desired)
    await run.monitor.execute(hotplug.balloon(step.memory_mib))
    spec = msgspec.structs.replace(run.record.spec, memory_mib=step.memory_mib)
    run.remember(msgspec.structs.replace(run.record, spec=spec))


async def _remove_disk(hands: Hands, step: RemoveDisk, desired: Desired, progress: Progress) -> None:
    run = await hands.runs.find(desired.machine.id)
    if run is not None:
        # A plug that was broken off may have left it with QEMU, though the record does not name it.
        await plugging.unplug_disk(run, DiskSpec(name=step.disk.name, disk=step.disk.id))
    hands.disks.remove(step.disk)


async def _remove_folder(hands: Hands, step: RemoveFolder, desired: Desired, progress: Progress) -> None:
    _take_back(hands, desired)
    folder = hands.runs.folder(desired.machine.id)
    await asyncio.to_thread(shutil.rmtree, folder.path, ignore_errors=True)


async def _take_snapshot(hands: Hands, step: TakeSnapshot, desired: Desired, progress: Progress) -> None:
    await hands.snapshotter.take(step.snapshot, desired, progress)


async def _share_layers(hands: Hands, step: ShareLayers, desired: Desired, progress: Progress) -> None:
    snapshot = shared_from(step.disk, desired.snapshots)
    folder = identity.make_machine_folder(hands.house.machines, step.disk.machine)
    if snapshot is not None:
        put_back_variables(hands.snapshots.folder(snapshot.id), hands.runs.folder(folder.name))
    await hands.disks.share(step.disk, desired.project_number)


async def _give_identity(hands: Hands, step: GiveIdentity, desired: Desired, progress: Progress) -> None:
    assert desired.source is not None  # a snapshot is kept until all that go on from it have a name
    saved = hands.snapshots.folder(desired.source.id).read_facts().saved
    await give_identity(await hands.running(desired), desired, saved.stage.outcome if saved else None)


async def _give_way(hands: Hands, step: GiveWay, desired: Desired, progress: Progress) -> None:
    await hands.reverter.check(step.snapshot, desired)
    await kill(hands.runs, hands.runs.folder(desired.machine.id))
    _take_back(hands, desired)


async def _merge_layer(hands: Hands, step: MergeLayer, desired: Desired, progress: Progress) -> None:
    run = await hands.runs.find(desired.machine.id)
    if run is None or not await merge_live(run, hands.disks, step.disk, step.layer, desired.images, progress):
        await hands.disks.merge(step.disk, step.layer, desired.images, progress)


async def _remove_layer(hands: Hands, step: RemoveLayer, desired: Desired, progress: Progress) -> None:
    run = await hands.runs.find(desired.machine.id)
    if run is not None and any(disk.disk == step.disk.id for disk in run.record.spec.disks):
        # A merge that was broken off may have left it open.
        await forget_unused(run, hands.disks, step.disk, run.record.placed.disk(step.disk.id))
    hands.disks.remove_layer(step.disk, step.layer)


async def _remove_snapshot(hands: Hands, step: RemoveSnapshot, desired: Desired, progress: Progress) -> None:
    hands.pool.drop(step.snapshot.id)
    if step.snapshot.passing and (run := await hands.runs.find(desired.machine.id)) is not None:
        await let_go(run.monitor, step.snapshot.id)
    await asyncio.to_thread(hands.snapshots.remove, step.snapshot.id)


async def _settle_memory(hands: Hands, step: SettleMemory, desired: Desired, progress: Progress) -> None:
    await hands.settler.settle(step.snapshot, desired, progress)


_STEPS: Mapping[type[Step], Callable[[Hands, Any, Desired, Progress], Awaitable[None]]] = {
    MakeDisk: _make_disk,
    GrowDisk: _grow_disk,
    WriteSeed: _write_seed,
    Start: _start,
    Resume: _resume,
    Pause: _pause,
    Shutdown: _shutdown,
    Kill: _kill,
    PlugDisk: _plug_disk,
    UnplugDisk: _unplug_disk,
    PlugNic: _plug_nic,
    UnplugNic: _unplug_nic,
    SetForwards: _set_forwards,
    ApplyNetworks: _apply_networks,
    SetMemory: _set_memory,
    RemoveDisk: _remove_disk,
    RemoveFolder: _remove_folder,
    TakeSnapshot: _take_snapshot,
    ShareLayers: _share_layers,
    GiveIdentity: _give_identity,
    GiveWay: _give_way,
    MergeLayer: _merge_layer,
    RemoveLayer: _remove_layer,
    RemoveSnapshot: _remove_snapshot,
    SettleMemory: _settle_memory,
}
