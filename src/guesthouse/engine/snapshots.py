"""The records around snapshots: the tree of them, the layers that they hold, and what is left to merge.

Rules
-----
1. Layers that nobody needs any more are taken out of a disk's record when the operation that left them has ended; the
   plan then merges and removes. That is an operation too (`snapshot.merge`), and every other one pushes it aside.
2. A merge that failed or was cancelled is not tried again by itself: what is seen becomes what is wanted, until the
   next snapshot is taken, reverted to or deleted.
3. Memory is settled in the same way (`snapshot.settle`). Where that failed or was cancelled the snapshot keeps its
   stream, until it is reverted to: then it is tried once more.
"""

from __future__ import annotations

from collections.abc import Iterable

from guesthouse.decide.layers import layers_of, pruned
from guesthouse.decide.observed import Desired, Observed
from guesthouse.model.machine import Machine
from guesthouse.model.resources import Disk, Operation, Snapshot, SnapshotState
from guesthouse.ports import Transaction


async def disks_of(tx: Transaction, machine: Machine) -> list[Disk]:
    """All disks that the machine or one of its snapshots names."""
    return await _disks(tx, machine, await tx.snapshots.select(machine=machine.id))


async def tidy(tx: Transaction, machine: Machine) -> bool:
    """Take the layers that nobody needs out of the records of the machine's disks; whether there were any."""
    snapshots, changed = await tx.snapshots.select(machine=machine.id), False
    held = _held_by(snapshots)
    for disk in await _disks(tx, machine, snapshots):
        layers = pruned(disk, held.get(disk.id, set()))
        if layers != layers_of(disk):
            await tx.disks.update(disk.id, {}, layers=layers)
            changed = True
    return changed


async def _disks(tx: Transaction, machine: Machine, snapshots: Iterable[Snapshot]) -> list[Disk]:
    named = [disk.disk for disk in machine.spec.disks]
    shot = [disk for snapshot in snapshots for disk in snapshot.disks]
    return [disk for id in dict.fromkeys((*named, *shot)) if (disk := await tx.disks.get(id)) is not None]


def _held_by(snapshots: Iterable[Snapshot]) -> dict[str, set[str]]:
    """The layers that snapshots hold, by the ids of disks; one that is to go holds none."""
    held: dict[str, set[str]] = {}
    for snapshot in snapshots:
        if snapshot.state is not SnapshotState.DELETING:
            for disk, one in snapshot.disks.items():
                held.setdefault(disk, set()).add(one.layer)
    return held


async def forget_node(tx: Transaction, machine: Machine, snapshot: Snapshot) -> None:
    """Hang the children of a snapshot under its parent."""
    for row in await tx.snapshots.scan(machine=machine.id, parent=snapshot.id):
        await tx.snapshots.update(row.id, {}, parent=snapshot.parent)


async def forget_all(tx: Transaction, machine: Machine) -> None:
    """Want no snapshot of the machine any more: disks of theirs that it no longer has outlast it without them."""
    for row in await tx.snapshots.scan(machine=machine.id):
        await tx.snapshots.update(row.id, {}, state=SnapshotState.DELETING)
    await tidy(tx, machine)


def gone_for_good(desired: Desired, observed: Observed) -> list[Snapshot]:
    """Snapshots that were to go, and of which nothing is left."""
    going = [snapshot for snapshot in desired.snapshots if snapshot.state is SnapshotState.DELETING]
    return [snapshot for snapshot in going if snapshot.id not in observed.snapshots]


async def publish(tx: Transaction, operation: Operation, observed: Observed) -> None:
    """A snapshot is there: write down what it took."""
    seen = observed.snapshots[operation.context["snapshot"]]
    facts = {"pause_ms": seen.pause_ms, "memory_bytes": seen.memory_bytes}
    await tx.snapshots.update(operation.context["snapshot"], {}, state=SnapshotState.READY, **facts)


async def weigh(tx: Transaction, machine: Machine, observed: Observed) -> None:
    """Write down what the memory of snapshots takes up now: settled it is another file."""
    for row in await tx.snapshots.scan(machine=machine.id, state=SnapshotState.READY):
        seen = observed.snapshots.get(row.id)
        if seen is not None and seen.memory_bytes != row.memory_bytes:
            await tx.snapshots.update(row.id, {}, memory_bytes=seen.memory_bytes)


async def settle_no_more(tx: Transaction, machine: Machine, observed: Observed) -> None:
    """Leave the memory as it is whose turn it was: that of the first snapshot that `plan` would have settled."""
    for row in await tx.snapshots.scan(machine=machine.id, state=SnapshotState.READY, settle=True):
        seen = observed.snapshots.get(row.id)
        if seen is not None and seen.unsettled:
            await tx.snapshots.update(row.id, {}, settle=False)
            return


async def want_as_seen(tx: Transaction, machine: Machine, observed: Observed) -> None:
    """Want the layers of every disk as its files are: nothing is merged or removed."""
    for disk in await disks_of(tx, machine):
        seen = observed.disks.get(disk.id)
        if seen is not None and disk.layer in seen.layers:
            await tx.disks.update(disk.id, {}, layers=dict(seen.layers))
