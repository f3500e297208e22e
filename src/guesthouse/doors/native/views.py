"""What the rows of the table show: each function asks the engine one question and gives the answer its shape."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from functools import cache
from typing import Any

import msgspec

from guesthouse import __version__
from guesthouse.catalog.types import TYPES
from guesthouse.decide.hibernation import is_hibernated
from guesthouse.decide.types import why_not
from guesthouse.doors.native import documents as d
from guesthouse.doors.native import openapi as described
from guesthouse.doors.native.rows import Call, NoParams
from guesthouse.engine.intents import Apply, Intent
from guesthouse.engine.views import MachineView
from guesthouse.formats.pictures import png
from guesthouse.model.errors import Invalid
from guesthouse.model.machine import MachineRow, Stage
from guesthouse.model.resources import Disk, Event, Image, Key, OperationRow, Project, TemplateRow, Token
from guesthouse.ports import Capacity, Finding, GuestCommand, GuestResult

# --- the house -----------------------------------------------------------------------------------------------


async def house(call: Call[NoParams]) -> d.HouseDocument:
    engine, asker = call.engine, call.asker
    own = await engine.views.project(asker, asker.project)
    capacity = await engine.host.capacity()
    return d.HouseDocument(
        version=__version__,
        api=described.VERSION,
        project=own.project.name,
        accelerator=capacity.accelerator,
        home=str(engine.house.home) if asker.house else "",
        pid=os.getpid() if asker.house else 0,
    )


async def capacity(call: Call[NoParams]) -> Capacity:
    return await call.engine.host.capacity()


async def types(call: Call[d.TypeFilter]) -> Sequence[d.TypeDocument]:
    capacity = await call.engine.host.capacity()
    found = []
    for each in TYPES.values():
        fits = not why_not(each, capacity.cpus, capacity.memory_mib)
        if (fits or not call.params.fits) and call.params.family in ("", each.family):
            store, graphics = each.store, each.graphics
            found.append(
                d.TypeDocument(
                    name=each.name,
                    vcpus=each.vcpus,
                    memory_mib=each.memory_mib,
                    disks=f"{store.number} x {store.size_gb} GB" if store else "",
                    graphics=f"{graphics.number} x {graphics.name}" if graphics else "",
                    price=each.price,
                    fits=fits,
                )
            )
    return found


async def findings(call: Call[NoParams]) -> Sequence[Finding]:
    return await call.engine.host.check()


async def openapi(call: Call[NoParams]) -> dict[str, Any]:
    return _document(call.door.rows)


_document = cache(described.document)


# --- machines ------------------------------------------------------------------------------------------------


async def machines(call: Call[d.MachineFilter]) -> Sequence[MachineRow]:
    name, _, value = call.params.label.partition("=")
    return await call.engine.views.machines(
        call.asker, state=call.params.state or None, label=(name, value) if name else None
    )


async def machine(call: Call[d.OfMachine]) -> d.MachineDocument:
    return _machine(await call.engine.views.machine(call.asker, call.params.machine))


async def wait_machine(call: Call[d.MachineWait]) -> d.MachineDocument:
    view = await call.engine.views.wait_machine(
        call.asker, call.params.machine, until=Stage(call.params.until), wait_s=call.params.wait_s
    )
    return _machine(view)


def _machine(view: MachineView) -> d.MachineDocument:
    record = {name: getattr(view.machine, name) for name in view.machine.__struct_fields__}
    return d.MachineDocument(
        **record,
        disks=view.disks,
        hibernated=is_hibernated(view.machine),
        image_name=view.image_name,
        snapshot_name=view.snapshot_name,
        origin_name=view.origin_name,
        operation=view.operation,
    )


def apply_named(intent: type[Intent], params: Any, body: Any) -> Apply:
    """`PUT /machines/{name}`: the name in the path is the one in the document."""
    if params.name != body.spec.name:
        raise Invalid(
            f"the document describes machine {body.spec.name!r}, the path names {params.name!r}",
            field="spec.name",
            value=body.spec.name,
            hint="write the same name in both; `rename` gives a machine another name",
        )
    return Apply(spec=body.spec)


# --- snapshots -----------------------------------------------------------------------------------------------


async def snapshots(call: Call[d.OfMachine]) -> Sequence[d.SnapshotItem]:
    view = await call.engine.views.snapshots(call.asker, call.params.machine)
    return [d.SnapshotItem(**msgspec.structs.asdict(row), current=row.id == view.current) for row in view.rows]


async def snapshot(call: Call[d.OfSnapshot]) -> d.SnapshotDocument:
    view = await call.engine.views.snapshot(call.asker, call.params.machine, call.params.snapshot)
    record = {name: getattr(view.snapshot, name) for name in view.snapshot.__struct_fields__ if name != "disks"}
    return d.SnapshotDocument(
        **record,
        current=view.current,
        disks=view.disks,
        machine_name=view.machine_name,
        parent_name=view.parent_name,
        children=view.children,
    )


# --- inside machines -----------------------------------------------------------------------------------------


async def ssh(call: Call[d.OfMachine]) -> d.SshDocument:
    access = await call.engine.inside.ssh(call.asker, call.params.machine, local=call.local)
    shown = msgspec.convert(access, d.SshDocument, from_attributes=True)
    return shown if call.local else msgspec.structs.replace(shown, identity_file="")


async def log(call: Call[d.LogTail]) -> bytes:
    params = call.params
    return await call.engine.inside.log(call.asker, params.machine, params.bytes, qemu=params.qemu)


async def execute(call: Call[d.OfMachine]) -> GuestResult:
    body: d.Command = call.body
    command = GuestCommand(body.argv, body.stdin, body.environment, body.timeout_s)
    return await call.engine.inside.execute(call.asker, call.params.machine, command)


async def read_file(call: Call[d.FileRef]) -> AsyncIterator[bytes]:
    return await call.engine.inside.read_file(call.asker, call.params.machine, call.params.path)


async def write_file(call: Call[d.FilePut]) -> None:
    params = call.params
    await call.engine.inside.write_file(call.asker, params.machine, params.path, call.chunks, int(params.mode, 8))


async def screen(call: Call[d.OfMachine]) -> d.ScreenDocument:
    return d.ScreenDocument(path=await call.engine.inside.screen(call.asker, call.params.machine))


async def screenshot(call: Call[d.OfMachine]) -> bytes:
    picture = await call.engine.inside.screenshot(call.asker, call.params.machine)
    return await asyncio.to_thread(png, picture)


# --- disks, images, keys -------------------------------------------------------------------------------------


async def disks(call: Call[NoParams]) -> Sequence[Disk]:
    return await call.engine.views.disks(call.asker)


async def disk(call: Call[d.OfDisk]) -> d.DiskDocument:
    view = await call.engine.views.disk(call.asker, call.params.disk)
    record = {name: getattr(view.disk, name) for name in view.disk.__struct_fields__}
    return d.DiskDocument(**record, machine_name=view.machine_name, chain=dict(view.chain))


async def templates(call: Call[NoParams]) -> Sequence[TemplateRow]:
    return await call.engine.views.templates(call.asker)


async def template(call: Call[d.OfTemplate]) -> d.TemplateDocument:
    view = await call.engine.views.template(call.asker, call.params.template)
    record = {name: getattr(view.template, name) for name in view.template.__struct_fields__}
    return d.TemplateDocument(**record, image_name=view.image_name, forks=view.forks)


async def images(call: Call[NoParams]) -> Sequence[Image]:
    return await call.engine.views.images(call.asker)


async def image(call: Call[d.OfImage]) -> d.ImageDocument:
    view = await call.engine.views.image(call.asker, call.params.image)
    record = {name: getattr(view.image, name) for name in view.image.__struct_fields__}
    return d.ImageDocument(**record, shared_with=view.shared_with)


async def keys(call: Call[NoParams]) -> Sequence[Key]:
    return await call.engine.views.keys(call.asker)


# --- projects, tokens, operations, events --------------------------------------------------------------------


async def projects(call: Call[NoParams]) -> Sequence[Project]:
    return await call.engine.views.projects(call.asker)


async def project(call: Call[d.OfProject]) -> d.ProjectDocument:
    view = await call.engine.views.project(call.asker, call.params.project)
    record = {name: getattr(view.project, name) for name in view.project.__struct_fields__}
    return d.ProjectDocument(**record, used=view.used)


async def tokens(call: Call[NoParams]) -> Sequence[Token]:
    return await call.engine.views.tokens(call.asker)


async def operations(call: Call[d.OperationFilter]) -> Sequence[OperationRow]:
    return await call.engine.views.operations(call.asker, all=call.params.all)


async def operation(call: Call[d.OperationWait]) -> d.OperationDocument:
    seen = await call.engine.views.wait_operation(
        call.asker, call.params.operation, after=call.params.after, wait_s=call.params.wait_s
    )
    return msgspec.convert(seen, d.OperationDocument, from_attributes=True)


async def events(call: Call[d.EventRange]) -> Sequence[Event]:
    return await call.engine.views.events(call.asker, after=call.params.after, limit=call.params.limit)
