"""VHD (QEMU calls it vpc), by Microsoft's "Virtual Hard Disk Image Format Specification" of 2006.

Rules
-----
1. The footer, the file's last sector, is there and its checksum is right; a dynamic disk has a copy of it in
   front. Without the last one the file is truncated.
2. Fixed and dynamic disks are taken; a differencing disk, or anything that names a parent, is refused.
3. A dynamic disk's block table covers the disk, and every block in it lies within the file.
4. The size is `current size` for the creators in `_EXACT_SIZE`, else the geometry, as QEMU's block/vpc.c has it.
"""

from __future__ import annotations

import struct
import sys
from array import array
from typing import NamedTuple

from guesthouse.formats.diskimage.source import SECTOR_BYTES, Facts, Source, shown

_FOOTER_MAGIC = b"conectix"
_HEADER_MAGIC = b"cxsparse"
_FIXED, _DYNAMIC, _DIFFERENCING = 2, 3, 4
_KINDS = {_FIXED: "fixed", _DYNAMIC: "dynamic"}
_EXACT_SIZE = (b"win ", b"qem2", b"d2v ", b"tap\x00", b"CTXS")
_LARGEST_GEOMETRY = 65535 * 16 * 255
_MAX_SECTORS = 2040 << 21
_UNUSED_BLOCK = 0xFFFFFFFF


class _Footer(NamedTuple):
    magic: bytes
    features: int
    version: int
    header_offset: int
    timestamp: int
    creator: bytes
    creator_version: int
    creator_os: bytes
    original_bytes: int
    current_bytes: int
    cylinders: int
    heads: int
    sectors: int
    kind: int
    checksum: int


class _Header(NamedTuple):
    magic: bytes
    next_offset: int
    table_offset: int
    version: int
    table_entries: int
    block_bytes: int
    checksum: int
    parent_id: bytes
    parent_timestamp: int
    parent_name: bytes
    parent_locators: bytes


_FOOTER_LAYOUT = struct.Struct(">8sIIQI4sI4sQQHBBII444x")
_FOOTER_CHECKSUM_AT = 64
_HEADER_LAYOUT = struct.Struct(">8sQQIIII16sI4x512s192s256x")
_HEADER_CHECKSUM_AT = 36


class Vhd:
    """The format of Virtual PC, Hyper-V before 2012, and Azure."""

    name = "vhd"
    driver = "vpc"

    def recognise(self, head: bytes, tail: bytes) -> bool:
        """A footer at the end, or the copy of a dynamic disk in front."""
        return _FOOTER_MAGIC in (head[:8], tail[:8])

    def read(self, source: Source) -> Facts:
        """The facts of a harmless VHD."""
        end = source.size - SECTOR_BYTES
        source.span(0, SECTOR_BYTES, "footer")
        footer = _read_footer(source, end)
        if footer.kind not in _KINDS:
            what = "a differencing disk" if footer.kind == _DIFFERENCING else f"a VHD of kind {footer.kind}"
            hint = "merge it with its parent and import the result"
            raise source.refuse(f"is {what}", field="disk type", value=footer.kind, hint=hint)
        virtual_bytes = source.virtual_size(_virtual_bytes(source, footer))
        if footer.kind == _FIXED:
            _check_fixed(source, footer)
        else:
            _check_dynamic(source, _read_footer(source, 0), footer, virtual_bytes)
        return Facts(self.name, virtual_bytes, version=footer.version >> 16, variant=_KINDS[footer.kind])


def _read_footer(source: Source, offset: int) -> _Footer:
    data = source.read(offset, SECTOR_BYTES, "footer")
    if data[:8] != _FOOTER_MAGIC:
        raise source.refuse(f"is truncated or damaged: no VHD footer at byte {offset}", field="footer", value=offset)
    _check_sum(source, data, _FOOTER_CHECKSUM_AT, "footer")
    return _Footer._make(_FOOTER_LAYOUT.unpack(data))


def _check_sum(source: Source, data: bytes, at: int, what: str) -> None:
    (stated,) = struct.unpack_from(">I", data, at)
    if stated != ~(sum(data) - sum(data[at : at + 4])) & 0xFFFFFFFF:
        raise source.refuse(f"is damaged: the checksum of its {what} is wrong", field=what, value=stated)


def _virtual_bytes(source: Source, footer: _Footer) -> int:
    sectors = footer.cylinders * footer.heads * footer.sectors
    if footer.creator in _EXACT_SIZE or sectors == _LARGEST_GEOMETRY:
        sectors = footer.current_bytes // SECTOR_BYTES
    if sectors > _MAX_SECTORS:
        raise source.refuse(
            f"claims a disk of {sectors * SECTOR_BYTES} bytes; a VHD holds at most 2040 GiB",
            field="virtual size",
            value=sectors * SECTOR_BYTES,
        )
    return sectors * SECTOR_BYTES


def _check_fixed(source: Source, footer: _Footer) -> None:
    """QEMU takes any file with a footer in front for dynamic, so a fixed disk must not have one."""
    if source.read(0, len(_FOOTER_MAGIC), "first sector") == _FOOTER_MAGIC:
        raise source.refuse("is damaged: its two footers differ", field="footer", value=footer.kind)
    held = source.size - SECTOR_BYTES
    if footer.current_bytes > held:
        raise source.refuse(
            f"is truncated: a disk of {footer.current_bytes} bytes, of which {held} are there",
            field="current size",
            value=footer.current_bytes,
        )


def _check_dynamic(source: Source, front: _Footer, footer: _Footer, virtual_bytes: int) -> None:
    if front != footer:
        raise source.refuse("is damaged: its two footers differ", field="footer", value=front.kind)
    data = source.read(footer.header_offset, _HEADER_LAYOUT.size, "dynamic disk header")
    header = _Header._make(_HEADER_LAYOUT.unpack(data))
    if header.magic != _HEADER_MAGIC:
        raise source.refuse("has no dynamic disk header", field="data offset", value=footer.header_offset)
    _check_sum(source, data, _HEADER_CHECKSUM_AT, "dynamic disk header")
    if any(header.parent_id) or any(header.parent_name) or any(header.parent_locators):
        name = shown(header.parent_name.decode("utf-16-be", "replace").rstrip("\x00"))
        raise source.refuse(f"names a parent {name}", field="parent", value=name)
    if header.block_bytes < SECTOR_BYTES or header.block_bytes & (header.block_bytes - 1):
        raise source.refuse(f"has blocks of {header.block_bytes} bytes", field="block size", value=header.block_bytes)
    if header.table_entries * header.block_bytes < virtual_bytes:
        raise source.refuse(
            f"claims a disk of {virtual_bytes} bytes, but its block table covers "
            f"{header.table_entries * header.block_bytes}",
            field="block table",
            value=header.table_entries,
        )
    _check_blocks(source, header)


def _check_blocks(source: Source, header: _Header) -> None:
    """Every block that the table names, with the bitmap in front of it, lies within the file."""
    table = array("I", source.read(header.table_offset, header.table_entries * 4, "block table"))
    if sys.byteorder == "little":
        table.byteswap()
    last = max((sector for sector in table if sector != _UNUSED_BLOCK), default=None)
    if last is None:
        return
    bitmap_bytes = -(-header.block_bytes // SECTOR_BYTES // 8 // SECTOR_BYTES) * SECTOR_BYTES
    source.span(last * SECTOR_BYTES, bitmap_bytes + header.block_bytes, "last block")
