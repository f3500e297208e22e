"""Accepting that an image be made of a machine: which layer of its root disk is read, and what holds that meanwhile."""

from __future__ import annotations

import msgspec

from guesthouse.decide import lifecycle
from guesthouse.decide.lifecycle import Verb
from guesthouse.decide.steps import SettleMemory
from guesthouse.engine import intents
from guesthouse.engine.accept.desk import Desk, under_way
from guesthouse.engine.accept.images import make
from guesthouse.engine.accept.room import check_space
from guesthouse.engine.accept.snapshots import ready_snapshot, take
from guesthouse.engine.kinds import BY_ITSELF
from guesthouse.engine.readings import KIND, Reading
from guesthouse.model.errors import Conflict, Invalid
from guesthouse.model.machine import Machine, MachineSpec, Power
from guesthouse.model.resources import Disk, Operation


async def create(desk: Desk, intent: intents.ImageCreate) -> Operation:
    """Write down an image, the operation that makes it, and with a machine that is not stopped a snapshot for it."""
    machine = await desk.machine(intent.machine)
    lifecycle.ask(machine, Verb.CHANGE)
    await check_space(desk, 0)
    if intent.snapshot:
        reading = await _of_snapshot(desk, machine, intent)
    elif machine.power is Power.STOPPED:
        reading = await _of_stopped(desk, machine, intent)
    else:
        reading = await _of_running(desk, machine, intent)
    source = f"machine:{machine.name}" + (f"@{intent.snapshot}" if intent.snapshot else "")
    context = {"reading": msgspec.to_builtins(reading), "origin": machine.image}
    return await make(desk, KIND, intent.name, public=False, source=source, context=context)


async def _of_snapshot(desk: Desk, machine: Machine, intent: intents.ImageCreate) -> Reading:
    for field in ("quiesce", "pause"):
        if getattr(intent, field):
            raise Invalid(
                f"--{field} is for a machine as it is now: a snapshot has been taken already",
                field=field,
                value=True,
                hint=f"leave it out, or name the machine alone: {machine.name}",
            )
    snapshot = await ready_snapshot(desk, machine, intent.snapshot)
    await _refuse_busy(desk, machine)
    disk = await _root(desk, machine, snapshot.spec)
    if disk.id not in snapshot.disks:
        raise _no_root(f"snapshot {snapshot.name}")
    layer = snapshot.disks[disk.id].layer
    return Reading(machine=machine.id, disk=disk.id, layer=layer, snapshot=snapshot.id)


async def _of_stopped(desk: Desk, machine: Machine, intent: intents.ImageCreate) -> Reading:
    for field in ("quiesce", "pause"):
        if getattr(intent, field):
            raise Conflict(
                f"machine {machine.name} is stopped: nothing in it could be disturbed",
                subject=f"machine {machine.name}",
                field=field,
                value=True,
                hint=f"leave --{field} out",
            )
    await desk.allow_change(machine)
    await _refuse_busy(desk, machine)
    disk = await _root(desk, machine, machine.spec)
    return Reading(machine=machine.id, disk=disk.id, layer=disk.layer)


async def _of_running(desk: Desk, machine: Machine, intent: intents.ImageCreate) -> Reading:
    await desk.allow_change(machine)
    disk = await _root(desk, machine, machine.spec)
    snapshot = intents.SnapshotCreate(
        machine=machine.id,
        name=f"image-{desk.new_id()[:8]}",
        description=f"for image {intent.name}; it goes when that is made",
        disks_only=True,
        quiesce=intent.quiesce,
    )
    pauses = intent.pause and machine.power is Power.RUNNING
    power = Power.PAUSED if pauses else machine.power
    taking = await take(desk, machine, snapshot, [disk], power=power)
    desk.beside.append(machine.id)
    return Reading(
        machine=machine.id,
        disk=disk.id,
        layer=disk.layer,
        snapshot=taking.context["snapshot"],
        taking=taking.id,
        resume=pauses,
    )


async def _refuse_busy(desk: Desk, machine: Machine) -> None:
    """Raise `Conflict` while anything is done with the machine, be it a merge: that writes to what is to be read.

    Only that memory settles has nothing to do with disks.
    """
    for operation in await desk.open_operations(machine.id):
        if operation.kind == BY_ITSELF[SettleMemory]:
            continue
        raise under_way(machine, operation)


async def _root(desk: Desk, machine: Machine, spec: MachineSpec) -> Disk:
    """The machine's root disk by that description: the one of that name, or one that was made on its image."""
    for described in spec.disks:
        disk = await desk.tx.disks.get(described.disk)
        if disk is not None and (described.name == "root" or (disk.image and disk.image == machine.image)):
            return await desk.ready_disk(disk.id)
    raise _no_root(f"machine {machine.name}")


def _no_root(subject: str) -> Conflict:
    return Conflict(
        f"{subject} has no root disk: there is nothing to make an image of",
        subject=subject,
        field="machine",
        hint="it runs from its image's kernel and initrd; data disks are not part of an image",
    )
