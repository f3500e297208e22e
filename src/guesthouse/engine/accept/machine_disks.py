"""The disks that a machine's description names: made, taken, or grown along with it."""

from __future__ import annotations

import msgspec

from guesthouse.engine.accept.desk import Desk
from guesthouse.engine.accept.room import check_project, check_space
from guesthouse.engine.readings import refuse_read_disk
from guesthouse.engine.undo import Touched
from guesthouse.model.errors import Conflict, Invalid
from guesthouse.model.machine import DiskSpec, Machine, MachineSpec
from guesthouse.model.resources import Disk, DiskState, Image


async def make_disks(
    desk: Desk, machine_id: str, spec: MachineSpec, image: Image, template: str = ""
) -> tuple[MachineSpec, Touched]:
    """Write down the disks that the machine brings along; a disk that exists already must be free.

    With the id of a `template`, the root disk is made on that one's.
    """
    disks: list[DiskSpec] = []
    made: list[str] = []
    for disk in spec.disks:
        if disk.disk:
            disks.append(await _take_disk(desk, machine_id, disk))
        else:
            disks.append(await _new_disk(desk, machine_id, spec.name, disk, image, template))
            made.append(disks[-1].disk)
    return msgspec.structs.replace(spec, disks=tuple(disks)), Touched(made=tuple(made))


async def with_sizes(desk: Desk, spec: MachineSpec) -> MachineSpec:
    """The description with the sizes of disks that are to have the content of images."""

    async def sized(disk: DiskSpec) -> DiskSpec:
        if disk.disk or not disk.image:
            return disk
        return msgspec.structs.replace(disk, size_mib=image_size(disk.size_mib, await desk.disk_image(disk.image)))

    return msgspec.structs.replace(spec, disks=tuple([await sized(disk) for disk in spec.disks]))


async def _new_disk(
    desk: Desk, machine_id: str, machine_name: str, disk: DiskSpec, image: Image, template: str
) -> DiskSpec:
    on_image = disk.name == "root" and bool(image.disk)
    content = await desk.disk_image(disk.image) if disk.image else None
    record = Disk(
        id=desk.new_id(),
        project=desk.asker.project,
        name=disk_name(machine_name, disk),
        size_mib=disk.size_mib,
        format=disk.format,
        thin=disk.thin,
        state=DiskState.READY,
        image=content.id if content else image.id if on_image else "",
        template=template if on_image and content is None else "",
        machine=machine_id,
        host=desk.host,
    )
    await insert_disk(desk, machine_name, record)
    return msgspec.structs.replace(disk, disk=record.id, image="")


def image_size(size_mib: int, image: Image) -> int:
    """How large a disk with an image's content is (MiB), if nothing is said; raises `Invalid` where it does not fit."""
    if size_mib and size_mib < image.virtual_mib:
        raise Invalid(
            f"a disk of {size_mib} MiB is smaller than image {image.name} ({image.virtual_mib} MiB)",
            field="size_mib",
            value=size_mib,
            hint=f"make it {image.virtual_mib}M at least",
        )
    return size_mib or image.virtual_mib


def disk_name(machine_name: str, disk: DiskSpec) -> str:
    """What a disk is called that comes with a machine."""
    return f"{machine_name}-{disk.name}"


async def insert_disk(desk: Desk, machine_name: str, disk: Disk) -> None:
    """Write down a disk that comes with a machine; raises `Conflict` where there is one of its name."""
    try:
        await desk.tx.disks.insert(disk)
    except Conflict as error:
        raise Conflict(
            f"there is a disk {disk.name} already",
            subject=f"machine {machine_name}",
            field="disks",
            value=disk.name,
            hint="delete or attach that disk, or name this one otherwise",
        ) from error


async def _take_disk(desk: Desk, machine_id: str, disk: DiskSpec) -> DiskSpec:
    record = await desk.ready_disk(disk.disk)
    refuse_held_disk(record, machine_id)
    await refuse_read_disk(desk.tx, record)
    await desk.tx.disks.update(record.id, {"machine": record.machine}, machine=machine_id)
    return msgspec.structs.replace(disk, disk=record.id, size_mib=record.size_mib, format=record.format)


def refuse_held_disk(disk: Disk, machine_id: str) -> None:
    """Raise `Conflict` when another machine has the disk."""
    if disk.machine not in ("", machine_id):
        raise Conflict(
            f"disk {disk.name} is attached to another machine",
            subject=f"disk {disk.name}",
            field="disk",
            hint=f"`guest disk detach {disk.name}` frees it",
        )


async def adopt_disks(desk: Desk, machine: Machine, spec: MachineSpec, image: Image) -> tuple[MachineSpec, Touched]:
    """For `apply`: new disks are made, named ones taken, larger ones grown; those left out are detached later."""
    has = {disk.disk for disk in machine.spec.disks}
    fresh = tuple(disk for disk in spec.disks if disk.disk not in has)
    new = [disk for disk in fresh if not disk.disk]
    await check_project(desk, disk_mib=sum(disk.size_mib for disk in new))
    await check_space(desk, sum(disk.size_mib for disk in new if not disk.thin))
    added, touched = await make_disks(desk, machine.id, msgspec.structs.replace(spec, disks=fresh), image)
    by_name = {disk.name: disk for disk in added.disks}
    grew: dict[str, int] = {}
    for disk in spec.disks:
        if disk.disk in has:
            grew |= await _grow(desk, disk)
    disks = tuple(by_name.get(disk.name, disk) for disk in spec.disks)
    return msgspec.structs.replace(spec, disks=disks), msgspec.structs.replace(touched, grew=grew)


async def _grow(desk: Desk, disk: DiskSpec) -> dict[str, int]:
    """Want a disk as large as is written; its former size (MiB) by its id if that is more."""
    record = await desk.disk(disk.disk)
    if not disk.size_mib or disk.size_mib == record.size_mib:
        return {}
    if disk.size_mib < record.size_mib:
        raise Invalid(
            f"disk {record.name} cannot shrink from {record.size_mib} to {disk.size_mib} MiB",
            field="size_mib",
            value=disk.size_mib,
            hint="make a smaller disk and copy inside the guest",
        )
    more_mib = disk.size_mib - record.size_mib
    await check_project(desk, disk_mib=more_mib)
    await check_space(desk, 0 if record.thin else more_mib)
    await desk.tx.disks.update(record.id, {}, size_mib=disk.size_mib)
    return {record.id: record.size_mib}
