"""What stands on an image: as long it cannot go."""

from __future__ import annotations

from guesthouse.engine.readings import in_use
from guesthouse.model.errors import Conflict
from guesthouse.model.resources import Image
from guesthouse.ports import Transaction

# Operations that read another image than their subject, by its id in their contexts.
_OF_ORIGINS = ("image.prepare", "image.copy", "image.create")


async def refuse_needed(tx: Transaction, image: Image) -> None:
    """Raise `Conflict` while a disk, a machine or a template stands on an image, or another one is made of it."""
    for kind in _OF_ORIGINS:
        for row in await tx.operations.scan(kind=kind, ended_at=0.0):
            operation = await tx.operations.get(row.id)
            if operation is not None and operation.context.get("origin") == image.id:
                raise in_use(row, f"image {image.name}")
    users = [disk.name for disk in await tx.disks.select(image=image.id)]
    users += [machine.name for machine in await tx.machines.scan(image=image.id)]
    if users:
        raise Conflict(
            f"image {image.name} is under {len(users)} disks and machines",
            subject=f"image {image.name}",
            field="image",
            value=", ".join(sorted(set(users))[:5]),
            hint="delete those first, or have it deleted when they are gone (--when-free)",
        )
    if templates := [template.name for template in await tx.templates.scan(image=image.id)]:
        raise Conflict(
            f"image {image.name} is under template {', '.join(templates)}",
            subject=f"image {image.name}",
            field="image",
            value=", ".join(templates),
            hint=f"`guest template delete {templates[0]}` first",
        )


async def forget_image(tx: Transaction, image: str) -> None:
    """Delete the record of an image that is gone, with those of whom it was shared with."""
    for share in await tx.shares.select(image=image):
        await tx.shares.delete(share.id)
    await tx.images.delete(image)
