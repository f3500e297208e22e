"""What the owner of an image does about the machine that it is made of.

Rules
-----
1. The image waits for its snapshot, which the machine's owner takes; it fails as that does.
2. When the disk has been read, or the image is undone, the machine goes on: the snapshot that was taken for it goes,
   and vCPUs that stood still for it run on. That is written down in one transaction, when nothing else is under way
   there, and only once: by the last of several images that one snapshot was taken for.
3. A copy waits for the image that it is made of.
4. Layers are merged afterwards, by the machine's owner: nobody waits for that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

import msgspec

from guesthouse.engine.progress import Board, end_of
from guesthouse.engine.readings import Reading, is_read_by_others, reading_of
from guesthouse.engine.records import an_operation
from guesthouse.engine.snapshots import forget_node, tidy
from guesthouse.engine.undo import UNTOUCHED, kept
from guesthouse.model.errors import Failed, from_dict
from guesthouse.model.machine import Machine, Power
from guesthouse.model.names import make_id
from guesthouse.model.resources import ENDED, ImageState, Operation, OperationState, SnapshotState
from guesthouse.ports import Store, Transaction

_LOOK_S = 60.0


@dataclass(frozen=True)
class Imaging:
    """What the owner of an image does about the machine that it is made of. `wake` is told of the machine."""

    store: Store
    board: Board
    random: Random
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

    async def wait(self, operation: Operation) -> Mapping[str, Any]:
        """Wait until the image that is copied has been made; raises `Failed` where it was not."""
        while True:
            async with self.store.read() as tx:
                origin = await tx.images.get(operation.context["origin"])
                under_way = await tx.operations.scan(subject=operation.context["origin"], ended_at=0.0)
            if origin is None:
                raise Failed("the image that it was to be a copy of was not made", subject=operation.subject_name)
            if origin.state is not ImageState.MAKING or not under_way:
                return {}
            await self._ended(under_way[0].id)

    async def release(self, operation: Operation) -> Mapping[str, Any]:
        """Let the machine go on without the reading; done again, it does nothing."""
        reading = reading_of(operation)
        if reading is None or reading.released:
            return {}
        if reading.taking and operation.state is OperationState.UNDOING:
            await self._cancel(operation, reading)
        added = {"reading": msgspec.to_builtins(msgspec.structs.replace(reading, released=True))}
        while (waits_for := await self._let_go(operation, reading, added)) is not None:
            await self._ended(waits_for)
        return added

    async def _let_go(self, operation: Operation, reading: Reading, added: Mapping[str, Any]) -> str | None:
        """Write it down once; which operation on the machine comes first, or lets it run on after that."""
        async with self.store.write() as tx:
            current = await tx.operations.get(operation.id)
            now = reading_of(current) if current else None
            if now is None or now.released:
                return None
            shared = await is_read_by_others(tx, operation, reading)
            under_way = await tx.operations.scan(subject=reading.machine, ended_at=0.0)
            if under_way and not shared:
                return under_way[0].id
            machine = await tx.machines.get(reading.machine) if reading.machine and not shared else None
            resuming = await self._go_on(tx, machine, reading) if machine is not None else None
            context = {**operation.context, **added}
            await tx.operations.update(operation.id, {"epoch": operation.epoch}, context=context)
        if machine is not None:
            self.wake(machine.id)
        return resuming

    async def _go_on(self, tx: Transaction, machine: Machine, reading: Reading) -> str | None:
        """Want the machine as it is without the reading; the operation that lets it run on where it stood still."""
        changes: dict[str, Any] = {}
        snapshot = await tx.snapshots.get(reading.snapshot) if reading.taking else None
        if snapshot is not None and snapshot.state is not SnapshotState.DELETING:
            await forget_node(tx, machine, snapshot)
            await tx.snapshots.update(snapshot.id, {}, state=SnapshotState.DELETING)
            await tidy(tx, machine)
            if machine.snapshot == snapshot.id:
                changes["snapshot"] = snapshot.parent
        resuming = None
        generation = machine.generation + 1
        if reading.resume and machine.power is Power.PAUSED:
            changes["power"] = Power.RUNNING
            resuming = an_operation(
                make_id(self.random), "machine.resume", machine, machine=machine.id,
                generation=generation, context=kept(UNTOUCHED, machine),
            )  # fmt: skip
            await tx.operations.insert(resuming)
        if changes:
            await tx.machines.update(machine.id, {}, generation=generation, **changes)
        return resuming.id if resuming else None

    async def _cancel(self, operation: Operation, reading: Reading) -> None:
        """Nobody needs the snapshot any more that may still be taken, unless others read it."""
        async with self.store.write() as tx:
            if await is_read_by_others(tx, operation, reading):
                return
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
