"""Operations on images, templates, disks and networks: walking the steps of their kind.

Rules
-----
1. After each step its context is stored with the name of the next one: whoever takes it up goes on there.
2. The last step done, the subject's row is finished in the same transaction that ends the operation.
3. A failed or cancelled one is undone on the host first, then in the store.
4. What is done is a module's for each kind of subject; all of them are rows of `_SUBJECTS`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from guesthouse.engine.kinds import KINDS, Kind, Undo
from guesthouse.engine.leaving import end_records
from guesthouse.engine.owners import Wakes
from guesthouse.engine.records import end_operation
from guesthouse.engine.works import disks, images, networks, templates
from guesthouse.engine.works.subject import Subject, Tools
from guesthouse.model.errors import Conflict, Failed, GuesthouseError
from guesthouse.model.resources import Operation, OperationState
from guesthouse.ports import Checkpoint, Progress

__all__ = ["Tools", "Works"]

log = logging.getLogger(__name__)

_SUBJECTS: dict[str, Subject] = {
    "image": images.SUBJECT,
    "template": templates.SUBJECT,
    "disk": disks.SUBJECT,
    "network": networks.SUBJECT,
}


@dataclass(frozen=True)
class Works:
    """The work of the owner of an image, a template, a disk or a network."""

    tools: Tools
    here: str
    checkpoint: Checkpoint

    async def __call__(self, subject: str, wakes: Wakes) -> None:
        """Do what is open for this subject, oldest first."""
        while (operation := await self._next(subject)) is not None:
            await self._run(operation, wakes)

    async def _next(self, subject: str) -> Operation | None:
        async with self.tools.store.write() as tx:
            for row in await tx.operations.scan(subject=subject, host=self.here, ended_at=0.0):
                operation = await tx.operations.get(row.id)
                if operation is None:
                    continue
                if operation.state is OperationState.WAITING:
                    changes = {"state": OperationState.RUNNING, "epoch": operation.epoch + 1}
                    await tx.operations.update(operation.id, {"epoch": operation.epoch}, **changes)
                    operation = msgspec.structs.replace(operation, **changes)
                return operation
        return None

    async def _run(self, operation: Operation, wakes: Wakes) -> None:
        kind = KINDS[operation.kind]
        try:
            if operation.state is not OperationState.UNDOING:
                operation = await self._walk(kind, operation, wakes)
                await self._finish(kind, operation)
                return
        except GuesthouseError as error:
            operation = await self._mark_undoing(operation, error)
        except OSError as error:
            operation = await self._mark_undoing(operation, Failed(f"{kind.phase}: {error}"))
        await self._undo(kind, operation)

    async def _walk(self, kind: Kind, operation: Operation, wakes: Wakes) -> Operation:
        start = kind.steps.index(operation.step) if operation.step in kind.steps else 0
        for step, following in zip(kind.steps[start:], (*kind.steps[start + 1 :], ""), strict=True):
            await self.checkpoint(kind.name, step, "before")
            progress = self.tools.board.reporter(operation, step)
            progress(kind.phase)
            added = await self._until_cancelled(self._perform(operation, step, progress), operation, wakes)
            context = {**operation.context, **added}
            operation = msgspec.structs.replace(operation, context=context)
            if following:
                async with self.tools.store.write() as tx:
                    expect = {"epoch": operation.epoch}
                    await tx.operations.update(operation.id, expect, step=following, context=context)
            await self.checkpoint(kind.name, step, "after")
        return operation

    async def _until_cancelled(self, work: Any, operation: Operation, wakes: Wakes) -> Mapping[str, Any]:
        """Await one step; raises `Conflict` when its operation is cancelled meanwhile."""
        doing = asyncio.ensure_future(work)
        try:
            while not doing.done():
                if await self._is_cancelled(operation):
                    raise Conflict("cancelled", subject=f"operation {operation.id}")
                await wakes.or_done(doing)
                wakes.take()
        finally:
            if not doing.done():
                doing.cancel()
                await asyncio.wait((doing,))
        result: Mapping[str, Any] = doing.result()
        return result

    async def _is_cancelled(self, operation: Operation) -> bool:
        async with self.tools.store.read() as tx:
            row = await tx.operations.get(operation.id)
        return row is None or row.cancel_requested

    async def _perform(self, operation: Operation, step: str, progress: Progress) -> Mapping[str, Any]:
        subject = await self._subject(operation)
        return await _SUBJECTS[operation.subject_kind].perform(self.tools, operation, step, subject, progress)

    async def _subject(self, operation: Operation) -> Any:
        async with self.tools.store.read() as tx:
            subject = await _SUBJECTS[operation.subject_kind].table(tx).get(operation.subject)
        if subject is None:
            raise Failed(f"the {operation.subject_kind} is gone", subject=operation.subject_name)
        return subject

    async def _finish(self, kind: Kind, operation: Operation) -> None:
        async with self.tools.store.write() as tx:
            await _SUBJECTS[kind.subject].finish[kind.name](tx, operation)
            if kind.name.endswith(".delete"):
                await end_records(tx, operation.subject, operation)
            await end_operation(tx, operation, OperationState.DONE, None, **operation.context.get("result", {}))
        self._over(operation)

    async def _mark_undoing(self, operation: Operation, error: GuesthouseError) -> Operation:
        log.warning("%s of %s: %s", operation.kind, operation.subject_name, error)
        changes = {"state": OperationState.UNDOING, "error": error.as_dict()}
        async with self.tools.store.write() as tx:
            await tx.operations.update(operation.id, {"epoch": operation.epoch}, **changes)
            row = await tx.operations.get(operation.id)
        return row or msgspec.structs.replace(operation, **changes)

    async def _undo(self, kind: Kind, operation: Operation) -> None:
        row = _SUBJECTS[operation.subject_kind]
        try:
            await row.undo(self.tools, operation, await self._subject(operation))
        except (GuesthouseError, OSError):
            log.exception("undoing %s of %s", kind.name, operation.subject_name)
        ended = OperationState.CANCELLED if operation.cancel_requested else OperationState.FAILED
        async with self.tools.store.write() as tx:
            if kind.undo is Undo.REMOVE:
                await end_records(tx, operation.subject, operation)
                await row.removed(tx, operation)
            elif kind.undo is Undo.RESTORE:
                await row.restored(tx, operation)
            await end_operation(tx, operation, ended, None)
        self._over(operation)

    def _over(self, operation: Operation) -> None:
        self.tools.board.forget(operation.id)
        self.tools.board.changes.ring(operation.subject)
