"""Forks of machines in the records: what they wait for, and what is let go of when they run."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from guesthouse.decide.forks import unshared
from guesthouse.decide.observed import Desired, Observed
from guesthouse.engine.snapshots import tidy
from guesthouse.model.errors import Failed
from guesthouse.model.machine import Machine, MachineRow
from guesthouse.model.resources import Disk, Operation, OperationState, Snapshot, SnapshotState
from guesthouse.ports import Transaction


class FromSource(msgspec.Struct, frozen=True, kw_only=True):
    """Of an operation ``machine.fork``: the machines that it makes with the operations that begin them."""

    machine: str
    name: str
    operation: str


def forks_in(operation: Operation) -> list[str]:
    """The ids of the machines that an operation ``machine.fork`` makes."""
    return [fork.machine for fork in msgspec.convert(operation.context["forks"], list[FromSource])]


async def disks_to_share(tx: Transaction, operation: Operation | None) -> tuple[Disk, ...]:
    """The disks of the forks that are being made."""
    if operation is None or operation.kind != "machine.fork" or operation.state is OperationState.UNDOING:
        return ()
    found = [disk for fork in forks_in(operation) for disk in await tx.disks.select(machine=fork)]
    return tuple(disk for disk in found if disk.origin)


async def source_of(tx: Transaction, machine: Machine) -> Snapshot | None:
    """The snapshot of another machine that this one goes on from, while it has not."""
    snapshot = await tx.snapshots.get(machine.restore) if machine.origin and machine.restore else None
    return snapshot if snapshot is not None and snapshot.machine != machine.id else None


async def with_source(tx: Transaction, desired: Desired) -> Desired | None:
    """A fork with its source as that is now; None while the machine is still being forked."""
    for row in await tx.operations.scan(subject=desired.machine.origin, ended_at=0.0):
        if row.kind == "machine.fork":
            whole = await tx.operations.get(row.id)
            if whole is not None and desired.machine.id in forks_in(whole):
                return None
    return replace(desired, source=await source_of(tx, desired.machine))


def deserted(machine: MachineRow) -> Failed:
    """What became of a fork whose machine was not forked after all."""
    return Failed(
        f"machine {machine.name}: the machine that it was to be forked from could not be forked",
        subject=f"machine {machine.name}",
        hint="`guest operation list --all` shows why",
    )


def has_begun(desired: Desired, observed: Observed) -> bool:
    """Whether a fork has gone on from its source's memory, under a name of its own."""
    return desired.source is not None and observed.process is not None and not observed.process.nameless


async def release(tx: Transaction, machine: Machine) -> None:
    """Let go of what a fork went on from; if nobody else needs it, and nobody has named it, it goes."""
    if (source := await source_of(tx, machine)) is None:
        return
    if await tx.machines.get(machine.id) is not None:
        await tx.machines.update(machine.id, {}, restore="")
    await release_passing(tx, source.id)


async def relatives(tx: Transaction, machine: Machine) -> list[str]:
    """The machines that may have layers for themselves now, since this one is gone."""
    origins = [id for id in (machine.id, machine.origin) if id]
    forks = [row.id for origin in origins for row in await tx.machines.scan(origin=origin)]
    return [*([machine.origin] if machine.origin else []), *forks]


async def release_passing(tx: Transaction, snapshot_id: str) -> bool:
    """Have a snapshot go that was there for forks alone, once none of them is to go on from it; whether it goes."""
    snapshot = await tx.snapshots.get(snapshot_id)
    if snapshot is None or not snapshot.passing or await tx.machines.scan(restore=snapshot_id):
        return False
    await tx.snapshots.update(snapshot_id, {}, state=SnapshotState.DELETING)
    if (machine := await tx.machines.get(snapshot.machine)) is not None:
        await tidy(tx, machine)
    return True


def no_longer_shared(desired: Desired, observed: Observed) -> list[Disk]:
    """Disks of which a layer is said to be shared and is not any more, as they should be said to be."""
    disks = (*desired.disks, *desired.aside)
    still = [(disk, unshared(disk, observed.disks.get(disk.id))) for disk in disks if disk.shared]
    return [msgspec.structs.replace(disk, shared=shared) for disk, shared in still if shared != disk.shared]
