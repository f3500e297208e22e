"""Operations on images, templates, disks and networks: walking the steps of their kind.

Rules
-----
1. After each step its context is stored with the name of the next one: whoever takes it up goes on there.
2. The last step done, the subject's row is finished in the same transaction that ends the operation.
3. A failed or cancelled one is undone on the host first, then in the store.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from guesthouse.engine.imaging import Imaging
from guesthouse.engine.kinds import KINDS, Kind, Undo
from guesthouse.engine.network_undo import refuse_lost, write_back
from guesthouse.engine.owners import Wakes
from guesthouse.engine.progress import Board
from guesthouse.engine.readings import reading_of
from guesthouse.engine.records import end_operation
from guesthouse.engine.wanted import forget_network, load_wanted, note_applied, touch
from guesthouse.model.errors import Conflict, Failed, GuesthouseError
from guesthouse.model.machine import DiskFormat
from guesthouse.model.network import Network, NetworkState
from guesthouse.model.resources import (
    Disk,
    DiskState,
    Image,
    ImageState,
    Operation,
    OperationState,
    Template,
    TemplateState,
)
from guesthouse.ports import (
    Checkpoint,
    DiskHost,
    ImageHost,
    NetworkHost,
    Progress,
    Store,
    Table,
    TemplateHost,
    Transaction,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Works:
    """The work of the owner of an image, a template, a disk or a network."""

    store: Store
    images: ImageHost
    templates: TemplateHost
    disks: DiskHost
    networks: NetworkHost
    board: Board
    checkpoint: Checkpoint
    imaging: Imaging

    async def __call__(self, subject: str, wakes: Wakes) -> None:
        """Do what is open for this subject, oldest first."""
        while (operation := await self._next(subject)) is not None:
            await self._run(operation, wakes)

    async def _next(self, subject: str) -> Operation | None:
        async with self.store.write() as tx:
            for row in await tx.operations.scan(subject=subject, ended_at=0.0):
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
            progress = self.board.reporter(operation, step)
            progress(kind.phase)
            added = await self._until_cancelled(self._perform(operation, step, progress), operation, wakes)
            context = {**operation.context, **added}
            operation = msgspec.structs.replace(operation, context=context)
            if following:
                async with self.store.write() as tx:
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
        async with self.store.read() as tx:
            row = await tx.operations.get(operation.id)
        return row is None or row.cancel_requested

    async def _perform(self, operation: Operation, step: str, progress: Progress) -> Mapping[str, Any]:
        subject = await self._subject(operation)
        return await _SUBJECTS[operation.subject_kind].perform(self, operation, step, subject, progress)

    async def _subject(self, operation: Operation) -> Any:
        async with self.store.read() as tx:
            subject = await _SUBJECTS[operation.subject_kind].table(tx).get(operation.subject)
        if subject is None:
            raise Failed(f"the {operation.subject_kind} is gone", subject=operation.subject_name)
        return subject

    async def _finish(self, kind: Kind, operation: Operation) -> None:
        async with self.store.write() as tx:
            await _FINISH[kind.name](tx, operation)
            await end_operation(tx, operation, OperationState.DONE, None, **operation.context.get("result", {}))
        self._over(operation)

    async def _mark_undoing(self, operation: Operation, error: GuesthouseError) -> Operation:
        log.warning("%s of %s: %s", operation.kind, operation.subject_name, error)
        changes = {"state": OperationState.UNDOING, "error": error.as_dict()}
        async with self.store.write() as tx:
            await tx.operations.update(operation.id, {"epoch": operation.epoch}, **changes)
            row = await tx.operations.get(operation.id)
        return row or msgspec.structs.replace(operation, **changes)

    async def _undo(self, kind: Kind, operation: Operation) -> None:
        try:
            await _SUBJECTS[operation.subject_kind].undo(self, operation, await self._subject(operation))
        except (GuesthouseError, OSError):
            log.exception("undoing %s of %s", kind.name, operation.subject_name)
        ended = OperationState.CANCELLED if operation.cancel_requested else OperationState.FAILED
        async with self.store.write() as tx:
            if kind.undo is Undo.REMOVE:
                await _SUBJECTS[operation.subject_kind].forget(tx, operation.subject)
            elif operation.subject_kind == "disk" and kind.undo is Undo.RESTORE:
                await tx.disks.update(operation.subject, {}, state=DiskState.READY)
            await end_operation(tx, operation, ended, None)
        self._over(operation)

    def _over(self, operation: Operation) -> None:
        self.board.forget(operation.id)
        self.board.changes.ring(operation.subject)


# --- subjects: what is worked on ------------------------------------------------------------------------------


async def _do_image(
    works: Works, operation: Operation, step: str, image: Image, progress: Progress
) -> Mapping[str, Any]:
    match operation.kind, step:
        case "image.create", "hold":
            return await works.imaging.hold(operation)
        case "image.create", "release":
            return await works.imaging.release(operation)
    async with works.store.read() as tx:
        context = {**operation.context, **await _sources(tx, operation)}
    return await works.images.perform(operation.kind, step, image, context, progress)


async def _sources(tx: Transaction, operation: Operation) -> dict[str, Any]:
    """The records of what an image is made of: the image that it goes back to, and the disk that is read."""
    found: dict[str, Any] = {}
    if origin := operation.context.get("origin"):
        found["origin"] = msgspec.to_builtins(await tx.images.get(origin))
    if (reading := reading_of(operation)) is not None:
        disk = await tx.disks.get(reading.disk)
        below = await tx.images.get(disk.image) if disk is not None and disk.image else None
        found |= {"disk": msgspec.to_builtins(disk), "below": msgspec.to_builtins(below)}
    return found


async def _undo_image(works: Works, operation: Operation, image: Image) -> None:
    try:
        await works.images.discard(image, {**operation.context, "kind": operation.kind})
    finally:
        await works.imaging.release(operation)


async def _do_template(
    works: Works, operation: Operation, step: str, template: Template, progress: Progress
) -> Mapping[str, Any]:
    async with works.store.read() as tx:
        image, project = await tx.images.get(template.image), await tx.projects.get(template.project)
    context = {"image": msgspec.to_builtins(image), "project_number": project.number if project else 0}
    return await works.templates.perform(operation.kind, step, template, operation.context | context, progress)


async def _undo_template(works: Works, operation: Operation, template: Template) -> None:
    await works.templates.discard(template)


async def _do_disk(works: Works, operation: Operation, step: str, disk: Disk, progress: Progress) -> Mapping[str, Any]:
    async with works.store.read() as tx:
        image = await tx.images.get(disk.image) if disk.image else None
    context = {**operation.context, "image": msgspec.to_builtins(image)} if image else operation.context
    await works.disks.perform(operation.kind, step, disk, context, progress)
    return {}


async def _undo_disk(works: Works, operation: Operation, disk: Disk) -> None:
    context = {**operation.context, "undo": operation.kind}
    await works.disks.perform(operation.kind, "undo", disk, context, works.board.reporter(operation, "undo"))


async def _do_network(
    works: Works, operation: Operation, step: str, network: Network, progress: Progress
) -> Mapping[str, Any]:
    refuse_lost(operation)
    if step == "remove":
        await works.networks.remove(network)
        return {}
    return {"applied": await _apply(works, network)}


async def _undo_network(works: Works, operation: Operation, network: Network) -> None:
    match operation.kind:
        case "network.create":
            await works.networks.remove(network)
        case "network.change":
            async with works.store.write() as tx:
                await write_back(tx, operation)
                await touch(tx, await tx.networks.get(network.id) or network)
            applied = await _apply(works, network)
            async with works.store.write() as tx:
                await note_applied(tx, network.id, applied)


async def _apply(works: Works, network: Network) -> int:
    """Have the host's network as it is wanted now; the generation that this is."""
    async with works.store.read() as tx:
        wanted = await load_wanted(tx, await tx.networks.get(network.id) or network)
    await works.networks.apply(wanted)
    return wanted.network.generation


