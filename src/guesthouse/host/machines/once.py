"""Booting an image once, as nobody's machine: to freeze it as a template, or to change what is in it.

Rules
-----
1. Meanwhile it lives in a machine's folder, under the id of what it is booted for: a daemon that died leaves a QEMU
   that the next try finds there and ends.
2. It has no NIC. What it writes goes into a layer of its own on the image's disk, which outlasts its QEMU.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from guesthouse.decide.observed import Desired
from guesthouse.host import identity
from guesthouse.host.disks import DiskFiles, make_overlay
from guesthouse.host.durable import read_end
from guesthouse.host.frozen.box import ThisBox
from guesthouse.host.machines import ending, firmware
from guesthouse.host.machines.folder import Folder
from guesthouse.host.machines.ignition import Bound, Ignition, Lit, locked
from guesthouse.host.machines.process import prepare_files
from guesthouse.host.race import first_of
from guesthouse.model.house import House
from guesthouse.model.machine import DiskSpec, Machine, MachineSpec
from guesthouse.model.resources import Image
from guesthouse.qemu.block import DiskFile
from guesthouse.qemu.boot import Boot, MemoryFile, Uefi
from guesthouse.qemu.frozen import without_identity
from guesthouse.qemu.messages import RESUME
from guesthouse.qemu.place import place
from guesthouse.qemu.placed import Placed

_LONGEST_REPORT_BYTES = 64 * 1024
_CONSOLE_BYTES = 4096

Hear = Callable[[asyncio.StreamReader], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class Errand:
    """One such boot: the `id` and name of what it is for, and the hardware that the image is booted with.

    `seed` is the content of its seed, empty for none; `family` what the guest reads as its product family. `memory`
    names the file of its folder that it has as memory, if any.
    """

    id: str
    project: str
    spec: MachineSpec
    image: Image
    project_number: int
    seed: bytes = b""
    family: str = ""
    memory: str = ""


@dataclass(frozen=True)
class Booted:
    """A QEMU that is lit, its vCPUs standing still, and what it has."""

    folder: Folder
    placed: Placed
    lit: Lit

    async def until(self, hear: Hear, timeout_s: float, *, powers_off: bool = False) -> bool:
        """Let it run until `hear` has heard what it waits for on the report channel, and powered off, if so wanted.

        False when it ended before; raises `TimeoutError`, and what `hear` does.
        """
        lit = self.lit
        connection = self.folder.connect("report")
        reader, writer = await asyncio.open_unix_connection(sock=connection, limit=_LONGEST_REPORT_BYTES)
        try:
            with lit.monitor.listen("SHUTDOWN") as powered_off:
                await lit.monitor.execute(RESUME)
                async with asyncio.timeout(timeout_s):
                    heard = await first_of(hear(reader), lit.process.ended.wait(), powered_off()) == 0
                    if heard and powers_off:
                        await first_of(lit.process.ended.wait(), powered_off())
                    return heard
        finally:
            writer.close()

    @property
    def said(self) -> str:
        """The end of what the guest wrote to its console."""
        return read_end(self.folder.console_log, _CONSOLE_BYTES).decode(errors="replace")


@dataclass(frozen=True)
class Once:
    """What it takes to boot images once."""

    house: House
    disks: DiskFiles
    box: ThisBox

    def root(self, id: str) -> Path:
        """The layer with what such a boot wrote to the image's disk."""
        return self.house.machines / id / "root.qcow2"

    @contextlib.asynccontextmanager
    async def booted(self, errand: Errand) -> AsyncIterator[Booted]:
        """Its QEMU, which is gone with the block; what a killed daemon had left of an earlier try is cleared first."""
        await self.clear(errand.id)
        folder = Folder(identity.make_machine_folder(self.house.machines, errand.id))
        identity.check_way(folder.path)
        image, spec = errand.image, _spec(errand)
        capabilities, accelerator = await self.box.emulator.capabilities(), await self.box.kvm.accelerator()
        placed = place(spec, machine_type=capabilities.machine_type())
        if not errand.seed:
            placed = without_identity(placed)
        identity.open_image(self.house.images, image, errand.project, errand.project_number)
        await self._prepare(folder, errand)
        start_with = firmware.choose(_desired(errand, spec), self.house, folder)
        if isinstance(start_with, Uefi):
            identity.give_to_machine(folder.path, start_with.variables)
        under = self.disks.image_file(image) if image.disk else None

        def boot(bound: Bound) -> Boot:
            return Boot(
                id=errand.id,
                name=spec.name,
                accelerator=accelerator,
                capabilities=capabilities,
                firmware=start_with,
                sockets=bound.sockets,
                disks={errand.id: DiskFile(self.root(errand.id), backing=under)},
                seed=folder.seed,
                console_log=folder.console_log,
                pidfile=folder.pidfile,
                screen=Path(f"/proc/self/fd/{bound.screens}/{folder.screen.name}"),
                family=errand.family,
                datasource=spec.datasource,
                memory=MemoryFile(folder.path / errand.memory, shared=True) if errand.memory else None,
                binary=self.box.emulator.binary,
            )

        who = identity.identity_of(folder.path, errand.project_number, kvm=accelerator == "kvm")
        async with locked(folder) as lock:
            lit = await Ignition(folder, lock, who).light(placed, boot)
            try:
                yield Booted(folder, placed, lit)
            finally:
                await lit.end()

    async def clear(self, id: str) -> None:
        """End and remove what is left of such a boot."""
        await ending.clear(Folder(self.house.machines / id))

    async def _prepare(self, folder: Folder, errand: Errand) -> None:
        prepare_files(folder)
        own = [folder.pidfile, folder.console_log, folder.screen.parent]
        if errand.memory:
            own.append(folder.path / errand.memory)
            with own[-1].open("xb") as memory:
                memory.truncate(errand.spec.memory_mib << 20)
        if errand.seed:
            own.append(folder.seed)
            folder.seed.write_bytes(errand.seed)
        if errand.image.disk:
            own.append(self.root(errand.id))
            under = self.disks.image_file(errand.image)
            await make_overlay(own[-1], under, errand.image.virtual_mib, f"image {errand.image.name}")
        identity.give_to_machine(folder.path, *own)


def _spec(errand: Errand) -> MachineSpec:
    image = errand.image
    disks = (DiskSpec(disk=errand.id, size_mib=image.virtual_mib),) if image.disk else ()
    return msgspec.structs.replace(errand.spec, nics=(), disks=disks)


def _desired(errand: Errand, spec: MachineSpec) -> Desired:
    machine = Machine(id=errand.id, project=errand.project, name=spec.name, host="", spec=spec)
    return Desired(machine, (), errand.image)
