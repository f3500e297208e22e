"""Files in the root folder of a CD-ROM image by their Joliet names, read from the disk itself.

To mount and unmount it takes two programs and a file system's driver, which on an emulated processor is longer
than all else of finding a seed.

Source: ECMA-119 (ISO 9660) 8.5 and 9.1; Joliet Specification 1995.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from io import RawIOBase

_SECTOR_BYTES = 2048
_DESCRIPTORS_AT = 16
_JOLIET, _END = 2, 255
_LEVELS = (b"%/@", b"%/C", b"%/E")
_ESCAPES, _ROOT = slice(88, 91), slice(156, 190)
_NOT_PLAIN = 0x82  # a folder, or a file in several pieces


def files(disk: RawIOBase) -> dict[str, bytes] | None:
    """Name and content of each file; None where this is no Joliet volume of plain files, or a damaged one."""
    try:
        root = _root(disk)
        return None if root is None else dict(_contents(disk, root))
    except (struct.error, IndexError, ValueError):
        return None


def _root(disk: RawIOBase) -> bytes | None:
    for sector in range(_DESCRIPTORS_AT, _DESCRIPTORS_AT + 16):
        descriptor = _read(disk, sector, _SECTOR_BYTES)
        if descriptor[1:6] != b"CD001" or descriptor[0] == _END:
            return None
        if descriptor[0] == _JOLIET and descriptor[_ESCAPES] in _LEVELS:
            return _extent(disk, descriptor[_ROOT])
    return None


def _contents(disk: RawIOBase, folder: bytes) -> list[tuple[str, bytes]]:
    found, at = [], 0
    while at < len(folder):
        length = folder[at]
        if not length:  # no record crosses a sector's border
            at = (at // _SECTOR_BYTES + 1) * _SECTOR_BYTES
            continue
        record = folder[at : at + length]
        at += length
        name = record[33 : 33 + record[32]]
        if len(name) > 1:  # else the folder itself, or its parent
            if record[25] & _NOT_PLAIN:
                raise ValueError("not a plain file")
            # Two bytes a letter; the guest has no codec for them, and no file of ours another letter than ASCII's.
            found.append((name[1::2].decode("latin-1").partition(";")[0], _extent(disk, record)))
    return found


def _extent(disk: RawIOBase, record: bytes) -> bytes:
    sector, size = struct.unpack_from("<I4xI", record, 2)
    return _read(disk, sector, size)


def _read(disk: RawIOBase, sector: int, size: int) -> bytes:
    disk.seek(sector * _SECTOR_BYTES)
    data = disk.read(size) or b""
    if len(data) != size:
        raise ValueError("the disk ends early")
    return data
