"""Accepting that an image be made of a disk: which layer of it is read, and what holds that meanwhile.

Rules
-----
1. Images that are asked for as one, of disks of one machine, show the same moment: one snapshot is taken for all.
2. Of one that is to be read with a reboot the snapshot is taken between the stop and the start (`decide.plan`).
3. A disk that is a machine's root, or was made on an image with a system, makes an image with a system; kernel and
   initrd come with it. Every other image is data.
"""

from __future__ import annotations

from typing import Any

import msgspec

from guesthouse.decide import lifecycle
from guesthouse.decide.layers import with_layer
from guesthouse.decide.lifecycle import Verb
from guesthouse.decide.steps import SettleMemory
from guesthouse.engine import intents
from guesthouse.engine.accept.desk import Desk, under_way
from guesthouse.engine.accept.images import make
from guesthouse.engine.accept.room import check_space
from guesthouse.engine.accept.snapshots import ready_snapshot, take
from guesthouse.engine.kinds import BY_ITSELF
from guesthouse.engine.readings import KIND, Reading, readings
from guesthouse.engine.undo import kept_state
from guesthouse.model.errors import Conflict, Invalid
from guesthouse.model.machine import Machine, MachineSpec, Power
from guesthouse.model.resources import Disk, Held, Operation

# How a guest may be made to stand still for an image.
_STILL = ("quiesce", "pause", "reboot")
_REBOOT_TIMEOUT_S = 60


async def create(desk: Desk, intent: intents.ImageCreate) -> Operation:
    """Write down an image, the operation that makes it, and with a machine that is not stopped a snapshot for it."""
    if intent.reboot and (intent.quiesce or intent.pause):
        raise Invalid(
            "--reboot shuts the guest down: there is nothing else to disturb",
            field="reboot",
            value=True,
            hint="leave --quiesce and --pause out",
        )
    machine = await _holder(desk, intent)
    await check_space(desk, 0)
    if machine is None:
        disk = await desk.ready_disk(intent.disk)
        reading = await _of_free(desk, disk, intent)
    else:
        lifecycle.ask(machine, Verb.CHANGE)
        reading = await _of_machine(desk, machine, intent)
        disk = await desk.disk(reading.disk)
    origin = await _system(desk, machine, disk)
    context = {"reading": msgspec.to_builtins(reading), "origin": origin}
    return await make(
        desk.at(disk.host), KIND, intent.name, public=False, data=intent.data or not origin,
        source=_source(machine, disk, intent), context=context,
    )  # fmt: skip


async def _holder(desk: Desk, intent: intents.ImageCreate) -> Machine | None:
    """The machine that has what is to be read, None where no machine has the disk."""
    if not intent.disk:
        if not intent.machine:
            raise Invalid("nothing is named to make an image of", field="machine", hint="name a machine or a disk")
        return await desk.machine(intent.machine)
    disk = await desk.ready_disk(intent.disk)
    if intent.machine:
        machine = await desk.machine(intent.machine)
        if intent.snapshot or disk.machine == machine.id:
            return machine
        raise Conflict(
            f"machine {machine.name} does not have disk {disk.name}",
            subject=f"disk {disk.name}",
            field="machine",
            value=machine.name,
            hint="name the disk alone",
        )
    return await desk.tx.machines.get(disk.machine) if disk.machine else None


async def _of_machine(desk: Desk, machine: Machine, intent: intents.ImageCreate) -> Reading:
    if intent.snapshot:
        return await _of_snapshot(desk, machine, intent)
    if machine.power is Power.STOPPED:
        _refuse_disturbing(machine, intent)
    if machine.power is Power.STOPPED and not intent.by_snapshot:
        return await _of_stopped(desk, machine, intent)
    return await _of_running(desk, machine, intent)


async def _of_free(desk: Desk, disk: Disk, intent: intents.ImageCreate) -> Reading:
    for field in ("snapshot", *_STILL):
        if getattr(intent, field):
            raise Conflict(
                f"no machine has disk {disk.name}: nothing in one could be disturbed",
                subject=f"disk {disk.name}",
                field=field,
                value=getattr(intent, field),
                hint=f"leave --{field} out",
            )
    for snapshot in await desk.tx.snapshots.select(project=desk.asker.project):
        machine = await desk.tx.machines.get(snapshot.machine) if disk.id in snapshot.disks else None
        if machine is not None:
            # Its owner merges the layers of this disk.
            await _leave_alone(desk, machine)
            return Reading(machine=machine.id, disk=disk.id, layer=disk.layer)
    return Reading(machine="", disk=disk.id, layer=disk.layer)


async def _of_snapshot(desk: Desk, machine: Machine, intent: intents.ImageCreate) -> Reading:
    for field in _STILL:
        if getattr(intent, field):
            raise Invalid(
                f"--{field} is for a machine as it is now: a snapshot has been taken already",
                field=field,
                value=True,
                hint=f"leave it out, or name the machine alone: {machine.name}",
            )
    snapshot = await ready_snapshot(desk, machine, intent.snapshot)
    await _refuse_busy(desk, machine)
    disk = await _disk(desk, machine, snapshot.spec, intent)
    if disk.id not in snapshot.disks:
        raise _not_there(f"snapshot {snapshot.name}", intent.disk and disk.name)
    layer = snapshot.disks[disk.id].layer
    return Reading(machine=machine.id, disk=disk.id, layer=layer, snapshot=snapshot.id)


