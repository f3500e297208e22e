"""Giving an image of somebody else's its gate, so that templates can be made of it.

Rules
-----
1. The image is booted once, as nobody's machine (`machines.once`), and changes itself: nothing of it is mounted or run
   on this host, and the image stays as it was. What has changed is a layer on it.
2. cloud-init in it runs our program from the seed, in its first stage (`guestfiles/debian/prepare`). That looks whether
   the system can have a gate, puts its files in place, removes this boot's identity, reports, and powers off.
3. What it cannot do it says by name. A guest that says nothing has no cloud-init, or one that finds no seed: it is
   given up after `_TIMEOUT_S`, and the end of its console is told.

Source: cloud-init 22.4, "NoCloud" (`dsmode`), "Cloud Boothook".
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from importlib import resources

from guesthouse.formats import iso9660, tarball
from guesthouse.formats.cloudinit import LABEL
from guesthouse.formats.outcome import parse_report, preparation
from guesthouse.host import identity
from guesthouse.host.images.debian import gate_files
from guesthouse.host.machines.once import Booted, Errand, Once
from guesthouse.model.errors import Failed, TimedOut
from guesthouse.model.machine import PREPARING_MIB, MachineSpec, Stage
from guesthouse.model.resources import Image
from guesthouse.ports import Progress
from guesthouse.qemu.block import DiskFile

_TIMEOUT_S = 15 * 60.0
_HINT = "systems that can have a gate: Debian and Ubuntu with cloud-init before 24.3 and systemd-networkd"


@dataclass(frozen=True)
class Preparer:
    """What it takes to prepare images."""

    once: Once

    async def prepare(self, image: Image, origin: Image, project_number: int, progress: Progress) -> None:
        """Boot `origin` until it has its gate and is off; its changed disk is then `changed`. Raises `Failed`."""
        spec = MachineSpec(name=image.name, memory_mib=PREPARING_MIB)
        errand = Errand(image.id, image.project, spec, origin, project_number, seed=seed(image.id))
        progress("booting")
        async with self.once.booted(errand) as booted:
            await _until_prepared(booted, origin)
            await booted.lit.quit()
        identity.take_back(self.once.root(image.id))

    def changed(self, image: Image, origin: Image) -> DiskFile:
        """The disk of `origin` with its gate, in two layers."""
        return DiskFile(self.once.root(image.id), backing=self.once.disks.image_file(origin))

    async def clear(self, image: Image) -> None:
        """Remove what is left of it."""
        await self.once.clear(image.id)


def seed(id: str) -> bytes:
    """The seed from which an image is prepared. Its data source is `local`: no network is waited for."""
    program = resources.files("guesthouse.guestfiles.debian") / "prepare" / "user-data"
    files = {
        "meta-data": json.dumps({"instance-id": f"prepare-{id}", "dsmode": "local"}).encode(),
        "user-data": program.read_bytes(),
        "gate.tar": tarball.archive(gate_files()),
    }
    return iso9660.build(LABEL, files)


async def _until_prepared(booted: Booted, origin: Image) -> None:
    subject = f"image {origin.name}"
    try:
        prepared = await booted.until(_report, _TIMEOUT_S, powers_off=True)
    except TimeoutError as error:
        raise TimedOut(
            f"{subject} was not prepared within {_TIMEOUT_S / 60:.0f} minutes: its cloud-init did not take our seed."
            f" The end of its console:\n{booted.said}",
            subject=subject,
            hint=_HINT,
        ) from error
    except Failed as error:
        raise Failed(f"{subject} cannot have a gate: {error}", subject=subject, hint=_HINT) from error
    if not prepared:
        raise Failed(
            f"{subject}: the guest ended before it was prepared. The end of its console:\n{booted.said}",
            subject=subject,
            hint=_HINT,
        )


async def _report(reader: asyncio.StreamReader) -> None:
    while line := await reader.readline():
        if (said := preparation(line)) is not None:
            if said:
                raise Failed(said)
            return
        if (report := parse_report(line)) and report[0] is Stage.CONFIGURED:
            raise Failed("its cloud-init went through all of its stages without running our program")
    raise Failed("it closed its report channel")
