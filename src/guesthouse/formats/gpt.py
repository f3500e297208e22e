"""The partition table of a disk: GPT with its protective MBR.

Rules
-----
1. A table is written twice, at the head and at the tail of the disk, each with its own checksums; a reader that
   finds one damaged uses the other.
2. Sectors are 512 bytes. Partitions lie between the two tables and do not overlap; order on the disk and number
   are independent, so that the partition which grows can be number 1 and the last on the disk.

Source: UEFI Specification 2.10, chapter 5 (GUID Partition Table disk layout).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

SECTOR_BYTES = 512
BIOS_BOOT = UUID("21686148-6449-6e6f-744e-656564454649")
EFI_SYSTEM = UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
LINUX_ROOT_X86_64 = UUID("4f68bce3-e8cd-4db1-96e7-fbcaf984b709")

_ENTRIES = 128
_ENTRY_BYTES = 128
_ENTRIES_SECTORS = _ENTRIES * _ENTRY_BYTES // SECTOR_BYTES
_HEAD_SECTORS = 2 + _ENTRIES_SECTORS
_TAIL_SECTORS = 1 + _ENTRIES_SECTORS
_HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
_ENTRY = struct.Struct("<16s16sQQQ72s")


class Partition(NamedTuple):
    """One partition: its number (1-128), kind and identity, and where it lies in sectors."""

    number: int
    kind: UUID
    identity: UUID
    first_sector: int
    sectors: int
    name: str = ""

    @property
    def last_sector(self) -> int:
        """The last sector that belongs to it."""
        return self.first_sector + self.sectors - 1


class Tables(NamedTuple):
    """The bytes to write at the start of the disk and those that end it."""

    head: bytes
    tail: bytes


def tables(disk_sectors: int, identity: UUID, partitions: Sequence[Partition]) -> Tables:
    """Both copies of the table; raises `ValueError` when partitions do not fit the disk or each other."""
    first, last = _HEAD_SECTORS, disk_sectors - _TAIL_SECTORS - 1
    _check(partitions, first, last)
    entries = _entries(partitions)

    def header(own: int, other: int, entries_sector: int) -> bytes:
        def packed(checksum: int) -> bytes:
            return _HEADER.pack(
                b"EFI PART", 0x00010000, _HEADER.size, checksum, 0, own, other, first, last,
                identity.bytes_le, entries_sector, _ENTRIES, _ENTRY_BYTES, zlib.crc32(entries),
            )  # fmt: skip

        return packed(zlib.crc32(packed(0))).ljust(SECTOR_BYTES, b"\0")

    final = disk_sectors - 1
    return Tables(
        head=_protective_mbr(disk_sectors) + header(1, final, 2) + entries,
        tail=entries + header(final, 1, final - _ENTRIES_SECTORS),
    )


def _check(partitions: Sequence[Partition], first: int, last: int) -> None:
    free_from = first
    for partition in sorted(partitions, key=lambda partition: partition.first_sector):
        if partition.first_sector < free_from or partition.last_sector > last or partition.sectors < 1:
            raise ValueError(f"partition {partition.number} lies outside the disk or over another")
        free_from = partition.last_sector + 1
    if len({partition.number for partition in partitions}) != len(partitions):
        raise ValueError("two partitions have the same number")


def _entries(partitions: Sequence[Partition]) -> bytes:
    table = bytearray(_ENTRIES * _ENTRY_BYTES)
    for partition in partitions:
        _ENTRY.pack_into(
            table,
            (partition.number - 1) * _ENTRY_BYTES,
            partition.kind.bytes_le,
            partition.identity.bytes_le,
            partition.first_sector,
            partition.last_sector,
            0,
            partition.name.encode("utf-16-le"),
        )
    return bytes(table)


def _protective_mbr(disk_sectors: int) -> bytes:
    """One partition of type 0xEE over the whole disk, for programs that know no GPT."""
    covered = min(disk_sectors - 1, 0xFFFFFFFF)
    entry = struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xEE, b"\xff\xff\xff", 1, covered)
    return bytes(446) + entry.ljust(64, b"\0") + b"\x55\xaa"