class Subject(NamedTuple):
    """Where its record is, who does a step of it, who undoes all of them, and who removes what is known of it."""

    table: Callable[[Transaction], Table[Any, Any]]
    perform: Callable[[Works, Operation, str, Any, Progress], Awaitable[Mapping[str, Any]]]
    undo: Callable[[Works, Operation, Any], Awaitable[None]]
    forget: Callable[[Transaction, str], Awaitable[None]]


_SUBJECTS: dict[str, Subject] = {
    "image": Subject(lambda tx: tx.images, _do_image, _undo_image, lambda tx, id: tx.images.delete(id)),
    "template": Subject(lambda tx: tx.templates, _do_template, _undo_template, lambda tx, id: tx.templates.delete(id)),
    "disk": Subject(lambda tx: tx.disks, _do_disk, _undo_disk, lambda tx, id: tx.disks.delete(id)),
    "network": Subject(lambda tx: tx.networks, _do_network, _undo_network, forget_network),
}


# --- how they end ---------------------------------------------------------------------------------------------


async def _publish_image(tx: Transaction, operation: Operation) -> None:
    facts = operation.context.get("facts", {})
    await tx.images.update(operation.subject, {}, state=ImageState.READY, **facts)


async def _remove_image(tx: Transaction, operation: Operation) -> None:
    await tx.images.delete(operation.subject)


