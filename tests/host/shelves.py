"""A house with a template of the micro image, and machines that are forked from it."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from tests.host.boxes import MAC, attach, changed, converge, new_id, publish, silent, wanted
from tests.host.guests import Guest

from guesthouse.decide.observed import Desired, Observed
from guesthouse.decide.templates import hardware
from guesthouse.host.frozen.folder import TemplateFolder
from guesthouse.host.images.built import BuiltImage
from guesthouse.host.local import LocalHost, open_host
from guesthouse.model.house import House
from guesthouse.model.machine import Bus, Deleting, Forward, NicSpec, Power, Stage
from guesthouse.model.resources import Disk, Image, Template

MEMORY_MIB = 128


@dataclass(frozen=True)
class Shelf:
    """A house with an image and a template of it."""

    house: House
    image: Image
    template: Template

    @property
    def folder(self) -> TemplateFolder:
        return TemplateFolder(self.house.templates / self.template.id)

    def fork(
        self,
        name: str = "web",
        *,
        disks: tuple[tuple[Disk, Bus], ...] = (),
        power: Power = Power.RUNNING,
        **spec: Any,
    ) -> Desired:
        """A machine that is to be forked where the template fits it."""
        described = {
            "name": name,
            "memory_mib": MEMORY_MIB,
            "nics": (NicSpec(mac=MAC, forwards=(Forward(guest_port=22),)),),
            "disks": tuple(attach(disk, bus=bus) for disk, bus in disks),
            **spec,
        }
        bare = wanted(image=self.image, power=power)
        desired = changed(bare, disks=tuple(disk for disk, _ in disks), spec=described, name=name)
        return replace(desired, template=self.template)

    def copy(self) -> Shelf:
        """The same with a template of its own, to be spoilt; nothing may be written into its memory."""
        own = replace(self, template=msgspec.structs.replace(self.template, id=new_id()))
        shutil.copytree(self.folder.path, own.folder.path, copy_function=os.link)
        for path in (own.folder.state, own.folder.facts):
            content = path.read_bytes()
            path.unlink()
            path.write_bytes(content)
        return own


async def stock(house: House, built: BuiltImage, memory_mib: int = MEMORY_MIB, **values: Any) -> Shelf:
    """Publish a built image in a house, and make a template of it."""
    image = publish(house, built, **values)
    spec = hardware(wanted(image=image, memory_mib=memory_mib).machine.spec)
    name = f"{built.os}-1-{memory_mib}"
    template = Template(id=new_id(), project="p", name=name, image=image.id, memory_mib=memory_mib, spec=spec)
    shelf = Shelf(house, image, template)
    async with open_host(house) as host:
        await make(host, shelf)
    return shelf


async def make(host: LocalHost, shelf: Shelf) -> dict[str, int]:
    """Do the one step of ``template.create``; the facts that it adds to the operation's context."""
    context = {"image": msgspec.to_builtins(shelf.image), "project_number": 0}
    done = await host.templates.perform("template.create", "make", shelf.template, context, silent)
    facts: dict[str, int] = done["facts"]
    return facts


@asynccontextmanager
async def launched(house: House, host: LocalHost, desired: Desired) -> AsyncIterator[tuple[Guest, Observed]]:
    """The machine as it is when it has just been started; with the block it is gone, and its disks."""
    guest = Guest(house, host, desired)
    try:
        observed, _ = await converge(host, desired)
        yield guest, observed
    finally:
        await converge(host, changed(guest.desired, deleting=Deleting.WITH_DISKS))


@asynccontextmanager
async def configured(shelf: Shelf, host: LocalHost, desired: Desired) -> AsyncIterator[Guest]:
    """The machine, forked, when its guest is configured."""
    async with launched(shelf.house, host, desired) as (guest, observed):
        assert is_fork(observed)
        await guest.until(Stage.CONFIGURED)
        yield guest


def is_fork(observed: Observed) -> bool:
    """Whether its QEMU, which must run, began as a fork."""
    assert observed.process is not None
    return observed.process.forked
