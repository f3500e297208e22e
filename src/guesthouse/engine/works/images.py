"""Operations on images: made of something, exported, removed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from guesthouse.engine.readings import reading_of
from guesthouse.engine.standing import forget_image
from guesthouse.engine.works.subject import Subject, Tools, nothing
from guesthouse.model.resources import Image, ImageState, Operation
from guesthouse.ports import Progress, Transaction


async def _perform(
    tools: Tools, operation: Operation, step: str, image: Image, progress: Progress
) -> Mapping[str, Any]:
    match operation.kind, step:
        case "image.create", "hold":
            return await tools.imaging.hold(operation)
        case "image.copy", "wait":
            return await tools.imaging.wait(operation)
        case "image.create", "release":
            return await tools.imaging.release(operation)
    async with tools.store.read() as tx:
        context = {**operation.context, **await _sources(tx, operation)}
    return await tools.images.perform(operation.kind, step, image, context, progress)


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


async def _undo(tools: Tools, operation: Operation, image: Image) -> None:
    try:
        await tools.images.discard(image, {**operation.context, "kind": operation.kind})
    finally:
        await tools.imaging.release(operation)


async def _publish(tx: Transaction, operation: Operation) -> None:
    facts = operation.context.get("facts", {})
    await tx.images.update(operation.subject, {}, state=ImageState.READY, **facts)


async def _remove(tx: Transaction, operation: Operation) -> None:
    await forget_image(tx, operation.subject)


SUBJECT = Subject(
    table=lambda tx: tx.images,
    perform=_perform,
    undo=_undo,
    finish={
        "image.build": _publish,
        "image.import": _publish,
        "image.pull": _publish,
        "image.create": _publish,
        "image.copy": _publish,
        "image.prepare": _publish,
        "image.export": nothing,
        "image.delete": _remove,
    },
    removed=_remove,
    restored=nothing,
)
