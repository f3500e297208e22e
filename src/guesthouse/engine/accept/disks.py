"""Accepting what is asked of disks. One that a machine has is changed by changing the machine."""

from __future__ import annotations

import msgspec

from guesthouse.decide.plan import hot_pluggable
from guesthouse.decide.validate import check_disk_size, check_spec
from guesthouse.engine import intents
from guesthouse.engine.accept.desk import Desk
from guesthouse.engine.accept.machine_disks import image_size, refuse_held_disk
from guesthouse.engine.accept.machines import desired
from guesthouse.engine.accept.room import check_project, check_space
from guesthouse.engine.readings import refuse_read_disk
from guesthouse.engine.undo import Touched
from guesthouse.model.errors import Conflict, Invalid
from guesthouse.model.machine import DiskSpec, Machine, Power
from guesthouse.model.names import check_name
from guesthouse.model.resources import Disk, DiskState, Image, Operation


async def create(desk: Desk, intent: intents.DiskCreate) -> Operation:
    """Make a disk that no machine has yet."""
    id = desk.new_id()
    name = check_name(intent.name or f"disk-{id[:8]}", "disk")
    image = await desk.disk_image(intent.image) if intent.image else None
    size_mib = check_disk_size(_size(intent, image))
    await check_project(desk, disk_mib=size_mib)
    await check_space(desk, 0 if intent.thin else size_mib)
    disk = await desk.tx.disks.insert(
        Disk(
            id=id,
            project=desk.asker.project,
            name=name,
            size_mib=size_mib,
            format=intent.format,
            thin=intent.thin,
            image=image.id if image else "",
            host=desk.host,
        )
    )
    return await desk.open("disk.create", disk)


def _size(intent: intents.DiskCreate, image: Image | None) -> int:
    """How large a disk is to be, in MiB; raises `Invalid` where an image does not fit into it."""
    if image is None:
        return intent.size_mib
    return image_size(intent.size_mib, image)


async def attach(desk: Desk, intent: intents.DiskAttach) -> Operation:
    """Give a free disk to a machine: at once where its bus can, else at the next start."""
    disk = await desk.ready_disk(intent.disk)
    machine = await desk.machine_to_change(intent.machine)
    refuse_held_disk(disk, "")
    await refuse_read_disk(desk.tx, disk)
    await _refuse_in_snapshots(desk, disk, of_others_than=machine.id)
    new = DiskSpec(
        name=intent.name or disk.name,
        disk=disk.id,
        size_mib=disk.size_mib,
        format=disk.format,
        thin=disk.thin,
        bus=intent.bus,
        cache=intent.cache,
        keep=intent.keep,
    )
    spec = msgspec.structs.replace(machine.spec, disks=(*machine.spec.disks, new))
    check_spec(spec)
    await desk.tx.disks.update(disk.id, {"machine": ""}, machine=machine.id)
    return await desired(desk, machine, "disk.attach", spec=spec)


async def detach(desk: Desk, intent: intents.DiskDetach) -> Operation:
    """Take a disk away from its machine. It is free when the guest has let go of it."""
    disk = await desk.disk(intent.disk)
    machine = await _holder(desk, disk)
    if machine is None:
        return await desk.open("disk.detach", disk, done=True)
    await desk.allow_change(machine)
    (gone,) = (spec for spec in machine.spec.disks if spec.disk == disk.id)
    if machine.power is not Power.STOPPED and not hot_pluggable(gone):
        raise Conflict(
            f"disk {disk.name} is on the {gone.bus.value} bus, which has no hot-plug",
            subject=f"disk {disk.name}",
            field="bus",
            value=gone.bus.value,
            hint=f"`guest stop {machine.name}` first",
        )
    kept = tuple(spec for spec in machine.spec.disks if spec.disk != disk.id)
    return await desired(desk, machine, "disk.detach", spec=msgspec.structs.replace(machine.spec, disks=kept))


