"""Making a template: a machine is booted to its gate, frozen, and put away.

Rules
-----
1. While it is made it lives in a machine's folder under the template's id: a daemon that died leaves a QEMU that the
   next try finds there and ends.
2. It has no NIC and no seed, and its product family says `template`: the guest waits at its gate, which it reports.
3. Only a whole template gets its folder, by one rename.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from guesthouse.decide.observed import Desired
from guesthouse.formats.outcome import is_gate, parse_report
from guesthouse.host import identity
from guesthouse.host.disks import DiskFiles, make_overlay
from guesthouse.host.durable import read_end, sync_folder, write_whole
from guesthouse.host.frozen.box import ThisBox
from guesthouse.host.frozen.folder import Facts, TemplateFolder
from guesthouse.host.machines import ending, firmware
from guesthouse.host.machines.folder import Folder
from guesthouse.host.machines.ignition import Bound, Ignition, Lit, locked
from guesthouse.host.machines.process import prepare_files
from guesthouse.host.machines.qmp import Gone
from guesthouse.host.processes import run
from guesthouse.host.race import first_of
from guesthouse.model.errors import Failed, TimedOut
from guesthouse.model.house import House
from guesthouse.model.machine import DiskSpec, Machine, MachineSpec, Stage
from guesthouse.model.resources import Image, Template
from guesthouse.ports import Progress
from guesthouse.qemu import migration
from guesthouse.qemu.block import DiskFile
from guesthouse.qemu.boot import Boot, MemoryFile
from guesthouse.qemu.frozen import without_identity
from guesthouse.qemu.messages import PAUSE, QUIT, RESUME
from guesthouse.qemu.place import place

FAMILY = "template"
_GATE_TIMEOUT_S = 30 * 60.0
_SAVE_TIMEOUT_S = 10 * 60.0
_LONGEST_REPORT_BYTES = 64 * 1024
_CONSOLE_BYTES = 4096
_GATE_HINT = "`guest image prepare` gives an image its gate; images built here have one"


@dataclass(frozen=True)
class Maker:
    """What it takes to make templates."""

    house: House
    disks: DiskFiles
    box: ThisBox

    async def make(self, template: Template, image: Image, project_number: int, progress: Progress) -> Facts:
        """Boot, freeze, put away; what a killed daemon had left of an earlier try is cleared away first."""
        await self.clear(template)
        folder = Folder(identity.make_machine_folder(self.house.machines, template.id))
        identity.check_way(folder.path)
        capabilities, accelerator = await self.box.emulator.capabilities(), await self.box.kvm.accelerator()
        placed = without_identity(place(_spec(template, image), machine_type=capabilities.machine_type()))
        identity.share_image(self.house.images / image.id, public=image.public, project_number=project_number)
        files = TemplateFolder(folder.path)
        await self._prepare(folder, files, template, image)
        start_with = firmware.choose(_desired(template, image), self.house, folder)
        under = self.disks.image_file(image) if image.disk else None

        def boot(bound: Bound) -> Boot:
            return Boot(
                id=template.id,
                name=template.name,
                accelerator=accelerator,
                capabilities=capabilities,
                firmware=start_with,
                sockets=bound.sockets,
                disks={template.id: DiskFile(files.root, backing=under)},
                seed=folder.seed,
                console_log=folder.console_log,
                pidfile=folder.pidfile,
                screen=Path(f"/proc/self/fd/{bound.screens}/{folder.screen.name}"),
                family=FAMILY,
                memory=MemoryFile(files.memory, shared=True),
                binary=self.box.emulator.binary,
            )

        who = identity.identity_of(folder.path, project_number, kvm=accelerator == "kvm")
        async with locked(folder) as lock:
            progress("booting")
            started = time.monotonic()
            lit = await Ignition(folder, lock, who).light(placed, boot)
            try:
                await self._until_gate(lit, folder)
                boot_ms = round((time.monotonic() - started) * 1000)
                progress("freezing")
                await _freeze(lit, files.state)
                await run(["fallocate", "--dig-holes", str(files.memory)])  # pages of zeros
            finally:
                await lit.end()
        facts = Facts(
            placed=placed,
            by=await self.box.fingerprint(),
            boot_ms=boot_ms,
            memory_bytes=files.memory.stat().st_blocks * 512,
            state_bytes=files.state.stat().st_size,
        )
        await asyncio.to_thread(self._put_away, files, template, facts, project_number)
        return facts

    async def clear(self, template: Template) -> None:
        """End and remove what is left of a template in the making."""
        folder = Folder(self.house.machines / template.id)
        if folder.path.is_dir():
            await ending.kill_unheld(folder)
            await asyncio.to_thread(shutil.rmtree, folder.path, ignore_errors=True)

    async def _prepare(self, folder: Folder, files: TemplateFolder, template: Template, image: Image) -> None:
        prepare_files(folder)
        own = [folder.pidfile, folder.console_log, folder.screen.parent, files.memory]
        with files.memory.open("xb") as memory:
            memory.truncate(template.memory_mib << 20)
        if image.disk:
            await make_overlay(files.root, self.disks.image_file(image), image.virtual_mib, f"template {template.name}")
            own.append(files.root)
        identity.give_to_machine(folder.path, *own)

    async def _until_gate(self, lit: Lit, folder: Folder) -> None:
        """Let it run until it stands at its gate; raises `Failed` with the end of its console when it does not come."""
        reader, writer = await asyncio.open_unix_connection(sock=folder.connect("report"), limit=_LONGEST_REPORT_BYTES)
        try:
            with lit.monitor.listen("SHUTDOWN") as powered_off:
                await lit.monitor.execute(RESUME)
                async with asyncio.timeout(_GATE_TIMEOUT_S):
                    arrived = await first_of(_gate(reader), lit.process.ended.wait(), powered_off())
        except TimeoutError as error:
            raise TimedOut(
                f"the guest did not come to its gate within {_GATE_TIMEOUT_S / 60:.0f} minutes",
                hint=_GATE_HINT,
            ) from error
        finally:
            writer.close()
        if arrived != 0:
            said = read_end(folder.console_log, _CONSOLE_BYTES).decode(errors="replace")
            raise Failed(f"the guest ended before it came to its gate:\n{said}")

    def _put_away(self, files: TemplateFolder, template: Template, facts: Facts, project_number: int) -> None:
        """Give it its folder."""
        partial = TemplateFolder(self.house.templates / f".{template.id}.partial")
        shutil.rmtree(partial.path, ignore_errors=True)
        partial.path.mkdir(mode=0o700, parents=True)
        for source, target in (
            (files.memory, partial.memory),
            (files.state, partial.state),
            (files.root, partial.root),
        ):
            with contextlib.suppress(FileNotFoundError):
                identity.take_back(source)
                source.rename(target)
                _sync(target)
        identity.share_image(partial.path, public=template.public, project_number=project_number)
        for private in (partial.memory, partial.state):
            private.chmod(0o600)
        write_whole(partial.facts, msgspec.json.encode(facts))
        partial.path.rename(self.house.templates / template.id)
        sync_folder(self.house.templates)
        shutil.rmtree(files.path, ignore_errors=True)


async def _gate(reader: asyncio.StreamReader) -> None:
    while line := await reader.readline():
        if is_gate(line):
            return
        if (report := parse_report(line)) and report[0] is Stage.CONFIGURED:
            failures = report[1].failures if report[1] else ()
            said = "".join(f": {failure.module}: {failure.message}" for failure in failures[:1])
            raise Failed(f"the guest was configured and did not wait at a gate{said}", hint=_GATE_HINT)
    raise Failed("the guest closed its report channel before it came to its gate")


async def _freeze(lit: Lit, state: Path) -> None:
    """Stop the vCPUs and save all but the memory, which lies in its file; QEMU then ends, its files whole."""
    await lit.monitor.execute(PAUSE)
    await lit.monitor.execute(migration.capabilities(migration.MEMORY_STAYS))
    descriptor = os.open(state, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        await lit.monitor.give(descriptor, "state")
    finally:
        os.close(descriptor)
    with lit.monitor.listen(migration.EVENT) as next_event:
        await lit.monitor.execute(migration.save("state"))
        async with asyncio.timeout(_SAVE_TIMEOUT_S):
            while (status := (await next_event())["data"]["status"]) not in migration.ENDED:
                pass
    if status != "completed":
        raise Failed(f"the guest could not be frozen: {status}")
    with contextlib.suppress(Gone):
        await lit.monitor.execute(QUIT)
    await lit.process.ended.wait()


def _spec(template: Template, image: Image) -> MachineSpec:
    disks = (DiskSpec(disk=template.id, size_mib=image.virtual_mib),) if image.disk else ()
    return msgspec.structs.replace(template.spec, name=template.name, nics=(), disks=disks)


def _desired(template: Template, image: Image) -> Desired:
    machine = Machine(
        id=template.id, project=template.project, name=template.name, host="", spec=_spec(template, image)
    )
    return Desired(machine, (), image)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
