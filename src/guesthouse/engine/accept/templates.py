"""Accepting what is asked of templates, and finding one for a launch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec

from guesthouse.decide.templates import fits, hardware
from guesthouse.decide.validate import check_spec
from guesthouse.engine import intents
from guesthouse.engine.accept.desk import Desk
from guesthouse.engine.accept.room import check_memory, check_space, refuse_taken_name
from guesthouse.engine.resolve import find
from guesthouse.model.errors import Conflict, Denied, Invalid
from guesthouse.model.machine import Datasource, MachineSpec
from guesthouse.model.names import check_name
from guesthouse.model.resources import Image, Operation, Template, TemplateState


async def create(desk: Desk, intent: intents.TemplateCreate) -> Operation:
    """Write down a template, and the operation that boots and freezes it."""
    image = await desk.system_image(intent.image)
    if intent.public:
        _check_public(desk, image)
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
            host=desk.host,
            vcpus=intent.vcpus,
            memory_mib=intent.memory_mib,
            public=intent.public,
            spec=hardware(msgspec.structs.replace(spec, datasource=intent.datasource)),
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


async def ready_templates(desk: Desk, image: Image) -> list[Template]:
    """Those of an image that the project may use: its own before public ones, the newest first."""
    found: list[Template] = []
    for scope in ({"project": desk.asker.project}, {"public": True}):
        found += reversed(await desk.tx.templates.select(image=image.id, state=TemplateState.READY, **scope))
    return found


def fitting(ready: Iterable[Template], image: Image, spec: MachineSpec) -> Template | None:
    """The first template that a machine of this description can be a fork of."""
    return next((template for template in ready if fits(template, image, spec)), None)


def why_it_boots(ready: Sequence[Template], image: Image, spec: MachineSpec) -> str:
    """Why a machine boots for which there would be a template but for its datasource; else empty."""
    for other in Datasource:
        if template := fitting(ready, image, msgspec.structs.replace(spec, datasource=other)):
            return f"template {template.name} is for machines whose datasource is {other.value}"
    return ""


def _check_public(desk: Desk, image: Image) -> None:
    """Raise `Denied` or `Invalid` unless every project may have this image's memory."""
    if not desk.asker.house:
        raise Denied(
            "only the operator of the house may have projects share memory",
            field="public",
            value=True,
            hint="leave it out: the template then serves your own project",
        )
    if not image.public:
        raise Invalid(
            f"image {image.name} belongs to one project: a template of it cannot serve others",
            field="image",
            value=image.name,
            hint="import the image with --public",
        )


def _called_after(image: Image, intent: intents.TemplateCreate) -> str:
    """``debian-12-1-512``: a template's name has no dots and colons, as an image's may."""
    datasource = "" if intent.datasource is Datasource.SEED else f"-{intent.datasource.value}"
    return re.sub(r"[.:_]", "-", f"{image.name}-{intent.vcpus}-{intent.memory_mib}{datasource}")
