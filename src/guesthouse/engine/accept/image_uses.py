"""Accepting who may use an image, and for what: copies, shares, changes; and what stands on one.

Rules
-----
1. Who uses an image of another project may launch from it, make disks of it and copy it. It cannot change or delete it.
2. What has been made of an image stays when that is shared no more.
3. An image that is retired is nobody's to name any more; it goes when nothing stands on it (`engine.freshness`).
"""

from __future__ import annotations

import msgspec

from guesthouse.engine import intents
from guesthouse.engine.accept.desk import Desk
from guesthouse.engine.accept.images import make, only_house
from guesthouse.engine.accept.room import check_space
from guesthouse.engine.accept.tenants import Removed
from guesthouse.model.errors import Denied, Invalid, NotFound
from guesthouse.model.names import is_id
from guesthouse.model.resources import Image, ImageState, Operation, Project, Share


async def copy(desk: Desk, intent: intents.ImageCopy) -> Operation:
    """Make an image of the project's own of one that it may use. Their files are the same ones: it takes no room.

    One of its own that is still being made is waited for.
    """
    origin = await desk.image(intent.image)
    if origin.state is not ImageState.MAKING or origin.project != desk.asker.project:
        origin = await desk.ready_image(origin.id)
    await check_space(desk, 0)
    data = origin.data if intent.data is None else intent.data
    context = {"origin": origin.id}
    return await make(
        desk, "image.copy", intent.name, public=False, data=data, source=f"copy:{origin.name}", user=origin.user,
        context=context,
    )  # fmt: skip


async def change(desk: Desk, intent: intents.ImageChange) -> Image:
    """Change what an image is for, at once; machines that run from it run on."""
    image = await _own(desk, intent.image)
    said = {name: getattr(intent, name) for name in ("public", "data") if getattr(intent, name) is not None}
    if not said:
        raise Invalid("nothing to change", field="public", hint="say what it is to be: public, or data")
    if said.get("public") and not image.public:
        only_house(desk, "make an image public")
    await desk.tx.images.update(image.id, {}, **said)
    return msgspec.structs.replace(image, **said)


async def share(desk: Desk, intent: intents.ImageShare) -> Share:
    """Let another project use an image; twice is as good."""
    image, project = await _own(desk, intent.image), await _other(desk, intent.project)
    if project.id == desk.asker.project:
        raise Invalid(f"image {image.name} is this project's own", field="project", value=intent.project,
                      hint="name another project")  # fmt: skip
    if found := await desk.tx.shares.select(image=image.id, project=project.id):
        return found[0]
    return await desk.tx.shares.insert(Share(id=desk.new_id(), project=project.id, image=image.id))


async def unshare(desk: Desk, intent: intents.ImageUnshare) -> Removed:
    """Let another project use it no more; that it never could is as good."""
    image, project = await _own(desk, intent.image), await _other(desk, intent.project)
    for found in await desk.tx.shares.select(image=image.id, project=project.id):
        await desk.tx.shares.delete(found.id)
    return Removed(image.id, image.name)


async def _own(desk: Desk, ref: str) -> Image:
    """A ready image of the project's own; raises `Denied` for another's."""
    image = await desk.ready_image(ref)
    if image.project != desk.asker.project:
        raise Denied(f"image {image.name} is another project's", subject=f"image {image.name}")
    return image


async def _other(desk: Desk, ref: str) -> Project:
    """Any project, by its name, its id or its number."""
    if is_id(ref):
        found = [project] if (project := await desk.tx.projects.get(ref)) is not None else []
    elif ref.isdecimal() and len(ref) <= _MOST_DIGITS:
        found = await desk.tx.projects.select(number=int(ref))
    else:
        found = await desk.tx.projects.select(name=ref)
    if not found:
        raise NotFound(
            f"there is no project {ref!r}", subject=f"project {ref}", field="project", value=ref,
            hint="ask its people for its name: `guest project list` shows them theirs",
        )  # fmt: skip
    return found[0]


_MOST_DIGITS = 12
