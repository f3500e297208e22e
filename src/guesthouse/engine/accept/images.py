"""Accepting what is asked of images."""

from __future__ import annotations

import re
from typing import Any

from guesthouse.engine import intents
from guesthouse.engine.accept.desk import Desk
from guesthouse.engine.accept.room import check_memory, check_space
from guesthouse.engine.leaving import end_records
from guesthouse.engine.standing import refuse_needed
from guesthouse.model.errors import Conflict, Denied, Invalid
from guesthouse.model.machine import PREPARING_MIB
from guesthouse.model.names import check_name
from guesthouse.model.resources import Image, ImageState, Operation

RECIPES = ("micro", "debian")
SOURCE_FORMATS = ("", "qcow2", "raw", "vmdk", "vhd", "vhdx", "vdi")
EXPORT_FORMATS = SOURCE_FORMATS[1:]
_SHA256 = re.compile(r"^[0-9a-f]{64}$")
# The room that preparing an image takes: changes, and a new disk.
_PREPARED_TIMES = 2
_BUILD_MIB = {"micro": 256, "debian": 4096}


async def build(desk: Desk, intent: intents.ImageBuild) -> Operation:
    """Build an image of this house. Built ones are public: no tenant's data is in them."""
    only_house(desk, "build images")
    if intent.recipe not in RECIPES:
        raise _not_one_of("recipe", intent.recipe, RECIPES)
    await check_space(desk, _BUILD_MIB[intent.recipe])
    return await make(desk, "image.build", intent.name or intent.recipe, public=True, source=f"build:{intent.recipe}")


async def import_(desk: Desk, intent: intents.ImageImport) -> Operation:
    """Take an image from a URL, or a file of this host; only the house's operator may name a file."""
    if intent.format not in SOURCE_FORMATS:
        raise _not_one_of("format", intent.format, SOURCE_FORMATS[1:])
    if intent.sha256 and not _SHA256.match(intent.sha256.lower()):
        raise Invalid(
            f"sha256 {intent.sha256[:20]!r} is not a checksum",
            field="sha256",
            value=intent.sha256,
            hint="64 hexadecimal digits, as `sha256sum` prints them",
        )
    scheme, found, _ = intent.source.partition("://")
    if not found:
        only_house(desk, "import a file of the host")
        if not intent.source.startswith("/"):
            raise Invalid(f"{intent.source!r} is no absolute path", field="source", value=intent.source,
                          hint="name the file by its whole path, or give an http(s) URL")  # fmt: skip
    elif scheme not in ("http", "https"):
        raise _not_one_of("source", f"{scheme}://", ("http://", "https://", "/PATH"))
    if intent.public:
        only_house(desk, "make an image public")
    context = {"sha256": intent.sha256.lower(), "format": intent.format}
    return await make(
        desk,
        "image.import",
        intent.name,
        public=intent.public,
        source=intent.source,
        family=intent.family,
        user=intent.user,
        context=context,
    )


async def pull(desk: Desk, intent: intents.ImagePull) -> Operation:
    """Fetch an image from an image server in simplestreams layout."""
    if ":" not in intent.reference:
        raise Invalid(
            f"{intent.reference!r} names no release",
            field="reference",
            value=intent.reference,
            hint="write it like debian:12 or ubuntu:24.04",
        )
    if intent.public:
        only_house(desk, "make an image public")
    return await make(
        desk,
        "image.pull",
        intent.name or intent.reference,
        public=intent.public,
        source=intent.reference,
        family=intent.reference,
        context={"server": intent.server},
    )


async def prepare(desk: Desk, intent: intents.ImagePrepare) -> Operation:
    """Make an image with a gate of one without, by booting that once."""
    origin = await desk.system_image(intent.image)
    if not origin.disk:
        raise Conflict(
            f"image {origin.name} has no disk that could get a gate",
            subject=f"image {origin.name}",
            field="image",
            value=origin.name,
            hint=f"images built here have one: try `guest template create {origin.name}`",
        )
    if intent.public:
        only_house(desk, "make an image public")
    await check_memory(desk, PREPARING_MIB)
    await check_space(desk, _PREPARED_TIMES * origin.file_bytes >> 20)
    return await make(
        desk,
        "image.prepare",
        intent.name or f"{origin.name}-prepared",
        public=intent.public,
        source=f"prepare:{origin.name}",
        family=origin.family,
        context={"origin": origin.id},
    )


