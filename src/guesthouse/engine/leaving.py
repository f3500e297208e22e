"""What a machine has no more, or leaves behind: its disks, its places on networks, what doors keep of it."""

from __future__ import annotations

from typing import Any

from guesthouse.decide.observed import Observed
from guesthouse.decide.plan import kept_disks
from guesthouse.engine.kinds import BY_ITSELF
from guesthouse.engine.wanted import touch
from guesthouse.model.machine import Deleting, Machine
from guesthouse.model.resources import Disk, DiskState, Operation
from guesthouse.ports import Transaction

INTERRUPTED = "interrupted"
"""In the context of what deletes a machine: nobody asked for that but its interruption."""


async def leave_places(tx: Transaction, machine: Machine, observed: Observed | None) -> list[str]:
    """Give up the places of NICs that neither the description nor the guest has; all where the machine is gone.

    Those that stay are nobody's then, and keep their elastic addresses; what was lent goes back.

    Returns the ids of the networks.
    """
    kept = {nic.mac for nic in machine.spec.nics} if observed else set()
    if observed is not None and observed.process is not None:
        kept |= {nic.mac for nic in observed.process.spec.nics}
    left: dict[str, None] = {}
    for port in await tx.ports.select(machine=machine.id):
        if port.mac not in kept:
            for elastic in await tx.elastics.select(port=port.id):
                if elastic.lent:
                    await tx.elastics.delete(elastic.id)
                elif not port.stays:
                    await tx.elastics.update(elastic.id, {}, port="", network="")
            if port.stays:
                await tx.ports.update(port.id, {}, machine="", name="", forwards=())
            else:
                await tx.ports.delete(port.id)
                await end_port_records(tx, port.id)
            left[port.network] = None
    for id in left:
        if (network := await tx.networks.get(id)) is not None:
            await touch(tx, network)
    return list(left)


async def end_port_records(tx: Transaction, port: str) -> None:
    """Note when a port went, where a door keeps something of it."""
    for record in await tx.door_records.select(subject=port):
        await tx.door_records.update(record.id, {}, gone_at=await tx.now())


async def release_disks(tx: Transaction, machine: Machine, observed: Observed) -> None:
    """Disks that the description no longer names, and the guest has let go of, are free; or gone, if they are to go."""
    named = {disk.disk for disk in machine.spec.disks}
    for disk in await tx.disks.select(machine=machine.id):
        if disk.id in named:
            continue
        if disk.state is not DiskState.DELETING:
            await tx.disks.update(disk.id, {}, machine="")
        elif disk.id not in observed.disks:
            await _forget_disk(tx, disk)


async def forget_disks(tx: Transaction, machine: Machine) -> None:
    """The disks of a machine that is gone: those that went with it are forgotten, the others are free."""
    gone = {disk.disk for disk in machine.spec.disks} if machine.deleting is Deleting.WITH_DISKS else set()
    gone -= kept_disks(machine.spec)
    for disk in await tx.disks.select(machine=machine.id):
        if disk.id in gone or disk.state is DiskState.DELETING:
            await _forget_disk(tx, disk)
        else:
            await tx.disks.update(disk.id, {}, machine="")


async def _forget_disk(tx: Transaction, disk: Disk) -> None:
    await end_records(tx, disk.id, None)
    await tx.disks.delete(disk.id)


async def end_records(tx: Transaction, subject: str, operation: Operation | None) -> None:
    """Note when something went, where a door keeps something of it: clouds show what has ended for a while.

    Where it went since its making failed, the record has that error; `by_itself` where nobody asked for its end,
    `interrupted` where its place was given away.
    """
    for record in await tx.door_records.select(subject=subject):
        more: dict[str, Any] = {}
        if operation is not None and operation.error:
            more = {"error": operation.error}
        elif operation is None or operation.kind in BY_ITSELF.values():
            more = {"by_itself": True}
        elif operation.context.get(INTERRUPTED):
            more = {INTERRUPTED: True}
        await tx.door_records.update(record.id, {}, gone_at=await tx.now(), document={**record.document, **more})
