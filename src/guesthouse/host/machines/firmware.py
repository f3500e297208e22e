"""With what a machine starts: a kernel of its image, OVMF, or SeaBIOS.

Rules
-----
1. `auto`: a kernel where the image brings one (the fastest way), else UEFI where OVMF is installed, else BIOS.
2. UEFI variables are the machine's own, copied from OVMF's template at its first UEFI start, and kept.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

from guesthouse.decide.observed import Desired
from guesthouse.host.durable import put_in_place
from guesthouse.host.machines.folder import Folder
from guesthouse.model.errors import Failed, Invalid, NoCapacity
from guesthouse.model.house import House
from guesthouse.model.machine import Firmware
from guesthouse.model.resources import Image
from guesthouse.qemu.boot import Bios, Direct, Uefi


class Ovmf(NamedTuple):
    """Where a distribution keeps OVMF: its code, and the template of its variables of the same size."""

    code: Path
    variables: Path


OVMF = (
    Ovmf(Path("/usr/share/OVMF/OVMF_CODE_4M.fd"), Path("/usr/share/OVMF/OVMF_VARS_4M.fd")),  # Debian, Ubuntu
    Ovmf(Path("/usr/share/edk2/ovmf/OVMF_CODE.fd"), Path("/usr/share/edk2/ovmf/OVMF_VARS.fd")),  # Fedora
    Ovmf(Path("/usr/share/edk2/x64/OVMF_CODE.4m.fd"), Path("/usr/share/edk2/x64/OVMF_VARS.4m.fd")),  # Arch
)


def find_ovmf() -> Ovmf | None:
    """The OVMF of this box."""
    return next((row for row in OVMF if row.code.is_file() and row.variables.is_file()), None)


def choose(desired: Desired, house: House, folder: Folder) -> Direct | Bios | Uefi:
    """The firmware of the next start; raises `Invalid` or `NoCapacity` when what was asked for cannot be."""
    wanted, image, ovmf = desired.machine.spec.firmware, desired.image, find_ovmf()
    subject = f"machine {desired.machine.name}"
    if wanted is Firmware.DIRECT or (wanted is Firmware.AUTO and image and image.kernel):
        if image is None or not image.kernel:
            raise Invalid(
                "the image has no kernel to start directly",
                subject=subject,
                field="firmware",
                value=wanted.value,
                hint="use firmware bios or uefi",
            )
        return _direct(image, house)
    if wanted is Firmware.UEFI or (wanted is Firmware.AUTO and ovmf):
        if ovmf is None:
            raise NoCapacity(
                "this host has no UEFI firmware", subject=subject, field="firmware", hint="apt install ovmf"
            )
        return _uefi(ovmf, folder)
    return Bios()


def _direct(image: Image, house: House) -> Direct:
    kernel = house.images / image.id / image.kernel
    initrd = house.images / image.id / image.initrd if image.initrd else None
    for path in filter(None, (kernel, initrd)):
        if not path.is_file():
            raise Failed(
                f"a file of image {image.name} is gone: {path}",
                subject=f"image {image.name}",
                hint="restore the file, or build or import the image again",
            )
    return Direct(kernel, initrd, image.cmdline)


def _uefi(ovmf: Ovmf, folder: Folder) -> Uefi:
    if not folder.variables.exists():
        partial = folder.variables.with_name(folder.variables.name + ".partial")
        shutil.copyfile(ovmf.variables, partial)
        partial.chmod(0o600)
        put_in_place(partial, folder.variables)
    return Uefi(ovmf.code, folder.variables)