async def _publish_template(tx: Transaction, operation: Operation) -> None:
    facts = operation.context.get("facts", {})
    await tx.templates.update(operation.subject, {}, state=TemplateState.READY, **facts)


async def _remove_template(tx: Transaction, operation: Operation) -> None:
    await tx.templates.delete(operation.subject)


async def _nothing(tx: Transaction, operation: Operation) -> None:
    """The subject's row stays as it is."""


async def _disk_made(tx: Transaction, operation: Operation) -> None:
    await tx.disks.update(operation.subject, {}, state=DiskState.READY)


async def _disk_grown(tx: Transaction, operation: Operation) -> None:
    size_mib = operation.context["size_mib"]
    await tx.disks.update(operation.subject, {}, state=DiskState.READY, size_mib=size_mib)


async def _disk_converted(tx: Transaction, operation: Operation) -> None:
    disk_format = DiskFormat(operation.context["format"])
    await tx.disks.update(
        operation.subject,
        {},
        state=DiskState.READY,
        format=disk_format,
        image="",
        template="",
        layer="",
        layers={},
        origin="",
        shared=(),
    )


async def _remove_disk(tx: Transaction, operation: Operation) -> None:
    await tx.disks.delete(operation.subject)


async def _network_made(tx: Transaction, operation: Operation) -> None:
    await tx.networks.update(operation.subject, {}, state=NetworkState.READY)
    await note_applied(tx, operation.subject, operation.context["applied"])


async def _network_changed(tx: Transaction, operation: Operation) -> None:
    await note_applied(tx, operation.subject, operation.context["applied"])


async def _remove_network(tx: Transaction, operation: Operation) -> None:
    await forget_network(tx, operation.subject)


_FINISH = {
    "image.build": _publish_image,
    "image.import": _publish_image,
    "image.pull": _publish_image,
    "image.create": _publish_image,
    "image.prepare": _publish_image,
    "image.export": _nothing,
    "image.delete": _remove_image,
    "template.create": _publish_template,
    "template.delete": _remove_template,
    "disk.create": _disk_made,
    "disk.resize": _disk_grown,
    "disk.convert": _disk_converted,
    "disk.delete": _remove_disk,
    "network.create": _network_made,
    "network.change": _network_changed,
    "network.delete": _remove_network,
}
