"""Bringing one machine from what is seen to what is wanted.

Rules
-----
1. Load, observe, plan, take the first step, and again, until there is nothing to do; then settle: write down what
   is seen and end the operations whose generation is reached. What is wanted is loaded again only after a wake
   with news: whoever writes it wakes the owner.
2. A step that fails, or an operation that is cancelled, is undone by writing a desired state (the former one, or
   the machine's removal) and going on; the operation ends when that is reached. A failing undo ends it too.
3. An operation is taken up by raising its epoch; a daemon that finds another epoch lets go.
4. A guest that powered itself off, or a QEMU that is gone, becomes a new desired state (`engine.lapses`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, auto
from random import Random
from typing import Any

import msgspec

from guesthouse.decide.forks import waits
from guesthouse.decide.hibernation import has_woken
from guesthouse.decide.observed import Desired, Observed
from guesthouse.decide.plan import lapse, plan
from guesthouse.decide.steps import SettleMemory, Step
from guesthouse.engine.forks import (
    deserted,
    disks_to_share,
    forks_in,
    has_begun,
    no_longer_shared,
    relatives,
    release,
    release_passing,
    with_source,
)
from guesthouse.engine.hibernation import let_go
from guesthouse.engine.kinds import BY_ITSELF, KINDS, Undo
from guesthouse.engine.lapses import note_lapse
from guesthouse.engine.leaving import end_records, forget_disks, leave_places, release_disks
from guesthouse.engine.owners import Wakes
from guesthouse.engine.progress import Board
from guesthouse.engine.readings import readings
from guesthouse.engine.records import an_operation, end_operation, load_desired, tell
from guesthouse.engine.seen import seen_columns
from guesthouse.engine.snapshots import gone_for_good, publish, tidy, weigh
from guesthouse.engine.undo import desired_before, take_back_disks, take_back_places, take_back_snapshot
from guesthouse.model.errors import Conflict, Failed, GuesthouseError
from guesthouse.model.machine import Machine
from guesthouse.model.names import make_id
from guesthouse.model.resources import ENDED, Operation, OperationState
from guesthouse.ports import Checkpoint, HouseKeys, MachineHost, Store, Transaction

log = logging.getLogger(__name__)


class Then(Enum):
    """What an owner does next: look at the machine again, load what is wanted too, or end."""

    LOOK = auto()
    LOAD = auto()
    END = auto()


@dataclass(frozen=True)
class Converge:
    """The work of a machine's owner."""

    store: Store
    host: MachineHost
    keys: HouseKeys
    board: Board
    here: str
    boot_id: str
    checkpoint: Checkpoint
    random: Random
    wake: Callable[[str], None]

    async def __call__(self, subject: str, wakes: Wakes) -> bool:
        """Lead a machine to its desired state; returns when it is there, or can get no further.

        False where there is no such machine: it is gone, or the subject is none.
        """
        while (loaded := await self._load(subject, wakes)) is not None:
            then = Then.LOOK
            while then is Then.LOOK and not wakes.news:
                then = await self._advance(*loaded, wakes)
            if then is Then.END:
                return True
        return False

    async def _advance(self, desired: Desired, operation: Operation | None, wakes: Wakes) -> Then:
        """Come one step nearer to what is wanted."""
        if operation and operation.cancel_requested and operation.state is not OperationState.UNDOING:
            await self._undo(desired, operation, _cancelled(operation))
            return Then.LOAD
        if operation is not None and desired.machine.origin:
            async with self.store.read() as tx:
                forked = await with_source(tx, desired)
            if forked is None:
                return Then.END  # it is woken when that is over
            desired = forked
        observed = await self.host.observe(desired)
        if operation is not None and _is_deserted(desired, operation, observed):
            await self._undo(desired, operation, deserted(desired.machine))
            return Then.LOAD
        if why := lapse(desired, observed):
            await self._note_lapse(desired, why)
            return Then.LOAD
        # Nobody waits for layers to be merged but who asked for that: what else is under way comes first. Nor does
        # anybody for memory to be settled.
        upkeep = operation is None or operation.kind.startswith("snapshot.")
        steps = plan(desired, observed, upkeep=upkeep, settling=_may_settle(operation))
        if not steps:
            return await self._settle(desired, observed, operation)
        if operation is None and type(steps[0]) in BY_ITSELF:
            await self._open(BY_ITSELF[type(steps[0])], desired.machine)
            return Then.LOAD
        return await self._take(steps[0], desired, operation, wakes)

    async def _open(self, kind: str, machine: Machine) -> None:
        """Let people see what takes time though nobody asked for it now; what was asked for meanwhile comes first."""
        begun = {"state": OperationState.RUNNING, "generation": machine.generation, "epoch": 1}
        operation = an_operation(make_id(self.random), kind, machine, machine=machine.id, **begun)
        async with self.store.write() as tx:
            under_way = await tx.operations.scan(subject=machine.id, ended_at=0.0)
            if not under_way and not await readings(tx, machine.id):
                await tx.operations.insert(operation)
        self.board.changes.ring(machine.id, operation.id)

    async def _load(self, machine_id: str, wakes: Wakes) -> tuple[Desired, Operation | None] | None:
        wakes.load()
        async with self.store.read() as tx:
            machine = await tx.machines.get(machine_id)
            if machine is None or machine.host != self.here:
                return None
            desired = await load_desired(tx, machine)
            under_way = await tx.operations.scan(subject=machine_id, ended_at=0.0)
            operation = await tx.operations.get(under_way[-1].id) if under_way else None
            desired = replace(desired, forks=await disks_to_share(tx, operation))
        public = await self.keys.public(machine.project)
        desired = replace(desired, authorized_keys=(*desired.authorized_keys, public))
        if operation is not None and operation.state is OperationState.WAITING:
            operation = await self._claim(operation)
        return desired, operation

    async def _claim(self, operation: Operation) -> Operation | None:
        """Take the operation up; None when it was pushed aside in between."""
        changes: dict[str, Any] = {"state": OperationState.RUNNING, "epoch": operation.epoch + 1}
        async with self.store.write() as tx:
            expect = {"epoch": operation.epoch, "state": OperationState.WAITING}
            claimed = await tx.operations.update(operation.id, expect, **changes)
        self.board.changes.ring(operation.id)
        return msgspec.structs.replace(operation, **changes) if claimed else None

    async def _take(self, step: Step, desired: Desired, operation: Operation | None, wakes: Wakes) -> Then:
        """Perform one step."""
        progress = self.board.reporter(operation, step.name)
        progress(step.phase)
        kind = operation.kind if operation else "machine.repair"
        await self.checkpoint(kind, step.name, "before")
        try:
            await self._perform(step, desired, progress, wakes)
        except GuesthouseError as error:
            return await self._failed(desired, operation, error)
        except OSError as error:
            return await self._failed(desired, operation, Failed(f"{step.phase}: {error}"))
        await self.checkpoint(kind, step.name, "after")
        return Then.LOOK

    async def _perform(self, step: Step, desired: Desired, progress: Any, wakes: Wakes) -> None:
        """Do it; news interrupts it where the step allows that, or where its operation was cancelled."""
        work = asyncio.ensure_future(self.host.perform(step, desired, progress))
        try:
            while not work.done():
                await wakes.or_done(work)
                if work.done() or not wakes.take() or not wakes.news:
                    continue  # what the machine itself tells while something is done with it is no news
                if await self._has_news(step, desired):
                    break
        finally:
            if not work.done():
                work.cancel()
                await asyncio.wait((work,))
        if not work.cancelled():
            work.result()

    async def _has_news(self, step: Step, desired: Desired) -> bool:
        async with self.store.read() as tx:
            machine = await tx.machines.get(desired.machine.id)
            cancelled = [
                row
                for row in await tx.operations.scan(subject=desired.machine.id, ended_at=0.0)
                if row.cancel_requested and row.state is not OperationState.UNDOING
            ]
        newer = machine is None or machine.generation != desired.machine.generation
        return bool(cancelled) or (newer and step.interruptible)

    async def _failed(self, desired: Desired, operation: Operation | None, error: GuesthouseError) -> Then:
        log.warning("machine %s: %s", desired.machine.name, error)
        if operation is None or operation.state is OperationState.UNDOING or operation.state in ENDED:
            await self._give_up(desired, operation, error)
            return Then.END
        await self._undo(desired, operation, error)
        return Then.END if KINDS[operation.kind].undo is Undo.NOTHING else Then.LOAD

    async def _undo(self, desired: Desired, operation: Operation, error: GuesthouseError) -> None:
        """Write the desired state that undoes the operation; it ends when that is reached."""
        machine = desired.machine
        if KINDS[operation.kind].undo is Undo.NOTHING:
            async with self.store.write() as tx:
                await end_operation(tx, operation, _ending(operation, error), error)
            self.board.forget(operation.id)
            return
        observed, networks = await self.host.observe(desired), []
        async with self.store.write() as tx:
            generation, changes = machine.generation + 1, desired_before(operation, observed)
            expect = {"generation": machine.generation}
            if await tx.machines.update(machine.id, expect, generation=generation, **changes):
                await take_back_disks(tx, operation)
                networks = await take_back_places(tx, operation)
                await take_back_snapshot(tx, machine, operation, observed)
                await tx.operations.update(
                    operation.id,
                    {"epoch": operation.epoch},
                    state=OperationState.UNDOING,
                    error=error.as_dict(),
                    generation=generation,
                )
                await tell(tx, f"{operation.kind}.undoing", operation, error=error.as_dict())
        self.board.changes.ring(operation.id, machine.id)
        self._wake_all(networks)

    async def _give_up(self, desired: Desired, operation: Operation | None, error: GuesthouseError) -> None:
        """Nothing more can be done by ourselves: say so on the machine, end the operation."""
        machine = desired.machine
        async with self.store.write() as tx:
            status = msgspec.structs.replace(machine.status, error=error.as_dict())
            await tx.machines.update(machine.id, {}, status=status)
            if operation is not None:
                await end_operation(tx, operation, _ending(operation, error), error)
        self._tell_all(machine, operation)

    async def _note_lapse(self, desired: Desired, why: str) -> None:
        """The guest ended or stands still by itself: that is what is wanted from now on."""
        async with self.store.write() as tx:
            await note_lapse(tx, desired.machine, why, self.boot_id)
        self.board.changes.ring(desired.machine.id)

    async def _settle(self, desired: Desired, observed: Observed, operation: Operation | None) -> Then:
        """Write down what is seen, and end what is reached."""
        machine = desired.machine
        if machine.deleting:
            await self._forget(desired, operation)
            return Then.END
        seen = seen_columns(machine, observed, self.boot_id)
        changed = {name: value for name, value in seen.items() if getattr(machine, name) != value}
        lonely, gone = no_longer_shared(desired, observed), gone_for_good(desired, observed)
        begun, woken, networks = has_begun(desired, observed), has_woken(desired, observed), []
        is_news = changed or operation or lonely or gone or begun or woken
        async with self.store.write() if is_news else self.store.read() as tx:
            if changed and await tx.machines.update(machine.id, {"generation": machine.generation}, **changed):
                await release_disks(tx, machine, observed)
                networks = await leave_places(tx, machine, observed)
                if seen["stage"] != machine.stage and seen["stage"]:
                    await tell(tx, f"machine.{seen['stage'].value}", machine)
            for disk in lonely:
                await tx.disks.update(disk.id, {}, shared=disk.shared)
            for snapshot in gone:
                await tx.snapshots.delete(snapshot.id)
            if begun:
                await release(tx, machine)
            if woken:
                await let_go(tx, machine)
            left = woken or (bool(lonely or gone or begun) and await tidy(tx, machine))
            if operation is not None and operation.generation <= machine.generation:
                left |= await _settle_snapshots(tx, machine, operation, observed)
                await end_operation(tx, operation, _ending(operation), None, **_result(operation, desired, observed))
        self._tell_all(machine, operation)
        self._wake_all(networks)
        # With nothing else under way, what was put off has its turn.
        return Then.LOAD if left or (operation is not None and plan(desired, observed)) else Then.END

    async def _forget(self, desired: Desired, operation: Operation | None) -> None:
        machine = desired.machine
        async with self.store.write() as tx:
            await forget_disks(tx, machine)
            for row in await tx.snapshots.scan(machine=machine.id):
                await tx.snapshots.delete(row.id)
            await tx.machines.delete(machine.id)
            await end_records(tx, machine.id, operation)
            left = await leave_places(tx, machine, None)
            await release(tx, machine)
            alone = await relatives(tx, machine)
            await tell(tx, "machine.deleted", machine)
            if operation is not None:
                await end_operation(tx, operation, _ending(operation), None)
        self._tell_all(machine, operation)
        self._wake_all([*alone, *left])

    def _wake_all(self, subjects: list[str]) -> None:
        for subject in subjects:
            self.wake(subject)

    def _tell_all(self, machine: Machine, operation: Operation | None) -> None:
        """Wake who waits for the machine or its operation: after the commit, or they would see the old state."""
        if operation is not None:
            self.board.forget(operation.id)
        self.board.changes.ring(machine.id)
        if operation is not None and operation.kind == "machine.fork":
            self._wake_all(forks_in(operation))
        if machine.restore and machine.origin:
            self.wake(machine.origin)  # there may be something that it keeps for nobody now


