"""Accepting that machines are hibernated, and go on from their memory or boot without it.

Rules
-----
1. To hibernate is to stop with a passing snapshot of the memory, in one generation: the vCPUs stand still before it is
   taken (`decide.plan`), so that disks stay as that memory knows them, in the layers that they have.
2. A start goes on in new layers upon those, whether from the memory or without it (`cold`): a start that is undone
   leaves the machine hibernated as it was.
3. The memory goes when the machine runs (`engine.hibernation.let_go`), or when it is stopped by force in between.
"""

from __future__ import annotations

from typing import Any

from guesthouse.decide import lifecycle
from guesthouse.decide.hibernation import is_hibernated
from guesthouse.decide.layers import layers_of, with_layer
from guesthouse.decide.lifecycle import Verb
from guesthouse.engine import intents
from guesthouse.engine.accept import machines
from guesthouse.engine.accept.desk import Desk
from guesthouse.engine.accept.machines import desired
from guesthouse.engine.accept.room import check_memory, check_space
from guesthouse.engine.accept.snapshots import ready_disks
from guesthouse.engine.hibernation import memory_of
from guesthouse.engine.undo import kept_state
from guesthouse.model.errors import Conflict, Invalid
from guesthouse.model.machine import Machine, Power
from guesthouse.model.resources import Held, Operation, Snapshot

KIND = "machine.hibernate"


async def stop(desk: Desk, intent: intents.Stop) -> Operation:
    """Stop a machine, or hibernate it."""
    if not intent.hibernate:
        return await machines.stop(desk, intent)
    if intent.force:
        raise Invalid("a machine is hibernated, or stopped by force", field="force", value=True, hint="leave one out")
    machine = await desk.machine(intent.machine)
    if not lifecycle.ask(machine, Verb.STOP):
        return await _at_rest(desk, machine)
    await desk.clear_the_way(machine, Verb.STOP)
    disks = await ready_disks(desk, machine)
    await check_space(desk, machine.memory_mib)
    snapshot = await desk.tx.snapshots.insert(
        Snapshot(
            id=desk.new_id(),
            project=machine.project,
            machine=machine.id,
            name=f"hibernation-{desk.new_id()}",
            parent=machine.snapshot,
            power=machine.power,
            memory=True,
            passing=True,
            settle=False,
            spec=machine.spec,
            disks={disk.id: Held(layer=disk.layer, size_mib=disk.size_mib) for disk in disks},
        )
    )
    return await desired(
        desk,
        machine,
        KIND,
        more={**kept_state(machine, disks), "snapshot": snapshot.id},
        power=Power.STOPPED,
        stop_timeout_s=0,
        interrupted_at=0.0,
        restore=snapshot.id,
        restore_epoch=machine.restart_epoch + 1,
    )


async def _at_rest(desk: Desk, machine: Machine) -> Operation:
    """What is said of a machine that does not run."""
    if not is_hibernated(machine):
        raise Conflict(
            f"machine {machine.name} is stopped: there is no memory that could be kept",
            subject=f"machine {machine.name}",
            field="hibernate",
            value=True,
            hint=f"`guest start {machine.name}` starts it",
        )
    await desk.clear_the_way(machine, Verb.STOP)
    return await desk.open(KIND, machine, generation=machine.generation, done=True)


async def start(desk: Desk, intent: intents.Start) -> Operation:
    """Start a machine: one that is hibernated goes on, or boots where that is to be `cold`."""
    machine = await desk.machine(intent.machine)
    hibernated = is_hibernated(machine)
    if intent.cold and not hibernated:
        raise Conflict(
            f"machine {machine.name} is not hibernated: there is no memory to start without",
            subject=f"machine {machine.name}",
            field="cold",
            value=True,
            hint="leave --cold out",
        )
    return await (_wake(desk, machine, cold=intent.cold) if hibernated else machines.start(desk, intent))


async def _wake(desk: Desk, machine: Machine, *, cold: bool) -> Operation:
    lifecycle.ask(machine, Verb.START)
    await desk.clear_the_way(machine, Verb.START)
    await check_memory(desk.at(machine.host), machine.memory_mib)
    snapshot = await memory_of(desk.tx, machine)
    assert snapshot is not None, "a hibernated machine has its memory"
    disks = await ready_disks(desk, machine)
    before = kept_state(machine, disks)
    for disk in disks:
        held = snapshot.disks[disk.id]
        assert held.layer in layers_of(disk), "what a snapshot holds stays"
        await desk.tx.disks.update(disk.id, {}, **with_layer(disk, desk.new_id(), held.layer))
    epoch = machine.restart_epoch + 1
    wanted: dict[str, Any] = {"restart_epoch": epoch, "restore_epoch": 0 if cold else epoch}
    return await desired(desk, machine, "machine.start", more=before, power=Power.RUNNING, interrupted_at=0.0, **wanted)
