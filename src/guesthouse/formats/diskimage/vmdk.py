"""VMDK, by VMware's "Virtual Disk Format 1.1" and QEMU's block/vmdk.c.

Rules
-----
1. Taken is a disk in one sparse file with its descriptor inside: monolithicSparse and streamOptimized.
2. A text descriptor lists extents in other files and is refused; the message names the first.
3. The descriptor inside may list one SPARSE extent, called by a bare file name (its own, perhaps from before
   it was renamed), and no parent. QEMU looks for a parent at byte 512 whatever the header says; so do we.
4. With capacity 0 QEMU would open the extents of the descriptor inside: refused.
5. A streamOptimized disk has its grain directory, and the valid header, at the end.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from guesthouse.formats.diskimage.source import SECTOR_BYTES, Facts, Source, shown

_MAGIC = b"KDMV"
_TEXT_MAGIC = b"# Disk DescriptorFile"
_MAX_VERSION = 3
_AT_END = 0xFFFFFFFFFFFFFFFF
_MAX_GRAIN_SECTORS = 0x200000
_MAX_DIRECTORY_ENTRIES = 32 << 20
_MAX_TABLE_ENTRIES = 512
_MAX_DESCRIPTOR_BYTES = 1 << 20
_FOOTER_MARKER = 3
_QEMU_DESCRIPTOR = slice(SECTOR_BYTES, 21 * SECTOR_BYTES)
_KINDS = ("monolithicSparse", "streamOptimized")
_NO_PARENT = b"ffffffff"

_EXTENT = re.compile(rb"^(?:RW|RDONLY|NOACCESS)[ \t]+(\d+)[ \t]+(\w+)(?:[ \t]+\"([^\"\r\n]*)\")?.*$", re.MULTILINE)
_PARENT = re.compile(rb"parentFileNameHint[ \t]*=?[ \t]*\"?([^\"\r\n\x00]*)")
_PARENT_ID = re.compile(rb"^[ \t]*parentCID[ \t]*=[ \t]*(\w+)", re.MULTILINE)
_CREATE_TYPE = re.compile(rb"^[ \t]*createType[ \t]*=[ \t]*\"?(\w+)", re.MULTILINE)


class _Header(NamedTuple):
    magic: bytes
    version: int
    flags: int
    capacity: int
    grain_sectors: int
    descriptor_sector: int
    descriptor_sectors: int
    table_entries: int
    backup_directory: int
    directory: int
    overhead_sectors: int
    unclean: int
    newlines: bytes
    compression: int


_LAYOUT = struct.Struct("<4sIIQQQQIQQQB4sH")


class Vmdk:
    """VMware's format."""

    name = "vmdk"
    driver = "vmdk"

    def recognise(self, head: bytes, tail: bytes) -> bool:
        """A sparse extent, or the text of a descriptor."""
        return head.startswith((_MAGIC, _TEXT_MAGIC))

    def read(self, source: Source) -> Facts:
        """The facts of a harmless VMDK."""
        if source.reader.read_at(0, len(_TEXT_MAGIC)) == _TEXT_MAGIC:
            raise _text_descriptor(source)
        front = _read_header(source, 0)
        kind = _check_descriptor(source, front)
        header = _read_footer(source) if front.directory == _AT_END else front
        _check_numbers(source, header)
        virtual_bytes = source.virtual_size(header.capacity * SECTOR_BYTES)
        return Facts(self.name, virtual_bytes, version=header.version, variant=kind)


def _text_descriptor(source: Source) -> Exception:
    text = source.reader.read_at(0, _MAX_DESCRIPTOR_BYTES)
    names = [shown(match[3]) for match in _EXTENT.finditer(text) if match[3] is not None]
    kept = f"in {names[0]}" if names else "in other files"
    return source.refuse(
        f"is only a descriptor of a VMDK; its data would be {kept}",
        field="extent",
        value=names[0] if names else None,
        hint="import a VMDK of one file: `qemu-img convert -O qcow2` or an OVF export makes one",
    )


def _read_header(source: Source, offset: int) -> _Header:
    header = _Header._make(_LAYOUT.unpack_from(source.read(offset, SECTOR_BYTES, "header")))
    if header.magic != _MAGIC:
        raise source.refuse("is damaged: no VMDK header at its end", field="footer", value=offset)
    if not 1 <= header.version <= _MAX_VERSION:
        raise source.refuse(f"is VMDK of version {header.version}", field="version", value=header.version)
    if header.capacity == 0:
        raise source.refuse("leaves its size to a descriptor that may point elsewhere", field="capacity", value=0)
    return header


