"""Templates are made anew by themselves where nothing can be forked from them any more.

Rules
-----
1. A template is stale when another QEMU or processor froze it, or when its image's family got a newer one since.
2. One that is stale is retired, under a name of its own, and another with its name and hardware is made; it goes when
   no disk stands on it any more.
3. One at a time: making one takes a boot.
4. An image that is retired goes when nothing stands on it any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import msgspec

from guesthouse.engine.records import an_operation
from guesthouse.engine.standing import refuse_needed
from guesthouse.model.errors import Conflict, GuesthouseError
from guesthouse.model.names import make_id
from guesthouse.model.resources import Image, ImageState, Template, TemplateState
from guesthouse.ports import Store, TemplateHost, Transaction

_LOG = logging.getLogger(__name__)
_LOOK_EVERY_S = 60.0


@dataclass(frozen=True)
class Freshness:
    """Looks after templates. `wake` is told of those that have work."""

    store: Store
    templates: TemplateHost
    random: Random
    host: str
    wake: Callable[[str], None]

    async def keep(self) -> None:
        """Look again and again, without an end."""
        while True:
            try:
                await self.look()
            except (GuesthouseError, OSError):
                _LOG.exception("templates cannot be looked after")
            await asyncio.sleep(_LOOK_EVERY_S)

    async def look(self) -> None:
        """Retire what is stale, begin to make one anew, and to delete what nothing stands on."""
        await self.look_at_images()
        here = await self.templates.frozen_by()
        async with self.store.write() as tx:
            subjects = [*await self._renew(tx, here), *await self._clear(tx)]
        for subject in subjects:
            self.wake(subject)

    async def look_at_images(self) -> None:
        """Begin to delete the retired images on which nothing stands."""
        async with self.store.read() as tx:
            retired = await tx.images.select(host=self.host, state=ImageState.RETIRED)
        for image in retired:
            async with self.store.write() as tx:
                going = await _goes(tx, image)
                if going:
                    await tx.images.update(image.id, {}, state=ImageState.DELETING)
                    await tx.operations.insert(an_operation(make_id(self.random), "image.delete", image))
            if going:
                self.wake(image.id)

    async def _renew(self, tx: Transaction, here: str) -> list[str]:
        if await tx.templates.scan(host=self.host, state=TemplateState.MAKING):
            return []
        for template in await tx.templates.select(host=self.host, state=TemplateState.READY):
            image = await _newest(tx, template)
            if image is not None and (template.frozen_by != here or image.id != template.image):
                return [await self._make_anew(tx, template, image)]
        return []

    async def _make_anew(self, tx: Transaction, old: Template, image: Image) -> str:
        retired = f"{old.name[:40].rstrip('-')}-{old.id[:8]}"
        await tx.templates.update(old.id, {}, name=retired, state=TemplateState.RETIRED)
        made = msgspec.structs.replace(
            old, id=make_id(self.random), image=image.id, state=TemplateState.MAKING, frozen_by="", boot_ms=0,
            memory_bytes=0, state_bytes=0, created_at=0.0, spec=msgspec.structs.replace(old.spec, image=image.name),
        )  # fmt: skip
        await tx.templates.insert(made)
        await self._open(tx, "template.create", made)
        return made.id

    async def _clear(self, tx: Transaction) -> list[str]:
        cleared = []
        for row in await tx.templates.scan(host=self.host, state=TemplateState.RETIRED):
            template = await tx.templates.get(row.id)
            if template is not None and not await tx.disks.select(template=row.id):
                await tx.templates.update(row.id, {}, state=TemplateState.DELETING)
                await self._open(tx, "template.delete", template)
                cleared.append(row.id)
        return cleared

    async def _open(self, tx: Transaction, kind: str, template: Template) -> None:
        await tx.operations.insert(an_operation(make_id(self.random), kind, template))


async def _goes(tx: Transaction, image: Image) -> bool:
    try:
        await refuse_needed(tx, image)
    except Conflict:
        return False
    current = await tx.images.get(image.id)
    return current is not None and current.state is ImageState.RETIRED


async def _newest(tx: Transaction, template: Template) -> Image | None:
    """What a template would be made of now: the newest of its image's family, if that is newer than the template."""
    image = await tx.images.get(template.image)
    if image is None or image.state is not ImageState.READY:
        return None
    family = await tx.images.select(project=image.project, family=image.family, state=ImageState.READY)
    newer = [other for other in family if image.family and other.created_at > template.created_at]
    return newer[-1] if newer else image
