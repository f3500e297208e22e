"""What we read of a disk of our own: its virtual size, without a program's help.

A disk's header was made by us, but a QEMU wrote to the file since, and its guest is a stranger. So a header that
now points to another file is refused before any program opens it. What lies under a disk is never taken from
its header either: it is named anew each time.

Source: QEMU's docs/interop/qcow2.txt, "Header" and "incompatible_features".
"""

from __future__ import annotations

import struct

from guesthouse.model.errors import Failed
from guesthouse.model.machine import DiskFormat

HEADER_BYTES = 104
_HEADER = struct.Struct(">4sI16xQ40xQ")  # magic, version, virtual size, incompatible features
_MAGIC = b"QFI\xfb"
_EXTERNAL_DATA = 1 << 2


def virtual_bytes(format: DiskFormat, head: bytes, file_bytes: int) -> int:
    """The size that a guest sees, from the first `HEADER_BYTES` and the file's length; raises `Failed`."""
    if format is DiskFormat.RAW:
        return file_bytes
    if len(head) < _HEADER.size:
        raise Failed("the disk is truncated: it has no whole qcow2 header")
    magic, version, size, incompatible = _HEADER.unpack_from(head)
    if magic != _MAGIC or version != 3:
        raise Failed("the disk is damaged: it has no qcow2 header of version 3")
    if incompatible & _EXTERNAL_DATA:
        raise Failed("the disk's header names another file for its data: we never made it so", field="data-file")
    return int(size)
