"""Access lists of files: which further groups may read a folder.

Source: Linux, include/uapi/linux/posix_acl_xattr.h and posix_acl.h; acl(5).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

ATTRIBUTE = "system.posix_acl_access"
_VERSION = 2
_HEADER, _ENTRY = struct.Struct("<I"), struct.Struct("<HHI")
_OWNER, _GROUP_OWNER, _GROUP, _MASK, _OTHERS = 0x01, 0x04, 0x08, 0x10, 0x20
_NOBODY = 0xFFFF_FFFF
_READ_AND_PASS = 5


class Entry(NamedTuple):
    """Who (a tag, and a group where that says so), and what: read 4, write 2, pass 1."""

    tag: int
    may: int
    id: int = _NOBODY


def with_group(listed: bytes, mode: int, group: int) -> bytes:
    """The list of a folder by which one more group may read it; `listed` is the one that it has, b"" for none.

    Without a list the permission bits of its `mode` are its first entries.
    """
    entries = read(listed) if listed else _of_mode(mode)
    others = [each for each in entries if each.tag != _MASK and (each.tag, each.id) != (_GROUP, group)]
    wanted = [*others, Entry(_GROUP, _READ_AND_PASS, group)]
    # What a group may at most is what the folder's own may, too: nobody gets less by the list.
    mask = _READ_AND_PASS | next((each.may for each in others if each.tag == _GROUP_OWNER), 0)
    return write([*wanted, Entry(_MASK, mask)])


def read(listed: bytes) -> list[Entry]:
    """The entries of a list as the kernel gives it; raises `ValueError`."""
    if len(listed) < _HEADER.size or _HEADER.unpack_from(listed)[0] != _VERSION:
        raise ValueError("no access list of version 2")
    try:
        return [Entry(*fields) for fields in _ENTRY.iter_unpack(listed[_HEADER.size :])]
    except struct.error as error:
        raise ValueError(f"a broken access list: {error}") from error


def write(entries: list[Entry]) -> bytes:
    """A list as the kernel takes it: its entries in order."""
    return _HEADER.pack(_VERSION) + b"".join(
        _ENTRY.pack(*each) for each in sorted(entries, key=lambda e: (e.tag, e.id))
    )


def _of_mode(mode: int) -> list[Entry]:
    return [
        Entry(_OWNER, mode >> 6 & 7),
        Entry(_GROUP_OWNER, mode >> 3 & 7),
        Entry(_OTHERS, mode & 7),
    ]
