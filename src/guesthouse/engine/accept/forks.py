"""Accepting the forking of a machine: one snapshot of it, and any number of machines that go on from that."""

from __future__ import annotations

import msgspec

from guesthouse.decide.complete import with_macs
from guesthouse.decide.forks import forked_disk, forked_spec, keeps_address
from guesthouse.decide.layers import downward, layers_of
from guesthouse.decide.validate import check_range
from guesthouse.engine import intents
from guesthouse.engine.accept.desk import Desk
from guesthouse.engine.accept.machine_disks import disk_name, insert_disk
from guesthouse.engine.accept.machines import desired
from guesthouse.engine.accept.ports import take_places
from guesthouse.engine.accept.room import check_memory, check_project, check_space, refuse_taken_name
from guesthouse.engine.accept.snapshots import keep, ready_disks, ready_snapshot
from guesthouse.engine.described import columns
from guesthouse.engine.forks import FromSource
from guesthouse.engine.undo import Touched, kept, kept_state
from guesthouse.model.errors import Conflict
from guesthouse.model.machine import Machine, MachineSpec, Power, Stage
from guesthouse.model.names import check_name
from guesthouse.model.resources import Disk, Operation, Snapshot

MAX_FORKS = 1000


async def fork(desk: Desk, intent: intents.Fork) -> Operation:
    """Write down the machines, and what they are to go on from; each has an operation that begins it."""
    machine = await desk.machine_to_change(intent.machine)
    count = check_range("count", intent.count, 1, MAX_FORKS)
    named = await ready_snapshot(desk, machine, intent.snapshot) if intent.snapshot else None
    spec = named.spec if named else machine.spec
    memory = named.memory if named else machine.power is not Power.STOPPED
    if memory:
        _check_can_be_renamed(machine, spec, now=named is None)
    names = await _names(desk, intent.name or machine.name, count, alone=bool(intent.name) and count == 1)
    disks = await _held_disks(desk, named) if named else await ready_disks(desk, machine)
    before = {} if named else kept_state(machine, disks)
    snapshot = named or await keep(
        desk, machine, disks, name=f"fork-{desk.new_id()}", memory=memory, passing=True, settle=False
    )
    await _check_room(desk, snapshot, count, to_take=named is None)
    await _share(desk, disks, snapshot)
    forks = [await _make(desk, machine, snapshot, disks, name) for name in names]
    more = {**before, "snapshot": snapshot.id, "forks": msgspec.to_builtins(forks)}
    return await desired(desk, machine, "machine.fork", more=more)


async def _make(desk: Desk, source: Machine, snapshot: Snapshot, disks: list[Disk], name: str) -> FromSource:
    """One machine that goes on from the snapshot, its disks, and the operation that begins it."""
    id, own = desk.new_id(), {disk.id: desk.new_id() for disk in disks}
    spec = with_macs(desk.random, forked_spec(snapshot.spec, name, own))
    for disk in disks:
        called = next(disk_name(name, each) for each in spec.disks if each.disk == own[disk.id])
        layer = desk.new_id()
        await insert_disk(desk, name, forked_disk(disk, snapshot.disks[disk.id], own[disk.id], layer, id, called))
    spec = await take_places(desk, id, spec)
    epoch = 1 if snapshot.memory else 0
    machine = await desk.tx.machines.insert(
        Machine(
            id=id,
            project=source.project,
            name=name,
            host=source.host,
            image=source.image,
            origin=source.id,
            power=Power.RUNNING if snapshot.memory else Power.STOPPED,
            restart_epoch=epoch,
            restore=snapshot.id if snapshot.memory else "",
            restore_epoch=epoch,
            configured_as=(source.configured_as or source.id) if snapshot.memory else "",
            spec=spec,
            **columns(spec),
        )
    )
    made = kept(Touched(made=tuple(own.values())))
    operation = await desk.open("machine.launch", machine, generation=machine.generation, context=made)
    return FromSource(machine=id, name=name, operation=operation.id)


async def _share(desk: Desk, disks: list[Disk], snapshot: Snapshot) -> None:
    """Note the layers that the forks will have, too."""
    for disk in disks:
        layers = downward(layers_of(disk), snapshot.disks[disk.id].layer)
        await desk.tx.disks.update(disk.id, {}, shared=tuple(dict.fromkeys((*disk.shared, *layers))))


async def _names(desk: Desk, base: str, count: int, *, alone: bool) -> list[str]:
    """What the forks are called: `base` itself if that was said for one alone, else with the next free numbers."""
    if alone:
        check_name(base, "machine")
        await refuse_taken_name(desk, "machine", base)
        return [base]
    taken = {row.name for row in await desk.tx.machines.scan(project=desk.asker.project)}
    names = [name for number in range(1, count + len(taken) + 1) if (name := f"{base}-{number}") not in taken][:count]
    check_name(names[-1], "machine")
    return names


def _check_can_be_renamed(machine: Machine, spec: MachineSpec, *, now: bool) -> None:
    """Raise unless a guest that goes on as it is can be told that it is another machine."""
    why, hint = "", "stop the machine first: a fork of a stopped one is configured anew when it starts"
    if not spec.agent:
        why = "has no guest agent, which tells its forks who they are"
    elif mac := keeps_address(spec):
        why = f"has a NIC ({mac}) of a model whose MAC address stays while the guest runs"
    elif now and machine.stage is not Stage.CONFIGURED:
        why, hint = "is not configured yet", f"`guest wait {machine.name}` waits until it is"
    if why:
        raise Conflict(f"machine {machine.name} {why}", subject=f"machine {machine.name}", hint=hint)


async def _held_disks(desk: Desk, snapshot: Snapshot) -> list[Disk]:
    """The disks that a snapshot holds; raises `Conflict` when one of them is gone."""
    found = [await desk.tx.disks.get(id) for id in snapshot.disks]
    if any(disk is None or snapshot.disks[disk.id].layer not in layers_of(disk) for disk in found):
        raise Conflict(
            f"snapshot {snapshot.name} needs a disk that is gone",
            subject=f"snapshot {snapshot.name}",
            hint="fork the machine as it is now, or another snapshot of it",
        )
    return [disk for disk in found if disk is not None]


async def _check_room(desk: Desk, snapshot: Snapshot, count: int, *, to_take: bool) -> None:
    """Raise where so many machines that are like the snapshot, or that itself, would find no room."""
    spec = snapshot.spec
    await check_project(
        desk,
        machines=count,
        vcpus=count * spec.vcpus,
        memory_mib=count * spec.memory_mib,
        disk_mib=count * sum(held.size_mib for held in snapshot.disks.values()),
        nics=count * len(spec.nics),
    )
    await check_memory(desk, count * spec.memory_mib if snapshot.memory else 0)
    await check_space(desk, spec.memory_mib if snapshot.memory and to_take else 0)
