"""VHDX, by [MS-VHDX] "Virtual Hard Disk v2 (VHDX) File Format".

Rules
-----
1. The current header is the one with a right checksum and the higher sequence number; version 1 only.
2. A log that waits to be replayed is refused: the disk was not closed, and nobody may repair it but its writer.
3. The region table is the first, as QEMU reads it; regions and metadata lie within the file, none twice.
4. A required region or metadata item that is not known here is refused, as the specification demands.
5. A disk with a parent (flag or parent locator) is refused, and the parent's path is shown.
"""

from __future__ import annotations

import struct
from typing import NamedTuple
from uuid import UUID

from guesthouse.formats.diskimage.crc32c import crc32c
from guesthouse.formats.diskimage.source import Facts, Source, shown

_KIB, _MIB, _TIB = 1 << 10, 1 << 20, 1 << 40
_HEADERS_AT = (64 * _KIB, 128 * _KIB)
_HEADER_BYTES = 4 * _KIB
_REGIONS_AT = 192 * _KIB
_TABLE_BYTES = 64 * _KIB
_MAX_ENTRIES = 2047
_MAX_ITEM_BYTES = _MIB
_MAX_LOCATOR_ENTRIES = 64

_BAT = UUID("2dc27766-f623-4200-9d64-115e9bfd4a08")
_METADATA = UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e")
_FILE_PARAMETERS = UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b")
_VIRTUAL_SIZE = UUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8")
_DISK_ID = UUID("beca12ab-b2e6-4523-93ef-c309e000c746")
_LOGICAL_SECTOR = UUID("8141bf1d-a96f-4709-ba47-f233a8faab5f")
_PHYSICAL_SECTOR = UUID("cda348c7-445d-4471-9cc9-e9885251c556")
_PARENT_LOCATOR = UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c")
_ITEMS = (_FILE_PARAMETERS, _VIRTUAL_SIZE, _DISK_ID, _LOGICAL_SECTOR, _PHYSICAL_SECTOR, _PARENT_LOCATOR)
_HAS_PARENT = 2
_REQUIRED_ITEM = 4


class _Header(NamedTuple):
    magic: bytes
    checksum: int
    sequence: int
    file_id: bytes
    data_id: bytes
    log_id: bytes
    log_version: int
    version: int
    log_bytes: int
    log_offset: int


class _Part(NamedTuple):
    """A region of the file, or an item of the metadata region (offset made absolute)."""

    offset: int
    length: int


_HEADER_LAYOUT = struct.Struct("<4sIQ16s16s16sHHIQ")
_REGION_TABLE = struct.Struct("<4sII4x")
_REGION = struct.Struct("<16sQII")
_METADATA_TABLE = struct.Struct("<8s2xH20x")
_ITEM = struct.Struct("<16sIII4x")
_LOCATOR = struct.Struct("<16s2xH")
_LOCATOR_ENTRY = struct.Struct("<IIHH")


class Vhdx:
    """The format of Hyper-V since 2012."""

    name = "vhdx"
    driver = "vhdx"

    def recognise(self, head: bytes, tail: bytes) -> bool:
        """The file type identifier."""
        return head[:8] == b"vhdxfile"

    def read(self, source: Source) -> Facts:
        """The facts of a harmless VHDX."""
        header = _current_header(source)
        if any(header.log_id):
            raise source.refuse(
                "was not closed: its log waits to be replayed",
                field="log",
                value=UUID(bytes_le=header.log_id),
                hint="attach and detach it once in Hyper-V, or `qemu-img check -r all` it",
            )
        if header.version != 1:
            raise source.refuse(f"is VHDX of version {header.version}", field="version", value=header.version)
        source.span(header.log_offset, header.log_bytes, "log")
        regions = _read_regions(source)
        items = _read_items(source, regions[_METADATA])
        virtual_bytes = _check_items(source, items, regions[_BAT])
        return Facts(self.name, virtual_bytes, version=1, variant="dynamic")


def _current_header(source: Source) -> _Header:
    found = []
    for offset in _HEADERS_AT:
        data = source.read(offset, _HEADER_BYTES, "header")
        header = _Header._make(_HEADER_LAYOUT.unpack_from(data))
        if header.magic == b"head" and header.checksum == _checksum(data):
            found.append(header)
    if not found:
        raise source.refuse("is damaged: neither of its two headers is valid", field="header")
    return max(found, key=lambda header: header.sequence)


def _checksum(data: bytes) -> int:
    """Headers and region tables are summed with their checksum field, bytes 4 to 7, as zero."""
    return crc32c(data[:4] + bytes(4) + data[8:])


def _read_regions(source: Source) -> dict[UUID, _Part]:
    data = source.read(_REGIONS_AT, _TABLE_BYTES, "region table")
    magic, checksum, count = _REGION_TABLE.unpack_from(data)
    if magic != b"regi" or checksum != _checksum(data) or count > _MAX_ENTRIES:
        raise source.refuse("is damaged: its region table is not valid", field="region table", value=count)
    regions: dict[UUID, _Part] = {}
    for index in range(count):
        raw_id, offset, length, required = _REGION.unpack_from(data, 16 + index * _REGION.size)
        kind = UUID(bytes_le=raw_id)
        if kind not in (_BAT, _METADATA):
            if required & 1:
                raise source.refuse("needs a region that is not known here", field="region", value=kind)
            continue
        if kind in regions or offset < _MIB or offset % _MIB or length % _MIB:
            raise source.refuse(f"has an absurd region at byte {offset}", field="region", value=kind)
        source.span(offset, length, "region")
        regions[kind] = _Part(offset, length)
    if len(regions) != 2:
        raise source.refuse("lacks its block table or its metadata", field="region table", value=count)
    first, second = sorted(regions.values())
    if first.offset + first.length > second.offset:
        raise source.refuse("has regions that overlap", field="region", value=second.offset)
    return regions


