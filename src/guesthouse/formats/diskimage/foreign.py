"""Files that are no disk image of ours, but well enough known to be called by name."""

from __future__ import annotations

from typing import NamedTuple


class Foreign(NamedTuple):
    """A row: the bytes at `offset` that give it away, what it is, and what to do."""

    offset: int
    magic: bytes
    what: str
    hint: str


_CONVERT = "convert it with qemu-img on a machine you trust"
_UNPACK = "unpack it and import the disk inside"

FOREIGN: tuple[Foreign, ...] = (
    Foreign(0, b"QFI\xfb\x00\x00\x00\x01", "a qcow image of version 1", _CONVERT),
    Foreign(0, b"QED\x00", "a QED image", _CONVERT),
    Foreign(0, b"WithoutFreeSpace", "a Parallels image", _CONVERT),
    Foreign(0, b"WithouFreSpacExt", "a Parallels image", _CONVERT),
    Foreign(0, b"Bochs Virtual HD Image", "a Bochs image", _CONVERT),
    Foreign(0, b"COWD", "a VMDK of ESX 2 (COWD)", _CONVERT),
    Foreign(0, b"LUKS\xba\xbe", "an encrypted LUKS volume", "decrypt it first"),
    Foreign(0, b"PK\x03\x04", "a zip archive", _UNPACK),
    Foreign(0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    Foreign(257, b"ustar", "a tar archive (or an OVA)", _UNPACK),
    Foreign(0, b"hsqs", "a squashfs file system", "import a disk, not a root file system"),
    Foreign(0, b"\x7fELF", "a program", ""),
    Foreign(0, b"#!", "a script", ""),
    Foreign(0, b"<!DOCTYPE", "a web page", "the address leads to a page, not to the image itself"),
    Foreign(0, b"<html", "a web page", "the address leads to a page, not to the image itself"),
)
