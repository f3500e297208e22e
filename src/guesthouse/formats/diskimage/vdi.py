"""VDI, VirtualBox's format, by its header VDICore.h and QEMU's block/vdi.c (there is no other specification).

Rules
-----
1. Dynamic and fixed images are taken; undo and differencing images, and any that names a parent or a linked
   image by UUID, are refused.
2. The block map covers the disk and lies within the file, and so do the blocks that are said to be allocated.
3. Blocks have 1 MiB, sectors 512 bytes: QEMU reads nothing else.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from guesthouse.formats.diskimage.source import SECTOR_BYTES, Facts, Source

_SIGNATURE = 0xBEDA107F
_SIGNATURE_AT = 64
_VERSION = 0x00010001
_KINDS = {1: "dynamic", 2: "fixed"}
_REFUSED_KINDS = {3: "an undo image", 4: "a differencing image"}
_BLOCK_BYTES = 1 << 20
_MAX_BLOCKS = 0x3FFFFFFF
_NO_UUID = bytes(16)


class _Header(NamedTuple):
    text: bytes
    signature: int
    version: int
    header_bytes: int
    kind: int
    flags: int
    description: bytes
    map_offset: int
    data_offset: int
    cylinders: int
    heads: int
    sectors: int
    sector_bytes: int
    virtual_bytes: int
    block_bytes: int
    block_extra_bytes: int
    blocks: int
    allocated: int
    image_uuid: bytes
    snapshot_uuid: bytes
    link_uuid: bytes
    parent_uuid: bytes


_LAYOUT = struct.Struct("<64sIIIII256sIIIIII4xQIIII16s16s16s16s56x")


class Vdi:
    """VirtualBox's own format."""

    name = "vdi"
    driver = "vdi"

    def recognise(self, head: bytes, tail: bytes) -> bool:
        """The signature behind the text in front."""
        return head[_SIGNATURE_AT : _SIGNATURE_AT + 4] == struct.pack("<I", _SIGNATURE)

    def read(self, source: Source) -> Facts:
        """The facts of a harmless VDI."""
        header = _Header._make(_LAYOUT.unpack(source.read(0, _LAYOUT.size, "header")))
        _check_kind(source, header)
        _check_numbers(source, header)
        virtual_bytes = source.virtual_size(header.virtual_bytes)
        _check_blocks(source, header)
        return Facts(self.name, virtual_bytes, version=header.version >> 16, variant=_KINDS[header.kind])


def _check_kind(source: Source, header: _Header) -> None:
    if header.version != _VERSION:
        raise source.refuse(
            f"is VDI of version {header.version >> 16}.{header.version & 0xFFFF}",
            field="version",
            value=header.version,
        )
    if header.kind not in _KINDS:
        what = _REFUSED_KINDS.get(header.kind, f"a VDI of kind {header.kind}")
        hint = "clone it in VirtualBox to one whole image"
        raise source.refuse(f"is {what}", field="image type", value=header.kind, hint=hint)
    for field, uuid in (("parent", header.parent_uuid), ("link", header.link_uuid)):
        if uuid != _NO_UUID:
            raise source.refuse(f"names a {field} image {uuid.hex()}", field=f"{field} UUID", value=uuid.hex())


def _check_numbers(source: Source, header: _Header) -> None:
    for field, value, fits in (
        ("sector size", header.sector_bytes, header.sector_bytes == SECTOR_BYTES),
        ("block size", header.block_bytes, header.block_bytes == _BLOCK_BYTES),
        ("block count", header.blocks, header.blocks <= _MAX_BLOCKS),
        ("allocated blocks", header.allocated, header.allocated <= header.blocks),
        ("block map offset", header.map_offset, header.map_offset % SECTOR_BYTES == 0),
        ("data offset", header.data_offset, header.data_offset % SECTOR_BYTES == 0),
    ):
        if not fits:
            raise source.refuse(f"has an absurd {field}: {value}", field=field, value=value)
    if header.blocks * header.block_bytes < header.virtual_bytes:
        raise source.refuse(
            f"claims a disk of {header.virtual_bytes} bytes, but its block map covers "
            f"{header.blocks * header.block_bytes}",
            field="block map",
            value=header.blocks,
        )


def _check_blocks(source: Source, header: _Header) -> None:
    source.span(header.map_offset, header.blocks * 4, "block map")
    source.span(header.data_offset, header.allocated * header.block_bytes, "allocated blocks")