def _read_footer(source: Source) -> _Header:
    """The end of a streamOptimized disk: a marker, the footer (a header), and an end-of-stream marker."""
    start = source.size - 3 * SECTOR_BYTES
    if start < SECTOR_BYTES:
        raise source.refuse("is truncated: its footer is missing", field="footer", value=source.size)
    marker = source.read(start, SECTOR_BYTES, "footer marker")
    end = source.read(start + 2 * SECTOR_BYTES, SECTOR_BYTES, "end-of-stream marker")
    sectors, size, kind = struct.unpack_from("<QII", marker)
    if (size, kind) != (0, _FOOTER_MARKER) or sectors not in (0, 1) or any(end):
        raise source.refuse(
            "is truncated: its footer is missing", field="footer", value=start, hint="download or copy it again"
        )
    header = _read_header(source, start + SECTOR_BYTES)
    if header.directory == _AT_END:
        raise source.refuse("has no grain directory", field="grain directory", value=header.directory)
    return header


def _check_descriptor(source: Source, header: _Header) -> str:
    """The createType of the descriptor inside, which must not point elsewhere."""
    length = header.descriptor_sectors * SECTOR_BYTES
    if not header.descriptor_sector or not 0 < length <= _MAX_DESCRIPTOR_BYTES:
        raise source.refuse(
            f"has no readable descriptor ({length} bytes)", field="descriptor", value=header.descriptor_sector
        )
    text = source.read(header.descriptor_sector * SECTOR_BYTES, length, "descriptor")
    also = source.reader.read_at(_QEMU_DESCRIPTOR.start, _QEMU_DESCRIPTOR.stop - _QEMU_DESCRIPTOR.start)
    for where in (text, also):
        _check_parent(source, where)
    text = text.split(b"\x00", 1)[0]
    create = _CREATE_TYPE.search(text)
    kind = create[1].decode("ascii", "replace") if create else ""
    if kind not in _KINDS:
        raise source.refuse(
            f"is a VMDK of type {shown(kind)}",
            field="createType",
            value=kind,
            hint=f"taken are {' and '.join(_KINDS)}: one file with everything in it",
        )
    _check_extents(source, text)
    return kind


def _check_parent(source: Source, text: bytes) -> None:
    hint = _PARENT.search(text)
    parent_id = _PARENT_ID.search(text)
    if hint is None and (parent_id is None or parent_id[1].lower() == _NO_PARENT):
        return
    name = shown(hint[1]) if hint else "that it does not name"
    raise source.refuse(f"names a parent {name}", field="parentFileNameHint", value=name)


def _check_extents(source: Source, text: bytes) -> None:
    extents = [(match[2], match[3] or b"") for match in _EXTENT.finditer(text)]
    for kind, name in extents:
        if kind != b"SPARSE" or re.search(rb"[/\\:]", name) or len(extents) > 1:
            what = f"{kind.decode('ascii', 'replace')} extent {shown(name)}"
            raise source.refuse(f"names a {what} in another file", field="extent", value=shown(name))
    if not extents:
        raise source.refuse("lists no extent in its descriptor", field="extent")


def _check_numbers(source: Source, header: _Header) -> None:
    grain, entries = header.grain_sectors, header.table_entries
    power_of_two = grain & (grain - 1) == 0
    for field, value, fits in (
        ("grain size", grain, power_of_two and 1 <= grain <= _MAX_GRAIN_SECTORS),
        ("grain table size", entries, 1 <= entries <= _MAX_TABLE_ENTRIES),
        ("compression", header.compression, header.compression in (0, 1)),
    ):
        if not fits:
            raise source.refuse(f"has an absurd {field}: {value}", field=field, value=value)
    directory_entries = -(-header.capacity // (grain * entries))
    if directory_entries > _MAX_DIRECTORY_ENTRIES:
        raise source.refuse(
            f"has an absurd grain directory of {directory_entries} entries",
            field="grain directory",
            value=directory_entries,
        )
    source.span(header.directory * SECTOR_BYTES, directory_entries * 4, "grain directory")
    source.span(0, header.overhead_sectors * SECTOR_BYTES, "overhead")
