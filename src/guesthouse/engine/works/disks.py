"""Operations on disks that no machine has: made, grown, converted, removed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from guesthouse.engine.works.subject import Subject, Tools
from guesthouse.model.machine import DiskFormat
from guesthouse.model.resources import Disk, DiskState, Operation
from guesthouse.ports import Progress, Transaction


async def _perform(tools: Tools, operation: Operation, step: str, disk: Disk, progress: Progress) -> Mapping[str, Any]:
    async with tools.store.read() as tx:
        image = await tx.images.get(disk.image) if disk.image else None
    context = {**operation.context, "image": msgspec.to_builtins(image)} if image else operation.context
    await tools.disks.perform(operation.kind, step, disk, context, progress)
    return {}


async def _undo(tools: Tools, operation: Operation, disk: Disk) -> None:
    context = {**operation.context, "undo": operation.kind}
    await tools.disks.perform(operation.kind, "undo", disk, context, tools.board.reporter(operation, "undo"))


async def _ready(tx: Transaction, operation: Operation) -> None:
    await tx.disks.update(operation.subject, {}, state=DiskState.READY)


async def _grown(tx: Transaction, operation: Operation) -> None:
    size_mib = operation.context["size_mib"]
    await tx.disks.update(operation.subject, {}, state=DiskState.READY, size_mib=size_mib)


async def _converted(tx: Transaction, operation: Operation) -> None:
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


async def _remove(tx: Transaction, operation: Operation) -> None:
    await tx.disks.delete(operation.subject)


SUBJECT = Subject(
    table=lambda tx: tx.disks,
    perform=_perform,
    undo=_undo,
    finish={
        "disk.create": _ready,
        "disk.resize": _grown,
        "disk.convert": _converted,
        "disk.delete": _remove,
    },
    removed=_remove,
    restored=_ready,
)
