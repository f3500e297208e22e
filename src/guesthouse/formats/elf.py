"""What we read of ELF files: the libraries a program needs, and what a kernel module tells of itself.

Source: System V ABI, chapters 4 and 5 (64-bit, little-endian only: the machines we run).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from guesthouse.model.errors import Invalid

_MAGIC = b"\x7fELF\x02\x01"
_SECTIONS_AT = struct.Struct("<40xQ10xHHH")  # of the file header: offset, entry size, count, index of the names
_SECTION = struct.Struct("<IIQQQQIIQQ")
_DYNAMIC = struct.Struct("<qQ")
_DT_NEEDED = 1


class _Section(NamedTuple):
    name: str
    data: bytes
    link: int


def is_elf(data: bytes) -> bool:
    """Whether this is an ELF file of the kind that we read."""
    return data.startswith(_MAGIC)


def needed(data: bytes) -> tuple[str, ...]:
    """Names of the shared libraries that the loader must find (DT_NEEDED), in order. Raises `Invalid`."""
    sections = _sections(data)
    dynamic = next((section for section in sections if section.name == ".dynamic"), None)
    if dynamic is None:
        return ()
    if dynamic.link >= len(sections) or len(dynamic.data) % _DYNAMIC.size:
        raise Invalid("damaged ELF file: its dynamic section is cut off or without names")
    names = sections[dynamic.link].data
    return tuple(_text(names, value) for tag, value in _DYNAMIC.iter_unpack(dynamic.data) if tag == _DT_NEEDED)


def interpreter(data: bytes) -> str | None:
    """Path of the loader that starts this program, None where it needs none. Raises `Invalid`."""
    found = (_text(section.data, 0) for section in _sections(data) if section.name == ".interp")
    return next(found, None)


def module_information(data: bytes) -> Iterator[tuple[str, str]]:
    """Name and value of each line of a kernel module's `.modinfo` (depends, alias, ...). Raises `Invalid`."""
    for section in _sections(data):
        if section.name == ".modinfo":
            for line in filter(None, section.data.split(b"\0")):
                name, _, value = line.decode(errors="replace").partition("=")
                yield name, value


def _sections(data: bytes) -> list[_Section]:
    if not is_elf(data):
        raise Invalid("not a 64-bit little-endian ELF file")
    try:
        offset, size, count, names_at = _SECTIONS_AT.unpack_from(data)
        rows = [_SECTION.unpack_from(data, offset + size * index) for index in range(count)]
        contents = [data[row[4] : row[4] + row[5]] for row in rows]
        names = contents[names_at] if rows else b""
        return [_Section(_text(names, row[0]), content, row[6]) for row, content in zip(rows, contents, strict=True)]
    except (struct.error, IndexError) as error:
        raise Invalid("truncated ELF file") from error


def _text(table: bytes, offset: int) -> str:
    return table[offset:].partition(b"\0")[0].decode(errors="replace")
