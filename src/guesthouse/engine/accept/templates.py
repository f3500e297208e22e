"""Accepting what is asked of templates, and finding one for a launch."""

from __future__ import annotations

import re

from guesthouse.decide.templates import fits, hardware
from guesthouse.decide.validate import check_spec
from guesthouse.engine import intents
from guesthouse.engine.accept.desk import Desk
from guesthouse.engine.accept.room import check_memory, check_space, refuse_taken_name
from guesthouse.engine.resolve import find
from guesthouse.model.errors import Conflict
from guesthouse.model.machine import MachineSpec
from guesthouse.model.names import check_name
from guesthouse.model.resources import Image, Operation, Template, TemplateState


async def create(desk: Desk, intent: intents.TemplateCreate) -> Operation:
    """Write down a template, and the operation that boots and freezes it."""
    image = await desk.ready_image(intent.image)
    name = intent.name or _called_after(image, intent)
    check_name(name, "template")
    spec = MachineSpec(
        name=name, image=image.name, vcpus=intent.vcpus, memory_mib=intent.memory_mib, firmware=intent.firmware
    )
    check_spec(spec)
    await refuse_taken_name(desk, "template", name)
    await check_memory(desk, intent.memory_mib)
    await check_space(desk, intent.memory_mib)
    template = await desk.tx.templates.insert(
        Template(
            id=desk.new_id(),
            project=desk.asker.project,
            name=name,
            image=image.id,
            vcpus=intent.vcpus,
            memory_mib=intent.memory_mib,
            spec=hardware(spec),
        )
    )
    return await desk.open("template.create", template)


async def delete(desk: Desk, intent: intents.TemplateDelete) -> Operation:
    """Remove a template that no disk stands on."""
    template = await find(desk.tx.templates, desk.asker.project, "template", intent.template)
    if under_way := await desk.open_operations(template.id):
        raise Conflict(
            f"template {template.name}: {under_way[-1].kind} is under way",
            subject=f"template {template.name}",
            hint=f"wait for it, or `guest operation cancel {under_way[-1].id}`",
        )
    if users := sorted(disk.name for disk in await desk.tx.disks.select(template=template.id)):
        first = ", ".join(users[:5])
        raise Conflict(
            f"template {template.name} is under {len(users)} disks: {first}",
            subject=f"template {template.name}",
            field="template",
            value=first,
            hint="delete those first",
        )
    await desk.tx.templates.update(template.id, {}, state=TemplateState.DELETING)
    return await desk.open("template.delete", template)


async def fitting(desk: Desk, image: Image, spec: MachineSpec) -> Template | None:
    """The newest template of the project from which a machine of this description can be forked."""
    ready = await desk.tx.templates.select(project=desk.asker.project, image=image.id, state=TemplateState.READY)
    return next((template for template in reversed(ready) if fits(template, image, spec)), None)


def _called_after(image: Image, intent: intents.TemplateCreate) -> str:
    """``debian-12-1-512``: a template's name has no dots and colons, as an image's may."""
    return re.sub(r"[.:_]", "-", f"{image.name}-{intent.vcpus}-{intent.memory_mib}")