def _refuse_disturbing(machine: Machine, intent: intents.ImageCreate) -> None:
    for field in _STILL:
        if getattr(intent, field):
            raise Conflict(
                f"machine {machine.name} is stopped: nothing in it could be disturbed",
                subject=f"machine {machine.name}",
                field=field,
                value=True,
                hint=f"leave --{field} out",
            )


async def _of_stopped(desk: Desk, machine: Machine, intent: intents.ImageCreate) -> Reading:
    await _leave_alone(desk, machine)
    disk = await _disk(desk, machine, machine.spec, intent)
    return Reading(machine=machine.id, disk=disk.id, layer=disk.layer)


async def _leave_alone(desk: Desk, machine: Machine) -> None:
    """Raise `Conflict` unless nothing is done with a machine at rest; what is read already may be read once more."""
    if not any(not reading.snapshot for _, reading in await readings(desk.tx, machine.id)):
        await desk.allow_change(machine)
        await _refuse_busy(desk, machine)


async def _of_running(desk: Desk, machine: Machine, intent: intents.ImageCreate) -> Reading:
    if (first := desk.readings.get(machine.id)) is not None:
        return await _of_same_moment(desk, machine, first, intent)
    await desk.allow_change(machine)
    disk = await _disk(desk, machine, machine.spec, intent)
    snapshot = intents.SnapshotCreate(
        machine=machine.id,
        name=f"image-{desk.new_id()[:8]}",
        description=f"for image {intent.name}; it goes when that is made" if intent.name else "for an image",
        disks_only=True,
        quiesce=intent.quiesce,
    )
    pauses = intent.pause and machine.power is Power.RUNNING
    changes: dict[str, Any] = {"power": Power.PAUSED if pauses else machine.power}
    if intent.reboot:
        changes |= {"restart_epoch": machine.restart_epoch + 1, "stop_timeout_s": _REBOOT_TIMEOUT_S}
    taking = await take(desk, machine, snapshot, [disk], **changes)
    desk.beside.append(machine.id)
    desk.readings[machine.id] = Reading(
        machine=machine.id,
        disk=disk.id,
        layer=disk.layer,
        snapshot=taking.context["snapshot"],
        taking=taking.id,
        resume=pauses,
    )
    return desk.readings[machine.id]


async def _of_same_moment(desk: Desk, machine: Machine, first: Reading, intent: intents.ImageCreate) -> Reading:
    """Have the snapshot that is about to be taken hold one more disk."""
    disk = await _disk(desk, machine, machine.spec, intent)
    snapshot, taking = await desk.tx.snapshots.get(first.snapshot), await desk.tx.operations.get(first.taking)
    assert snapshot is not None  # both were written down in this transaction
    assert taking is not None
    if disk.id in snapshot.disks:
        return msgspec.structs.replace(first, disk=disk.id, layer=snapshot.disks[disk.id].layer)
    held = {**snapshot.disks, disk.id: Held(layer=disk.layer, size_mib=disk.size_mib)}
    await desk.tx.snapshots.update(snapshot.id, {}, disks=held)
    layers = {**taking.context["layers"], **kept_state(machine, [disk])["layers"]}
    await desk.tx.operations.update(taking.id, {}, context={**taking.context, "layers": layers})
    await desk.tx.disks.update(disk.id, {}, **with_layer(disk, desk.new_id(), disk.layer))
    return msgspec.structs.replace(first, disk=disk.id, layer=disk.layer)


async def _refuse_busy(desk: Desk, machine: Machine) -> None:
    """Raise `Conflict` while anything is done with the machine, be it a merge: that writes to what is to be read.

    Only that memory settles has nothing to do with disks.
    """
    for operation in await desk.open_operations(machine.id):
        if operation.kind == BY_ITSELF[SettleMemory]:
            continue
        raise under_way(machine, operation)


async def _disk(desk: Desk, machine: Machine, spec: MachineSpec, intent: intents.ImageCreate) -> Disk:
    """The disk that is meant: the one that was named, or the machine's root disk by that description."""
    if intent.disk:
        return await desk.ready_disk(intent.disk)
    for described in spec.disks:
        disk = await desk.tx.disks.get(described.disk)
        if disk is not None and (described.name == "root" or (disk.image and disk.image == machine.image)):
            return await desk.ready_disk(disk.id)
    raise _not_there(f"machine {machine.name}")


async def _system(desk: Desk, machine: Machine | None, disk: Disk) -> str:
    """The id of the image whose system is on a disk, "" where there is none."""
    below = await desk.tx.images.get(disk.image) if disk.image else None
    if below is not None and not below.data:
        return below.id
    is_root = machine is not None and any(each.disk == disk.id and each.name == "root" for each in machine.spec.disks)
    return machine.image if machine is not None and is_root else ""


def _source(machine: Machine | None, disk: Disk, intent: intents.ImageCreate) -> str:
    at = f"@{intent.snapshot}" if intent.snapshot else ""
    return f"disk:{disk.name}{at}" if machine is None or intent.disk else f"machine:{machine.name}{at}"


def _not_there(subject: str, disk: str = "") -> Conflict:
    if disk:
        return Conflict(f"{subject} does not have disk {disk}", subject=subject, field="disk", value=disk)
    return Conflict(
        f"{subject} has no root disk: there is nothing to make an image of",
        subject=subject,
        field="machine",
        hint="it runs from its image's kernel and initrd; `guest image create NAME --disk DISK` takes a data disk",
    )