def _read_items(source: Source, region: _Part) -> dict[UUID, _Part]:
    data = source.read(region.offset, _TABLE_BYTES, "metadata table")
    magic, count = _METADATA_TABLE.unpack_from(data)
    if magic != b"metadata" or count > _MAX_ENTRIES:
        raise source.refuse("is damaged: its metadata table is not valid", field="metadata", value=count)
    items: dict[UUID, _Part] = {}
    for index in range(count):
        raw_id, offset, length, flags = _ITEM.unpack_from(data, 32 + index * _ITEM.size)
        kind = UUID(bytes_le=raw_id)
        if kind not in _ITEMS:
            if flags & _REQUIRED_ITEM:
                raise source.refuse("needs metadata that is not known here", field="metadata", value=kind)
            continue
        outside = offset < _TABLE_BYTES or offset + length > region.length
        if kind in items or outside or length > _MAX_ITEM_BYTES:
            raise source.refuse(f"has absurd metadata at {offset}", field="metadata", value=kind)
        items[kind] = _Part(region.offset + offset, length)
    return items


def _check_items(source: Source, items: dict[UUID, _Part], bat: _Part) -> int:
    """The virtual size in bytes, after all that belongs to it was checked."""
    parameters = _number(source, items, _FILE_PARAMETERS, "<Q", "file parameters")
    block_bytes, flags = parameters & 0xFFFFFFFF, parameters >> 32
    if flags & _HAS_PARENT or _PARENT_LOCATOR in items:
        name = _parent_name(source, items.get(_PARENT_LOCATOR))
        hint = "merge it with its parent and import the result"
        raise source.refuse(f"names a parent {name}", field="parent locator", value=name, hint=hint)
    virtual_bytes = source.virtual_size(_number(source, items, _VIRTUAL_SIZE, "<Q", "virtual size"))
    sector_bytes = _number(source, items, _LOGICAL_SECTOR, "<I", "logical sector size")
    power_of_two = block_bytes & (block_bytes - 1) == 0
    for field, value, fits in (
        ("block size", block_bytes, power_of_two and _MIB <= block_bytes <= 256 * _MIB),
        ("logical sector size", sector_bytes, sector_bytes in (512, 4096)),
        ("virtual size", virtual_bytes, virtual_bytes <= 64 * _TIB),
    ):
        if not fits:
            raise source.refuse(f"has an absurd {field}: {value}", field=field, value=value)
    if virtual_bytes % sector_bytes:
        raise source.refuse(
            f"has a disk of {virtual_bytes} bytes, which is no whole number of sectors",
            field="virtual size",
            value=virtual_bytes,
        )
    _check_block_table(source, bat, virtual_bytes, block_bytes, sector_bytes)
    return virtual_bytes


def _check_block_table(source: Source, bat: _Part, virtual_bytes: int, block_bytes: int, sector_bytes: int) -> None:
    """[MS-VHDX] 2.5: the table has one entry a block, and one a chunk for the sector bitmaps."""
    blocks = -(-virtual_bytes // block_bytes)
    blocks_in_chunk = (1 << 23) * sector_bytes // block_bytes
    entries = blocks + (blocks - 1) // blocks_in_chunk
    if entries * 8 > bat.length:
        raise source.refuse(
            f"claims a disk of {virtual_bytes} bytes, but its block table is too short for it",
            field="block table",
            value=bat.length,
        )


def _number(source: Source, items: dict[UUID, _Part], kind: UUID, layout: str, what: str) -> int:
    part = items.get(kind)
    if part is None or part.length < struct.calcsize(layout):
        raise source.refuse(f"does not tell its {what}", field="metadata", value=kind)
    (number,) = struct.unpack(layout, source.read(part.offset, struct.calcsize(layout), what))
    return int(number)


def _parent_name(source: Source, part: _Part | None) -> str:
    """The parent's path by its locator, as far as that can be read."""
    if part is None or part.length < _LOCATOR.size:
        return "that it does not name"
    data = source.read(part.offset, part.length, "parent locator")
    _, count = _LOCATOR.unpack_from(data)
    pairs: dict[str, str] = {}
    for index in range(min(count, _MAX_LOCATOR_ENTRIES)):
        at = _LOCATOR.size + index * _LOCATOR_ENTRY.size
        if at + _LOCATOR_ENTRY.size > len(data):
            break
        key_at, value_at, key_bytes, value_bytes = _LOCATOR_ENTRY.unpack_from(data, at)
        key, value = data[key_at : key_at + key_bytes], data[value_at : value_at + value_bytes]
        pairs[key.decode("utf-16-le", "replace")] = value.decode("utf-16-le", "replace")
    names = [pairs[key] for key in ("absolute_win32_path", "relative_path", "volume_path") if key in pairs]
    return shown(names[0]) if names else "that it does not name"