async def export(desk: Desk, intent: intents.ImageExport) -> Operation:
    """Write an image to a new file of this host, in a format of choice."""
    only_house(desk, "export to a file of the host")
    image = await desk.ready_image(intent.image)
    if intent.format not in EXPORT_FORMATS:
        raise _not_one_of("format", intent.format, EXPORT_FORMATS)
    if not image.disk:
        raise Conflict(
            f"image {image.name} has no disk to export",
            subject=f"image {image.name}",
            hint="it is a kernel and an initrd; `guest image show` tells where they lie",
        )
    if not intent.path.startswith("/"):
        raise Invalid(f"{intent.path!r} is no absolute path", field="path", value=intent.path,
                      hint="name the file by its whole path")  # fmt: skip
    context = {"path": intent.path, "format": intent.format, "compress": intent.compress}
    return await desk.open("image.export", image, context=context)


async def delete(desk: Desk, intent: intents.ImageDelete) -> Operation:
    """Remove an image that no disk, no machine and no template stands on, or retire it until it is so."""
    image = await desk.image(intent.image)
    if image.project != desk.asker.project:
        raise Denied(f"image {image.name} is another project's", subject=f"image {image.name}")
    if under_way := await desk.open_operations(image.id):
        raise Conflict(
            f"image {image.name}: {under_way[-1].kind} is under way",
            subject=f"image {image.name}",
            hint=f"wait for it, or `guest operation cancel {under_way[-1].id}`",
        )
    if intent.when_free and await _is_needed(desk, image):
        retired = f"{image.name[:40]}-{image.id[:8]}"
        await desk.tx.images.update(image.id, {}, name=retired, family="", public=False, state=ImageState.RETIRED)
        for share in await desk.tx.shares.select(image=image.id):
            await desk.tx.shares.delete(share.id)
        later = "it goes when nothing stands on it any more"
        operation = await desk.open("image.delete", image, done=True, later=later)
        await end_records(desk.tx, image.id, operation)
        return operation
    await refuse_needed(desk.tx, image)
    await desk.tx.images.update(image.id, {}, state=ImageState.DELETING)
    return await desk.open("image.delete", image)


async def _is_needed(desk: Desk, image: Image) -> bool:
    try:
        await refuse_needed(desk.tx, image)
    except Conflict:
        return True
    return False


async def make(
    desk: Desk,
    kind: str,
    name: str,
    *,
    public: bool,
    source: str,
    family: str = "",
    user: str = "",
    data: bool = False,
    context: dict[str, Any] | None = None,
) -> Operation:
    """Write down an image of the project, and the operation that makes it. An empty name is chosen."""
    id = desk.new_id()
    name = check_name(name or f"image-{id[:8]}", "image")
    if family:
        check_name(family, "image")
    image = await desk.tx.images.insert(
        Image(
            host=desk.host,
            id=id,
            project=desk.asker.project,
            name=name,
            public=public,
            data=data,
            source=source,
            family=family,
            user=user,
        )
    )
    project = await desk.project()
    rights = {"house": desk.asker.house, "project_number": project.number}
    return await desk.open(kind, image, context={**(context or {}), **rights})


def only_house(desk: Desk, what: str) -> None:
    """Raise `Denied` unless the operator of the house asks."""
    if not desk.asker.house:
        raise Denied(f"only the operator of the house may {what}", hint="ask the operator, or import from a URL")


def _not_one_of(field: str, value: str, allowed: tuple[str, ...]) -> Invalid:
    return Invalid(f"{field} {value!r} is not known", field=field, value=value, hint="one of " + ", ".join(allowed))
