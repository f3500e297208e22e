"""Making a template: a machine is booted to its gate, frozen, and put away.

Rules
-----
1. While it is made it is a machine of nobody's (`machines.once`) under the template's id.
2. It has no NIC and no seed, and its product family says `template`: the guest waits at its gate, which it reports.
   What else its firmware says of it is what that of its forks would: the guest has it in memory.
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

from guesthouse.formats.outcome import is_gate, parse_report
from guesthouse.host import identity
from guesthouse.host.durable import sync_folder, write_whole
from guesthouse.host.frozen.box import ThisBox
from guesthouse.host.frozen.folder import Facts, TemplateFolder
from guesthouse.host.machines.freezing import freeze
from guesthouse.host.machines.once import Booted, Errand, Once
from guesthouse.host.processes import run
from guesthouse.model.errors import Failed, TimedOut
from guesthouse.model.house import House
from guesthouse.model.machine import Stage
from guesthouse.model.resources import Image, Template
from guesthouse.ports import Progress

FAMILY = "template"
_GATE_TIMEOUT_S = 30 * 60.0
_GATE_HINT = "`guest image prepare` gives an image its gate; images built here have one"


@dataclass(frozen=True)
class Maker:
    """What it takes to make templates."""

    once: Once

    @property
    def house(self) -> House:
        return self.once.house

    @property
    def box(self) -> ThisBox:
        return self.once.box

    async def make(self, template: Template, image: Image, project_number: int, progress: Progress) -> Facts:
        """Boot, freeze, put away; what a killed daemon had left of an earlier try is cleared away first."""
        spec = msgspec.structs.replace(template.spec, name=template.name)
        errand = Errand(
            template.id, template.project, spec, image, project_number, family=FAMILY, memory=TemplateFolder.MEMORY
        )
        progress("booting")
        started = time.monotonic()
        async with self.once.booted(errand) as booted:
            await _until_gate(booted)
            boot_ms = round((time.monotonic() - started) * 1000)
            progress("freezing")
            files = TemplateFolder(booted.folder.path)
            await freeze(booted.lit, files.state)
            await run(["fallocate", "--dig-holes", str(files.memory)])  # pages of zeros
        facts = Facts(
            placed=booted.placed,
            by=await self.box.fingerprint(),
            boot_ms=boot_ms,
            memory_bytes=files.memory.stat().st_blocks * 512,
            state_bytes=files.state.stat().st_size,
        )
        await asyncio.to_thread(self._put_away, files, template, facts, project_number)
        return facts

    async def clear(self, template: Template) -> None:
        """End and remove what is left of a template in the making."""
        await self.once.clear(template.id)

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


async def _until_gate(booted: Booted) -> None:
    """Let it run until it stands at its gate; raises `Failed` with the end of its console when it does not come."""
    try:
        arrived = await booted.until(_gate, _GATE_TIMEOUT_S)
    except TimeoutError as error:
        raise TimedOut(
            f"the guest did not come to its gate within {_GATE_TIMEOUT_S / 60:.0f} minutes",
            hint=_GATE_HINT,
        ) from error
    if not arrived:
        raise Failed(f"the guest ended before it came to its gate:\n{booted.said}")


async def _gate(reader: asyncio.StreamReader) -> None:
    while line := await reader.readline():
        if is_gate(line):
            return
        if (report := parse_report(line)) and report[0] is Stage.CONFIGURED:
            failures = report[1].failures if report[1] else ()
            said = "".join(f": {failure.module}: {failure.message}" for failure in failures[:1])
            raise Failed(f"the guest was configured and did not wait at a gate{said}", hint=_GATE_HINT)
    raise Failed("the guest closed its report channel before it came to its gate")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
