"""Accepting what is asked of snapshots: records of what is to be kept, and the layers that follow."""

from __future__ import annotations

from typing import Any

import msgspec

from guesthouse.decide.layers import layers_of, with_layer
from guesthouse.engine import intents
from guesthouse.engine.accept.desk import Desk
from guesthouse.engine.accept.machines import check_growth, desired
from guesthouse.engine.accept.ports import take_places
from guesthouse.engine.accept.room import check_memory, check_space
from guesthouse.engine.described import columns
from guesthouse.engine.readings import refuse_read_snapshot
from guesthouse.engine.resolve import find_snapshot
from guesthouse.engine.snapshots import disks_of, forget_node, tidy
from guesthouse.engine.undo import kept_state
from guesthouse.model.errors import Conflict, Invalid
from guesthouse.model.machine import Machine, MachineSpec, Power, Stage
from guesthouse.model.names import check_name
from guesthouse.model.resources import Disk, Held, Operation, Snapshot, SnapshotRow, SnapshotState


async def create(desk: Desk, intent: intents.SnapshotCreate) -> Operation:
    """Write down a snapshot, and that the machine's disks go on in new layers from then on."""
    machine = await desk.machine_to_change(intent.machine)
    return await take(desk, machine, intent, await ready_disks(desk, machine))


async def take(
    desk: Desk, machine: Machine, intent: intents.SnapshotCreate, disks: list[Disk], **changes: Any
) -> Operation:
    """`create` of a machine that may be changed, with some of its disks; `changes` are wanted of it after that."""
    memory = not intent.disks_only and machine.power is not Power.STOPPED
    _check_quiesce(machine, intent)
    rows = await desk.tx.snapshots.scan(machine=machine.id)
    name = intent.name or _next_name(rows)
    check_name(name, "snapshot")
    _refuse_taken(machine, rows, name)
    await check_space(desk, machine.memory_mib if memory else 0)
    before = kept_state(machine, disks)
    words = {"description": intent.description, "quiesced": intent.quiesce}
    snapshot = await keep(desk, machine, disks, name=name, memory=memory, **words)
    more = {**before, "snapshot": snapshot.id}
    return await desired(desk, machine, "snapshot.create", more=more, snapshot=snapshot.id, **changes)


async def keep(desk: Desk, machine: Machine, disks: list[Disk], **words: Any) -> Snapshot:
    """Write down a snapshot of a machine with these disks, which are written to in new layers from then on."""
    snapshot = await desk.tx.snapshots.insert(
        Snapshot(
            id=desk.new_id(),
            project=machine.project,
            machine=machine.id,
            parent=machine.snapshot,
            power=machine.power,
            spec=machine.spec,
            disks={disk.id: Held(layer=disk.layer, size_mib=disk.size_mib) for disk in disks},
            **words,
        )
    )
    for disk in disks:
        await desk.tx.disks.update(disk.id, {}, **with_layer(disk, desk.new_id(), disk.layer))
    return snapshot


async def revert(desk: Desk, intent: intents.SnapshotRevert) -> Operation:
    """Want a machine as it was: its description, its disks on new layers, its memory if that was kept."""
    machine = await desk.machine_to_change(intent.machine)
    snapshot = await ready_snapshot(desk, machine, intent.snapshot)
    await refuse_read_snapshot(desk.tx, machine, snapshot, own=True)
    spec = _as_it_was(machine, snapshot)
    power = snapshot.power if intent.power is None else intent.power
    await _check_room(desk, machine, spec, power)
    present = await ready_disks(desk, machine)
    wanted = await _held_disks(desk, machine, snapshot)
    before = kept_state(machine, list({disk.id: disk for disk in (*present, *wanted)}.values()))
    for disk in wanted:
        held = snapshot.disks[disk.id]
        layer = with_layer(disk, desk.new_id(), held.layer)
        await desk.tx.disks.update(disk.id, {}, machine=machine.id, size_mib=held.size_mib, **layer)
    await desk.tx.snapshots.update(snapshot.id, {}, settle=True)
    spec = await take_places(desk, machine.id, spec)
    restores = snapshot.memory and power is not Power.STOPPED
    return await desired(
        desk,
        machine,
        "snapshot.revert",
        more={**before, "snapshot": snapshot.id},
        spec=spec,
        power=power,
        stop_timeout_s=0,
        restart_epoch=machine.restart_epoch + 1,
        restore=snapshot.id if restores else "",
        restore_epoch=machine.restart_epoch + 1,
        snapshot=snapshot.id,
        **columns(spec),
    )


async def delete(desk: Desk, intent: intents.SnapshotDelete) -> Operation:
    """Forget a snapshot: what is under it becomes its children's, and what only it held is merged or removed."""
    machine = await desk.machine_to_change(intent.machine)
    snapshot = await find_snapshot(desk.tx, machine, intent.snapshot)
    await refuse_read_snapshot(desk.tx, machine, snapshot)
    rows = await desk.tx.snapshots.scan(machine=machine.id)
    await _refuse_needed(desk, machine, snapshot)
    before = kept_state(machine, await disks_of(desk.tx, machine))
    children = [row.id for row in rows if row.parent == snapshot.id]
    await forget_node(desk.tx, machine, snapshot)
    await desk.tx.snapshots.update(snapshot.id, {}, state=SnapshotState.DELETING)
    await tidy(desk.tx, machine)
    more = {**before, "snapshot": snapshot.id, "children": children}
    stands_on = snapshot.parent if machine.snapshot == snapshot.id else machine.snapshot
    return await desired(desk, machine, "snapshot.delete", more=more, snapshot=stands_on)


