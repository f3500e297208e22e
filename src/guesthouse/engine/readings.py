"""Reading a machine's disk while an image is made of it: what has to stay as it is, and how the machine goes on.

Rules
-----
1. What is read is a layer of the root disk that nobody writes to: one that a snapshot holds, or the top one of a
   machine that is stopped. A machine that runs, or stands still, gets a snapshot of that disk alone for it, which goes
   with the reading.
2. A reading stands in the context of its operation and lasts from its acceptance until it is released. As long the
   snapshot stays, a stopped machine is left alone, no machine is deleted, and no layers are merged: a merge writes to
   files that are read.
3. It is released when the disk has been read, or its operation is undone: the snapshot that was taken for it goes, and
   vCPUs that stood still for it run on. That is written down in one transaction, when nothing else is under way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from guesthouse.engine.progress import Board, end_of
from guesthouse.engine.snapshots import forget_node, tidy
from guesthouse.model.errors import Conflict, Failed, from_dict
from guesthouse.model.machine import Machine, Power
from guesthouse.model.resources import ENDED, Operation, OperationRow, OperationState, Snapshot, SnapshotState
from guesthouse.ports import Store, Transaction

KIND = "image.create"
_BY_ITSELF = "snapshot.merge"
_LOOK_S = 60.0


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What is read: a `layer` of a `disk` of a `machine`, which the `snapshot` holds; without one it is stopped.

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
    found: list[tuple[OperationRow, Reading]] = []
    for row in await tx.operations.scan(kind=KIND, ended_at=0.0):
        operation = await tx.operations.get(row.id)
        reading = reading_of(operation) if operation else None
        if reading is not None and reading.machine == machine and not reading.released:
            found.append((row, reading))
    return found


async def refuse_read_machine(tx: Transaction, machine: Machine, *, gone: bool) -> None:
    """Raise `Conflict` while a disk is read as a stopped machine has it; where it is to be `gone`, also otherwise."""
    for row, reading in await readings(tx, machine.id):
        if gone or not reading.snapshot:
            raise _in_use(row, f"machine {machine.name}")


async def refuse_read_snapshot(tx: Transaction, machine: Machine, snapshot: Snapshot, *, own: bool = False) -> None:
    """Raise `Conflict` while a snapshot is read; with `own` only when it was taken for that."""
    for row, reading in await readings(tx, machine.id):
        if reading.snapshot == snapshot.id and (reading.taking or not own):
            raise _in_use(row, f"snapshot {snapshot.name}")


def _in_use(row: OperationRow, subject: str) -> Conflict:
    return Conflict(
        f"{subject}: image {row.subject_name} is being made of it",
        subject=subject,
        field="operation",
        value=row.id,
        hint=f"wait for it, or `guest operation cancel {row.id}`",
    )


@dataclass(frozen=True)
class Readings:
    """What the owner of an image does about the machine that it is made of. `wake` is told of the machine."""

    store: Store
    board: Board
    wake: Callable[[str], None]

    async def hold(self, operation: Operation) -> Mapping[str, Any]:
        """Wait until what is to be read is there; raises what its snapshot failed by."""
        reading = reading_of(operation)
        assert reading is not None
        if reading.taking:
            taking = await self._ended(reading.taking)
            if taking is None or taking.state is not OperationState.DONE:
                raise from_dict(taking.error) if taking and taking.error else Failed("its snapshot was not taken")
        return {}

    async def release(self, operation: Operation) -> Mapping[str, Any]:
        """Let the machine go on without the reading; done again, it does nothing."""
        reading = reading_of(operation)
        if reading is None or reading.released:
            return {}
        if reading.taking and operation.state is OperationState.UNDOING:
            await self._cancel(reading)
        added = {"reading": msgspec.to_builtins(msgspec.structs.replace(reading, released=True))}
        while (waits_for := await self._let_go(operation, reading, added)) is not None:
            await self._ended(waits_for)
        self.wake(reading.machine)
        self.board.changes.ring(reading.machine)
        return added

    async def _let_go(self, operation: Operation, reading: Reading, added: Mapping[str, Any]) -> str | None:
        """Write it down, or say which operation on the machine comes first."""
        async with self.store.write() as tx:
            under_way = await tx.operations.scan(subject=reading.machine, ended_at=0.0)
            if first := next((row for row in under_way if row.kind != _BY_ITSELF), None):
                return first.id
            machine = await tx.machines.get(reading.machine)
            if machine is not None:
                await _go_on(tx, machine, reading)
            context = {**operation.context, **added}
            await tx.operations.update(operation.id, {"epoch": operation.epoch}, context=context)
        return None

    async def _cancel(self, reading: Reading) -> None:
        """Nobody needs the snapshot any more that may still be taken."""
        async with self.store.write() as tx:
            taking = await tx.operations.get(reading.taking)
            if taking is not None and taking.state not in ENDED:
                await tx.operations.update(taking.id, {}, cancel_requested=True)
        self.wake(reading.machine)

    async def _ended(self, id: str) -> Operation | None:
        """The operation when it has ended; None when it is forgotten."""
        with self.board.changes.listen(end_of(id)) as bell:
            while True:
                async with self.store.read() as tx:
                    operation = await tx.operations.get(id)
                if operation is None or operation.state in ENDED:
                    return operation
                await bell.wait(_LOOK_S)


async def _go_on(tx: Transaction, machine: Machine, reading: Reading) -> None:
    changes: dict[str, Any] = {}
    snapshot = await tx.snapshots.get(reading.snapshot) if reading.taking else None
    if snapshot is not None and snapshot.state is not SnapshotState.DELETING:
        await forget_node(tx, machine, snapshot)
        await tx.snapshots.update(snapshot.id, {}, state=SnapshotState.DELETING)
        await tidy(tx, machine)
        if machine.snapshot == snapshot.id:
            changes["snapshot"] = snapshot.parent
    if reading.resume and machine.power is Power.PAUSED:
        changes["power"] = Power.RUNNING
    if changes:
        await tx.machines.update(machine.id, {}, generation=machine.generation + 1, **changes)
