"""A small CD-ROM image: a few files in the root folder, the same bytes for the same content.

Rules
-----
1. ECMA-119 (ISO 9660) with a Joliet volume beside it: the first for the label, the second for names as they are
   (`user-data` is no name in ISO 9660). Linux, the BSDs and Windows read the Joliet names.
2. No clock: every date is the one that ECMA-119 8.4.26.1 gives for "not specified". pycdlib stamps the present
   time into seven places; a seed that changes with every rewrite could not be compared.
3. Files lie in the order of their names, each on a sector border.

Source: ECMA-119, 4th edition (clauses in parentheses below); Joliet Specification 1995.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from guesthouse.model.errors import Invalid

SECTOR_BYTES = 2048
_SYSTEM_SECTORS = 16
_PRIMARY, _JOLIET, _END = 16, 17, 18
_PATHS_AT = 19  # four path tables of one sector: primary and Joliet, little- and big-endian
_ROOTS_AT = 23  # two root folders of one sector
_FILES_AT = 25
_UNSPECIFIED_DATE = b"0" * 16 + b"\0"
_JOLIET_LEVEL_3 = b"%/E"
_LONGEST_NAME = 64


class _Extent(NamedTuple):
    name: str
    sector: int
    size: int


def _both16(number: int) -> bytes:
    """A number in both byte orders (7.2.3)."""
    return struct.pack("<H", number) + struct.pack(">H", number)


def _both32(number: int) -> bytes:
    """A number in both byte orders (7.3.3)."""
    return struct.pack("<I", number) + struct.pack(">I", number)


def build(label: str, files: Mapping[str, bytes]) -> bytes:
    """The whole image. `label` is at most 16 characters of ASCII, a file's name at most 64; raises `Invalid`."""
    _check(label, files)
    extents, sector = [], _FILES_AT
    for name in sorted(files):
        extents.append(_Extent(name, sector, len(files[name])))
        sector += _sectors(len(files[name]))
    parts = [
        bytes(_SYSTEM_SECTORS * SECTOR_BYTES),
        _descriptor(1, label, b"", _ascii, sector, 0),
        _descriptor(2, label, _JOLIET_LEVEL_3, _ucs2, sector, 1),
        _padded(b"\xffCD001\x01"),
        *(_path_table(order, _ROOTS_AT + volume) for volume in (0, 1) for order in "<>"),
        _root(_ROOTS_AT, extents, _plain_name),
        _root(_ROOTS_AT + 1, extents, lambda extent: _ucs2(extent.name)),
        *(_padded(files[extent.name]) for extent in extents),
    ]
    return b"".join(parts)


def _check(label: str, files: Mapping[str, bytes]) -> None:
    if len(label) > 16 or not label.isascii():
        raise Invalid(f"{label!r} cannot label a CD-ROM", field="label", value=label, hint="16 ASCII characters")
    for name in files:
        if not 0 < len(name) <= _LONGEST_NAME or not name.isascii() or set(name) & set("*/:;?\\\0"):
            raise Invalid(f"{name!r} cannot name a file of a CD-ROM", field="name", value=name)
    if len(_padded(_root(0, [_Extent(name, 0, 0) for name in files], lambda e: _ucs2(e.name)))) > SECTOR_BYTES:
        raise Invalid("too many files for the root folder of this CD-ROM", field="files", value=len(files))


def _sectors(size: int) -> int:
    return -(-size // SECTOR_BYTES)


def _padded(data: bytes) -> bytes:
    return data.ljust(_sectors(len(data)) * SECTOR_BYTES, b"\0")


def _ascii(text: str) -> bytes:
    return text.encode("ascii")


def _ucs2(text: str) -> bytes:
    return text.encode("utf-16-be")


def _plain_name(extent: _Extent) -> bytes:
    """A name that level 1 allows (7.5): for readers that know no Joliet."""
    stem, _, extension = extent.name.upper().partition(".")
    allowed = "".join(letter if letter.isalnum() else "_" for letter in stem)[:8]
    return f"{allowed}.{extension[:3]};1".encode("ascii")


def _descriptor(
    kind: int, label: str, escapes: bytes, encode: Callable[[str], bytes], sectors: int, volume: int
) -> bytes:
    """A primary (8.4) or supplementary (8.5) volume descriptor."""

    def text(value: str, size: int) -> bytes:
        filled = encode(value) + encode(" ") * size
        return filled[:size]

    paths = _PATHS_AT + 2 * volume
    table_bytes = len(_path_entry("<", 0))
    return _padded(
        bytes([kind])
        + b"CD001\x01\0"
        + text("", 32)
        + text(label, 32)
        + bytes(8)
        + _both32(sectors)
        + escapes.ljust(32, b"\0")
        + _both16(1)
        + _both16(1)
        + _both16(SECTOR_BYTES)
        + _both32(table_bytes)
        + struct.pack("<II", paths, 0)
        + struct.pack(">II", paths + 1, 0)
        + _entry(b"\0", _ROOTS_AT + volume, SECTOR_BYTES, folder=True)
        + text("", 128)  # volume set
        + text("", 128)  # publisher
        + text("", 128)  # preparer
        + text("GUESTHOUSE", 128)
        + text("", 37) * 3  # copyright, abstract, bibliography
        + _UNSPECIFIED_DATE * 4
        + b"\x01"
    )


def _entry(name: bytes, sector: int, size: int, *, folder: bool = False) -> bytes:
    """A directory record (9.1), its date "not specified" (9.1.5)."""
    body = (
        b"\0"
        + _both32(sector)
        + _both32(size)
        + bytes(7)
        + bytes([2 if folder else 0, 0, 0])
        + _both16(1)
        + bytes([len(name)])
        + name
        + (b"\0" if len(name) % 2 == 0 else b"")
    )
    return bytes([len(body) + 1]) + body


def _root(sector: int, extents: Sequence[_Extent], name: Callable[[_Extent], bytes]) -> bytes:
    """The root folder: itself, its parent (itself), and the files sorted by name (9.3)."""
    records = [_entry(itself, sector, SECTOR_BYTES, folder=True) for itself in (b"\0", b"\x01")]
    named = sorted((name(extent), extent) for extent in extents)
    records += [_entry(written, extent.sector, extent.size) for written, extent in named]
    return _padded(b"".join(records))


def _path_entry(order: str, sector: int) -> bytes:
    return struct.pack(f"{order}BBIH", 1, 0, sector, 1) + b"\0\0"


def _path_table(order: str, root: int) -> bytes:
    """A path table (9.4) with the root folder alone."""
    return _padded(_path_entry(order, root))
