"""What we read of a disk of our own: its virtual size and what it lies on, without a program's help.

A disk's header was made by us, but a QEMU wrote to the file since, and its guest is a stranger. So a header that
now points to another file for its data is refused before any program opens it. What lies under a disk is named anew
each time; its header only tells which of the disk's own layers that is.

Source: QEMU's docs/interop/qcow2.txt, "Header" and "incompatible_features".
"""

from __future__ import annotations

import struct

from guesthouse.model.errors import Failed
from guesthouse.model.machine import DiskFormat

HEADER_BYTES = 104
CLUSTER_BYTES = 1 << 16
"""qemu-img's own choice: header, its extensions and the name of what lies under the disk are in the first cluster."""
_HEADER = struct.Struct(">4sI16xQ40xQ")  # magic, version, virtual size, incompatible features
_NAMES = struct.Struct(">8xQI")  # magic and version, offset and length of the backing file's name
_LONGEST_NAME = 1023
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


def backing_name(head: bytes) -> str:
    """The name of the file under it that a qcow2 header has, empty where it has none; `head` is its first cluster.

    Only to be compared with names that we know: nobody opens what is called so in a header.
    """
    if len(head) < _NAMES.size:
        return ""
    offset, length = _NAMES.unpack_from(head)
    if not offset or length > _LONGEST_NAME or offset + length > len(head):
        return ""
    return head[offset : offset + length].decode(errors="replace")
