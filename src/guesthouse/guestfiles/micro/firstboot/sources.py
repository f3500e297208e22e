"""Where the configuration comes from: a NoCloud disk, the EC2 metadata service, or nowhere.

Source: cloud-init's reference of the data sources NoCloud and Ec2; ECMA-119 8.4 for the label of a CD-ROM,
Microsoft's FAT specification for that of a FAT file system.
"""

from __future__ import annotations

import os

from . import iso9660
from .guest import Refused
from .userdata import mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .guest import Guest

LABEL = "cidata"
_ISO_AT, _ISO_LABEL = 0x8000, slice(40, 72)
# Where the label lies in a FAT boot sector, and where that sector names its kind.
_FAT_LABELS = ((slice(82, 87), b"FAT32", slice(71, 82)), (slice(54, 57), b"FAT", slice(43, 54)))
_FILES = ("user-data", "meta-data", "vendor-data", "network-config", "random-seed")
_MOUNT = "/run/cloud-init/seed"


class Seed:
    """What a source gives: its name, documents as they are, public keys for the default user."""

    def __init__(self, source: str, detail: str) -> None:
        self.source = source
        self.detail = detail
        self.metadata: dict[str, Any] = {}
        self.userdata = b""
        self.vendordata = b""
        self.network: dict[str, Any] | None = None
        self.keys: list[str] = []
        self.random = b""
        self.problems: list[str] = []


def none() -> Seed:
    """No source: keys and names stay as the image has them."""
    return Seed("none", "DataSourceNone")


def label_of(start: bytes) -> tuple[str, str] | None:
    """File system and label of a disk from its first 34 KiB, None when it is neither ISO 9660 nor FAT."""
    descriptor = start[_ISO_AT:]
    if descriptor[1:6] == b"CD001":
        return "iso9660", descriptor[_ISO_LABEL].decode("ascii", "replace").strip()
    for kind_at, kind, label_at in _FAT_LABELS:
        if start[kind_at] == kind:
            return "vfat", start[label_at].decode("ascii", "replace").strip()
    return None


def find_nocloud(guest: Guest) -> Seed | None:
    """The first disk labelled `cidata`, read; None where there is none."""
    for name in sorted(os.listdir(guest.path("/sys/class/block"))):
        found = label_of(_start_of(guest, name))
        if found and found[1].lower() == LABEL:
            return _read_disk(guest, f"/dev/{name}", found[0])
    return None


def _start_of(guest: Guest, name: str) -> bytes:
    try:
        with open(guest.path(f"/dev/{name}"), "rb", buffering=0) as disk:
            return disk.read(_ISO_AT + 2048)
    except OSError:
        return b""  # an empty drive, a device that is just going


def _read_disk(guest: Guest, device: str, file_system: str) -> Seed:
    files = _from_iso(guest, device) if file_system == "iso9660" else None
    if files is not None:
        return from_files(files, device)
    guest.folder(_MOUNT, 0o700)
    status, said = guest.run(["mount", "-t", file_system, "-o", "ro", device, guest.path(_MOUNT)])
    if status:
        seed = Seed("nocloud", f"DataSourceNoCloud [seed={device}][dsmode=net]")
        seed.problems.append(f"{device} cannot be mounted: {said.decode(errors='replace').strip()}")
        return seed
    try:
        files = {name: data for name in _FILES if (data := _read(guest.path(f"{_MOUNT}/{name}"))) is not None}
    finally:
        guest.run(["umount", guest.path(_MOUNT)])
    return from_files(files, device)


def _from_iso(guest: Guest, device: str) -> dict[str, bytes] | None:
    try:
        with open(guest.path(device), "rb", buffering=0) as disk:
            return iso9660.files(disk)
    except OSError:
        return None  # mounting it says what is wrong


def from_files(files: Mapping[str, bytes], device: str) -> Seed:
    """A seed from the files of a NoCloud disk."""
    seed = Seed("nocloud", f"DataSourceNoCloud [seed={device}][dsmode=net]")
    seed.userdata = files.get("user-data") or b""
    seed.vendordata = files.get("vendor-data") or b""
    for what in ("meta-data", "user-data"):
        if what not in files:
            seed.problems.append(f"the disk has no file {what}")
    seed.metadata = _mapping(seed, files, "meta-data")
    seed.network = _mapping(seed, files, "network-config") or None
    seed.random = files.get("random-seed") or b""
    keys = seed.metadata.get("public-keys") or []
    seed.keys = [str(key) for key in (keys.values() if isinstance(keys, dict) else keys)]
    return seed


def _mapping(seed: Seed, files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    try:
        return mapping(files.get(name) or b"", name)
    except Refused as problem:
        seed.problems.append(str(problem))
        return {}


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def wants_ec2(guest: Guest) -> bool:
    """Whether to ask the metadata service: the kernel's command line says so, or the machine is EC2's by uuid."""
    uuid = guest.read("/sys/class/dmi/id/product_uuid").strip().lower()
    return "gh.datasource=ec2" in guest.read("/proc/cmdline").split() or uuid.startswith("ec2")
