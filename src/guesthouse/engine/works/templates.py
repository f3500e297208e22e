"""Operations on templates: a machine booted and frozen, or removed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from guesthouse.engine.works.subject import Subject, Tools, nothing
from guesthouse.model.resources import Operation, Template, TemplateState
from guesthouse.ports import Progress, Transaction


async def _perform(
    tools: Tools, operation: Operation, step: str, template: Template, progress: Progress
) -> Mapping[str, Any]:
    async with tools.store.read() as tx:
        image, project = await tx.images.get(template.image), await tx.projects.get(template.project)
    context = {"image": msgspec.to_builtins(image), "project_number": project.number if project else 0}
    return await tools.templates.perform(operation.kind, step, template, operation.context | context, progress)


async def _undo(tools: Tools, operation: Operation, template: Template) -> None:
    await tools.templates.discard(template)


async def _publish(tx: Transaction, operation: Operation) -> None:
    facts = operation.context.get("facts", {})
    await tx.templates.update(operation.subject, {}, state=TemplateState.READY, **facts)


async def _remove(tx: Transaction, operation: Operation) -> None:
    await tx.templates.delete(operation.subject)


SUBJECT = Subject(
    table=lambda tx: tx.templates,
    perform=_perform,
    undo=_undo,
    finish={"template.create": _publish, "template.delete": _remove},
    removed=_remove,
    restored=nothing,
)
