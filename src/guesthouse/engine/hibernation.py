"""The memory of hibernated machines in the records: how it is let go of."""

from __future__ import annotations

from guesthouse.decide.hibernation import is_hibernated
from guesthouse.engine.forks import release_passing
from guesthouse.model.errors import Conflict
from guesthouse.model.machine import Machine
from guesthouse.model.resources import Snapshot, SnapshotState
from guesthouse.ports import Transaction


async def memory_of(tx: Transaction, machine: Machine) -> Snapshot | None:
    """What a machine that is, or was, hibernated goes on from; None where it has no such."""
    snapshot = await tx.snapshots.get(machine.restore) if machine.restore else None
    return snapshot if snapshot is not None and snapshot.passing and snapshot.machine == machine.id else None


async def rests(tx: Transaction, machine: Machine) -> bool:
    """Whether a machine is hibernated, and its memory is there whole."""
    snapshot = await memory_of(tx, machine)
    return snapshot is not None and is_hibernated(machine) and snapshot.state is SnapshotState.READY


async def let_go(tx: Transaction, machine: Machine) -> None:
    """A machine that was hibernated runs: its memory of then goes, and the layers that only that held."""
    expect = {"restore": machine.restore, "generation": machine.generation}
    if await tx.machines.update(machine.id, expect, restore=""):
        await release_passing(tx, machine.restore)


async def forget(tx: Transaction, machine: Machine) -> None:
    """Want nothing any more of memory that was being kept, or gone on from; one that is whole and waits stays.

    What is to become of layers shows when the machine has settled: until then it is not sure which of them are there.
    """
    snapshot = await memory_of(tx, machine)
    if snapshot is not None and not await rests(tx, machine):
        await tx.machines.update(machine.id, {}, restore="", restore_epoch=0)
        await tx.snapshots.update(snapshot.id, {}, state=SnapshotState.DELETING)


def refuse_hibernated(machine: Machine, *fields: str) -> None:
    """Raise `Conflict` where a machine is hibernated: what is asked, or those fields of it, its memory contradicts."""
    if is_hibernated(machine):
        what = ", ".join(fields) or "that"
        raise Conflict(
            f"machine {machine.name} is hibernated: {what} cannot change under its memory",
            subject=f"machine {machine.name}",
            field=fields[0] if fields else "state",
            value="hibernated",
            hint=f"`guest start {machine.name}` lets it go on; with --cold it boots, and its memory is lost",
        )
