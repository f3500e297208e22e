"""The snapshots of a machine, as those see them who may see the machine."""

from __future__ import annotations

import msgspec

from guesthouse.engine.resolve import find_snapshot
from guesthouse.model.machine import Machine
from guesthouse.model.resources import Snapshot, SnapshotRow
from guesthouse.ports import Transaction


class SnapshotsView(msgspec.Struct, frozen=True):
    """The snapshots of a machine, oldest first. `current` is the id of the one that it stands on, if any."""

    rows: tuple[SnapshotRow, ...]
    current: str


class HeldDisk(msgspec.Struct, frozen=True, kw_only=True):
    """A disk that a snapshot holds, and how large it was."""

    id: str
    name: str
    size_mib: int


class SnapshotView(msgspec.Struct, frozen=True):
    """A snapshot with its disks, and the names of those around it in the tree."""

    snapshot: Snapshot
    current: bool
    machine_name: str
    parent_name: str
    children: tuple[str, ...]
    disks: tuple[HeldDisk, ...]


async def snapshots_of(tx: Transaction, machine: Machine) -> SnapshotsView:
    """All snapshots of a machine."""
    return SnapshotsView(tuple(await _named(tx, machine)), machine.snapshot)


async def snapshot_of(tx: Transaction, machine: Machine, ref: str) -> SnapshotView:
    """One snapshot of a machine, whole; raises `NotFound`."""
    snapshot = await find_snapshot(tx, machine, ref)
    rows = await _named(tx, machine)
    return SnapshotView(
        snapshot,
        current=snapshot.id == machine.snapshot,
        machine_name=machine.name,
        parent_name=next((row.name for row in rows if row.id == snapshot.parent), ""),
        children=tuple(row.name for row in rows if row.parent == snapshot.id),
        disks=await _disks(tx, snapshot),
    )


async def _named(tx: Transaction, machine: Machine) -> list[SnapshotRow]:
    """Without those that are there for forks alone."""
    return await tx.snapshots.scan(machine=machine.id, passing=False)


async def _disks(tx: Transaction, snapshot: Snapshot) -> tuple[HeldDisk, ...]:
    """The disks in the order of the description; one whose record is gone has the name that it has there."""
    found = []
    for spec in snapshot.spec.disks:
        if spec.disk in snapshot.disks:
            disk = await tx.disks.get(spec.disk)
            name = disk.name if disk else spec.name
            found.append(HeldDisk(id=spec.disk, name=name, size_mib=snapshot.disks[spec.disk].size_mib))
    return tuple(found)
