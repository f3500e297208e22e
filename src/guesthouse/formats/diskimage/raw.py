"""Raw: the bytes of the disk, no header. Recognised by its partition table (MBR, or GPT by UEFI 2.10 §5.3).

Rules
-----
1. An MBR counts if it has the signature 55 AA, sane boot flags and at least one partition.
2. A GPT names the sector of its backup, which is the last of the disk: behind the end means truncated.
3. QEMU rounds the size up to whole sectors; so does `virtual_bytes`.
"""

from __future__ import annotations

import struct

from guesthouse.formats.diskimage.source import SECTOR_BYTES, Facts, Source

_GPT = b"EFI PART"
_GPT_SECTOR_BYTES = (512, 4096)
_BACKUP_SECTOR = struct.Struct("<Q")
_BACKUP_SECTOR_AT = 32


class Raw:
    """A disk without any header."""

    name = "raw"
    driver = "raw"

    def recognise(self, head: bytes, tail: bytes) -> bool:
        """Whether the head holds a partition table."""
        return _gpt_sector_bytes(head) is not None or _has_mbr(head)

    def read(self, source: Source) -> Facts:
        """The size is the file's; the variant is the kind of partition table, where there is one."""
        head = source.reader.read_at(0, 8192)
        sector_bytes = _gpt_sector_bytes(head)
        if sector_bytes is not None:
            (backup,) = _BACKUP_SECTOR.unpack_from(head, sector_bytes + _BACKUP_SECTOR_AT)
            source.span(backup * sector_bytes, sector_bytes, "backup partition table")
        variant = "gpt" if sector_bytes else "mbr" if _has_mbr(head) else ""
        sectors = -(-source.size // SECTOR_BYTES)
        return Facts(self.name, source.virtual_size(sectors * SECTOR_BYTES), variant=variant)


def _gpt_sector_bytes(head: bytes) -> int | None:
    """The sector size by which a GPT header is found, None where there is none."""
    for size in _GPT_SECTOR_BYTES:
        if head[size : size + len(_GPT)] == _GPT and len(head) >= size + SECTOR_BYTES:
            return size
    return None


def _has_mbr(head: bytes) -> bool:
    partitions = [head[start : start + 16] for start in range(446, 510, 16)]
    return (
        head[510:512] == b"\x55\xaa"
        and all(partition[0] in (0x00, 0x80) for partition in partitions)
        and any(partition[4] for partition in partitions)
    )