async def resize(desk: Desk, intent: intents.DiskResize) -> Operation:
    """Make a disk larger, while its machine runs or not."""
    disk = await desk.ready_disk(intent.disk)
    size_mib = check_disk_size(intent.size_mib)
    if size_mib < disk.size_mib:
        raise Invalid(
            f"disk {disk.name} cannot shrink from {disk.size_mib} to {size_mib} MiB",
            subject=f"disk {disk.name}",
            field="size_mib",
            value=size_mib,
            hint="make a smaller disk and copy inside the guest",
        )
    machine = await _holder(desk, disk)
    if size_mib == disk.size_mib:
        return await desk.open("disk.resize", disk, done=True)
    await check_project(desk, disk_mib=size_mib - disk.size_mib)
    await check_space(desk, 0 if disk.thin else size_mib - disk.size_mib)
    if machine is None:
        await refuse_read_disk(desk.tx, disk)
        await _set_busy(desk, disk)
        return await desk.open("disk.resize", disk, context={"size_mib": size_mib})
    await desk.allow_change(machine)
    await desk.tx.disks.update(disk.id, {}, size_mib=size_mib)
    disks = tuple(
        msgspec.structs.replace(spec, size_mib=size_mib) if spec.disk == disk.id else spec
        for spec in machine.spec.disks
    )
    spec = msgspec.structs.replace(machine.spec, disks=disks)
    return await desired(desk, machine, "disk.resize", Touched(grew={disk.id: disk.size_mib}), spec=spec)


async def convert(desk: Desk, intent: intents.DiskConvert) -> Operation:
    """Rewrite a free disk in another format."""
    disk = await desk.ready_disk(intent.disk)
    await _refuse_held(desk, disk, "convert")
    await refuse_read_disk(desk.tx, disk)
    await _refuse_in_snapshots(desk, disk)
    if intent.format is disk.format:
        return await desk.open("disk.convert", disk, done=True)
    await check_space(desk, disk.size_mib if not disk.thin else 0)
    await _set_busy(desk, disk)
    return await desk.open("disk.convert", disk, context={"format": intent.format.value})


async def delete(desk: Desk, intent: intents.DiskDelete) -> Operation:
    """Remove a free disk and what is on it."""
    disk = await desk.disk(intent.disk)
    await _refuse_held(desk, disk, "delete")
    await refuse_read_disk(desk.tx, disk)
    await _refuse_in_snapshots(desk, disk)
    if under_way := await desk.open_operations(disk.id):
        raise Conflict(
            f"disk {disk.name}: {under_way[-1].kind} is under way",
            subject=f"disk {disk.name}",
            hint=f"wait for it, or `guest operation cancel {under_way[-1].id}`",
        )
    await desk.tx.disks.update(disk.id, {}, state=DiskState.DELETING)
    return await desk.open("disk.delete", disk)


async def _holder(desk: Desk, disk: Disk) -> Machine | None:
    return await desk.tx.machines.get(disk.machine) if disk.machine else None


async def _refuse_held(desk: Desk, disk: Disk, verb: str) -> None:
    machine = await _holder(desk, disk)
    if machine is not None:
        raise Conflict(
            f"disk {disk.name} is attached to machine {machine.name}: cannot {verb} it",
            subject=f"disk {disk.name}",
            field="machine",
            value=machine.name,
            hint=f"`guest disk detach {disk.name}` first",
        )


async def _refuse_in_snapshots(desk: Desk, disk: Disk, of_others_than: str = "") -> None:
    """Raise `Conflict` when a snapshot (of another machine) holds the disk."""
    for snapshot in await desk.tx.snapshots.select(project=desk.asker.project):
        if disk.id in snapshot.disks and snapshot.machine != of_others_than:
            machine = await desk.tx.machines.get(snapshot.machine)
            name = machine.name if machine else snapshot.machine
            raise Conflict(
                f"disk {disk.name} is in snapshot {snapshot.name} of machine {name}",
                subject=f"disk {disk.name}",
                field="snapshot",
                value=snapshot.name,
                hint=f"`guest snapshot delete {name} {snapshot.name}` first",
            )


async def _set_busy(desk: Desk, disk: Disk) -> None:
    """While its file is rewritten, a disk is no one's to take."""
    await desk.tx.disks.update(disk.id, {"state": DiskState.READY}, state=DiskState.MAKING)
