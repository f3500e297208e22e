"""Templates as folders of this house: `ports.TemplateHost`."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from guesthouse.host.frozen.folder import Facts, TemplateFolder
from guesthouse.host.frozen.pool import Pool
from guesthouse.host.templates.maker import Maker
from guesthouse.model.errors import Failed
from guesthouse.model.house import House
from guesthouse.model.resources import Image, Template
from guesthouse.ports import Progress


@dataclass(frozen=True)
class TemplateShelf:
    """Makes templates, keeps them, throws them away."""

    house: House
    maker: Maker
    pool: Pool

    async def perform(
        self, kind: str, step: str, template: Template, context: Mapping[str, Any], progress: Progress
    ) -> Mapping[str, Any]:
        """Do one step of a template operation, return what to add to its context; idempotent."""
        match kind, step:
            case "template.create", "make":
                image = msgspec.convert(context["image"], Image)
                if self._folder(template).facts.exists():
                    await self.maker.clear(template)
                else:
                    await self.maker.make(template, image, int(context["project_number"]), progress)
                return {"facts": _columns(self._folder(template).read_facts())}
            case "template.delete", "remove":
                await self.discard(template)
                return {}
            case _:
                raise Failed(f"{kind} has no step {step!r}")

    async def discard(self, template: Template) -> None:
        """Remove all that is there of a template; machines that were forked of its memory keep that."""
        self.pool.drop(template.id)
        await self.maker.clear(template)
        for folder in (self._folder(template).path, self.house.templates / f".{template.id}.partial"):
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def frozen_by(self) -> str:
        """Who freezes here: what it is called in the facts of a template."""
        return str(await self.maker.box.fingerprint())

    def _folder(self, template: Template) -> TemplateFolder:
        return TemplateFolder(self.house.templates / template.id)


def _columns(facts: Facts) -> dict[str, Any]:
    sizes = {name: getattr(facts, name) for name in ("boot_ms", "memory_bytes", "state_bytes")}
    return {"frozen_by": str(facts.by), **sizes}
