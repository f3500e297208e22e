"""Reading a machine's disk while an image is made of it: what has to stay as it is, and how the machine goes on.

Rules
-----
1. What is read is a layer of a disk that nobody writes to: one that a snapshot holds, or the top one of a machine that
   is stopped, or of a disk that no machine has. A machine that runs, or stands still, gets a snapshot of that disk
   alone for it, which goes with the last reading that it was taken for.
2. A reading stands in the context of its operation and lasts from its acceptance until it is released. As long the
   snapshot stays, a stopped machine is left alone, so is a free disk, no machine is deleted, and no layers are merged:
   a merge writes to files that are read.
3. It is released (`engine.imaging`) when the disk has been read, or its operation is undone.
"""

from __future__ import annotations

import msgspec

from guesthouse.model.errors import Conflict
from guesthouse.model.machine import Machine
from guesthouse.model.resources import Disk, Operation, OperationRow, Snapshot
from guesthouse.ports import Transaction

KIND = "image.create"


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What is read: a `layer` of a `disk` of a `machine`, which the `snapshot` holds; without one it is stopped.

    Without a machine no machine has the disk.

    `taking` is the id of the operation by which a snapshot is taken for this reading. `resume`: the machine's vCPUs
    stand still for it, and are to run on.
    """

    machine: str
    disk: str
    layer: str
    snapshot: str = ""
    taking: str = ""
    resume: bool = False
    released: bool = False


def reading_of(operation: Operation) -> Reading | None:
    """What an operation reads, None where it reads nothing."""
    said = operation.context.get("reading")
    return msgspec.convert(said, Reading) if said else None


async def readings(tx: Transaction, machine: str) -> list[tuple[OperationRow, Reading]]:
    """The readings of a machine's disks that are not released, with their operations."""
    return [(row, reading) for row, reading in await _readings(tx) if reading.machine == machine]


async def _readings(tx: Transaction) -> list[tuple[OperationRow, Reading]]:
    found: list[tuple[OperationRow, Reading]] = []
    for row in await tx.operations.scan(kind=KIND, ended_at=0.0):
        operation = await tx.operations.get(row.id)
        reading = reading_of(operation) if operation else None
        if reading is not None and not reading.released:
            found.append((row, reading))
    return found


async def is_read_by_others(tx: Transaction, operation: Operation, reading: Reading) -> bool:
    """Whether the snapshot that was taken for this reading is still read for other images."""
    others = (each for row, each in await readings(tx, reading.machine) if row.id != operation.id)
    return any(each.taking and each.taking == reading.taking for each in others)


async def refuse_read_disk(tx: Transaction, disk: Disk) -> None:
    """Raise `Conflict` while a disk is read that no machine has."""
    for row, reading in await _readings(tx):
        if reading.disk == disk.id and not reading.snapshot:
            raise in_use(row, f"disk {disk.name}")


async def refuse_read_machine(tx: Transaction, machine: Machine, *, gone: bool) -> None:
    """Raise `Conflict` while a disk is read as a stopped machine has it; where it is to be `gone`, also otherwise."""
    for row, reading in await readings(tx, machine.id):
        if gone or not reading.snapshot:
            raise in_use(row, f"machine {machine.name}")


async def refuse_read_snapshot(tx: Transaction, machine: Machine, snapshot: Snapshot, *, own: bool = False) -> None:
    """Raise `Conflict` while a snapshot is read; with `own` only when it was taken for that."""
    for row, reading in await readings(tx, machine.id):
        if reading.snapshot == snapshot.id and (reading.taking or not own):
            raise in_use(row, f"snapshot {snapshot.name}")


def in_use(row: OperationRow, subject: str) -> Conflict:
    return Conflict(
        f"{subject}: image {row.subject_name} is being made of it",
        subject=subject,
        field="operation",
        value=row.id,
        hint=f"wait for it, or `guest operation cancel {row.id}`",
    )