async def rename(desk: Desk, intent: intents.SnapshotRename) -> Snapshot:
    """Give a snapshot another name."""
    machine = await desk.machine(intent.machine)
    snapshot = await find_snapshot(desk.tx, machine, intent.snapshot)
    check_name(intent.name, "snapshot")
    if intent.name != snapshot.name:
        _refuse_taken(machine, await desk.tx.snapshots.scan(machine=machine.id), intent.name)
        await desk.tx.snapshots.update(snapshot.id, {}, name=intent.name)
    return msgspec.structs.replace(snapshot, name=intent.name)


async def _refuse_needed(desk: Desk, machine: Machine, snapshot: Snapshot) -> None:
    forks = [row.name for row in await desk.tx.machines.scan(restore=snapshot.id) if row.id != machine.id]
    if forks:
        raise Conflict(
            f"snapshot {snapshot.name} is being forked",
            subject=f"snapshot {snapshot.name}",
            field="snapshot",
            value=", ".join(forks[:5]),
            hint=f"`guest wait {forks[0]} --until running` waits for that",
        )


def _check_quiesce(machine: Machine, intent: intents.SnapshotCreate) -> None:
    if not intent.quiesce:
        return
    if not intent.disks_only:
        raise Invalid(
            "file systems are frozen for a snapshot of disks alone: one with memory has what is not yet written, too",
            field="quiesce",
            value=True,
            hint="add --disks-only, or leave --quiesce out",
        )
    if not machine.spec.agent or machine.stage not in (Stage.REACHABLE, Stage.CONFIGURED):
        raise Conflict(
            f"machine {machine.name} has no guest agent that could freeze its file systems now",
            subject=f"machine {machine.name}",
            field="quiesce",
            value=True,
            hint="leave --quiesce out, or wait until the machine is configured",
        )


def _next_name(rows: list[SnapshotRow]) -> str:
    taken = {row.name for row in rows}
    return next(name for number in range(1, len(rows) + 2) if (name := f"s{number}") not in taken)


def _refuse_taken(machine: Machine, rows: list[SnapshotRow], name: str) -> None:
    if any(row.name == name for row in rows):
        raise Conflict(
            f"machine {machine.name} has a snapshot {name!r} already",
            subject=f"machine {machine.name}",
            field="name",
            value=name,
            hint="choose another name, or delete that one",
        )


async def ready_disks(desk: Desk, machine: Machine) -> list[Disk]:
    """The machine's disks; raises `Conflict` while something is being done with one of them."""
    return [await desk.ready_disk(disk.disk) for disk in machine.spec.disks]


async def ready_snapshot(desk: Desk, machine: Machine, ref: str) -> Snapshot:
    """The machine's snapshot of that name or id; raises `Conflict` while it is being made or removed."""
    snapshot = await find_snapshot(desk.tx, machine, ref)
    if snapshot.state is not SnapshotState.READY:
        raise Conflict(
            f"snapshot {snapshot.name} is not ready: {snapshot.state.value}",
            subject=f"snapshot {snapshot.name}",
            hint="`guest operation list` shows how far it is",
        )
    return snapshot


def _as_it_was(machine: Machine, snapshot: Snapshot) -> MachineSpec:
    """The description of then, with what people call the machine now."""
    now = machine.spec
    kept = {name: getattr(now, name) for name in ("name", "labels", "autostart", "protected", "on_shutdown")}
    return msgspec.structs.replace(snapshot.spec, **kept)


async def _held_disks(desk: Desk, machine: Machine, snapshot: Snapshot) -> list[Disk]:
    """The disks of a snapshot; raises `Conflict` when one of them is gone, or has become another machine's."""
    found = []
    for id in snapshot.disks:
        disk = await desk.tx.disks.get(id)
        if disk is None or disk.machine not in ("", machine.id) or snapshot.disks[id].layer not in layers_of(disk):
            raise Conflict(
                f"snapshot {snapshot.name} needs disk {disk.name if disk else id}, which "
                + ("is attached to another machine" if disk and disk.machine else "is gone"),
                subject=f"snapshot {snapshot.name}",
                field="disk",
                value=disk.name if disk else id,
                hint=f"`guest disk detach {disk.name}` frees it" if disk else "",
            )
        found.append(disk)
    return found


async def _check_room(desk: Desk, machine: Machine, spec: MachineSpec, power: Power) -> None:
    await check_growth(desk, machine, spec)
    if power is not Power.STOPPED:
        has_mib = 0 if machine.power is Power.STOPPED else machine.memory_mib
        await check_memory(desk, max(0, spec.memory_mib - has_mib))