def _may_settle(operation: Operation | None) -> bool:
    """Whether the memory of snapshots has its turn."""
    if operation is None:
        return True
    return operation.kind == BY_ITSELF[SettleMemory] and operation.state is not OperationState.UNDOING


def _ending(operation: Operation, error: GuesthouseError | None = None) -> OperationState:
    """How an operation ends: cancelled, failed, or done."""
    if operation.cancel_requested:
        return OperationState.CANCELLED
    failed = error or operation.error or operation.state is OperationState.UNDOING
    return OperationState.FAILED if failed else OperationState.DONE


def _is_deserted(desired: Desired, operation: Operation, observed: Observed) -> bool:
    """Whether a fork is to begin with something that it will not get any more."""
    begins = operation.kind == "machine.launch" and operation.state is not OperationState.UNDOING
    return begins and bool(desired.machine.origin) and waits(desired, observed)


# Operations after which a machine runs that did not before.
_BEGINS = frozenset({"machine.launch", "machine.start"})


def _result(operation: Operation, desired: Desired, observed: Observed) -> dict[str, Any]:
    """What is worth telling of how it was reached: from what a machine was forked or why not, what a snapshot cost."""
    forked = observed.process is not None and observed.process.forked
    if forked and desired.template is not None and operation.kind in _BEGINS:
        return {"template": desired.template.name}
    if operation.kind == "machine.launch" and "boots" in operation.context:
        return {"boots": operation.context["boots"]}
    if operation.kind == "machine.fork" and operation.state is not OperationState.UNDOING:
        return {"machines": operation.context["forks"], "pause_ms": _stood_still_ms(operation, desired, observed)}
    if operation.kind == "snapshot.create" and operation.state is not OperationState.UNDOING:
        id = operation.context["snapshot"]
        name = next(snapshot.name for snapshot in desired.snapshots if snapshot.id == id)
        return {"snapshot": name, "pause_ms": observed.snapshots[id].pause_ms}
    return {}


def _stood_still_ms(operation: Operation, desired: Desired, observed: Observed) -> int:
    """How long a machine stood still to be forked; not at all where its forks go on from a snapshot taken before."""
    for snapshot in desired.snapshots:
        if snapshot.id == operation.context["snapshot"] and snapshot.passing and snapshot.id in observed.snapshots:
            return observed.snapshots[snapshot.id].pause_ms
    return 0


def _cancelled(operation: Operation) -> GuesthouseError:
    return Conflict("cancelled", subject=f"operation {operation.id}")


_KEEPS = frozenset({"snapshot.create", "machine.fork", "machine.hibernate"})


async def _settle_snapshots(tx: Transaction, machine: Machine, operation: Operation, observed: Observed) -> bool:
    """Write down what an operation has led to for snapshots; whether it left layers to merge, or memory to settle."""
    if operation.kind in BY_ITSELF.values():
        await weigh(tx, machine, observed)
        return False
    if operation.kind not in _KEEPS and not operation.kind.startswith("snapshot."):
        return False
    taken = operation.kind in _KEEPS and operation.state is not OperationState.UNDOING
    if taken:
        await publish(tx, operation, observed)
        await release_passing(tx, operation.context["snapshot"])
    return await tidy(tx, machine) or taken
