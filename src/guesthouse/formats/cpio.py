"""Archives in the "newc" form of cpio, which the Linux kernel unpacks as its first root file system.

Rules
-----
1. The same entries give the same bytes: sorted by name, no times, owner 0, inode numbers by position.
2. A parent folder comes before what is in it; a missing one is made with mode 0755.
3. A name is relative to the root, plain (`etc/passwd`), and occurs once.

Source: Documentation/driver-api/early-userspace/buffer-format.rst of the Linux kernel.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from guesthouse.model.errors import Invalid

_ALIGNMENT_BYTES = 4
_LARGEST_BYTES = (1 << 32) - 1
_TRAILER = "TRAILER!!!"


class Entry(NamedTuple):
    """One file, folder, link or device: `mode` is a whole st_mode, a link's `data` is where it points.

    `device` is major and minor number of a device node.
    """

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def folder(name: str, permissions: int = 0o755) -> Entry:
    """A folder, by default one that all may enter."""
    return Entry(name, stat.S_IFDIR | permissions)


def file(name: str, data: bytes, permissions: int = 0o644) -> Entry:
    """A plain file."""
    return Entry(name, stat.S_IFREG | permissions, data)


def link(name: str, target: str) -> Entry:
    """A symbolic link to `target`."""
    return Entry(name, stat.S_IFLNK | 0o777, target.encode())


def character_device(name: str, major: int, minor: int, permissions: int = 0o600) -> Entry:
    """A node of a character device."""
    return Entry(name, stat.S_IFCHR | permissions, device=(major, minor))


def archive(entries: Iterable[Entry]) -> bytes:
    """All entries and their parents. Raises `Invalid` for a name that is not plain or that occurs twice."""
    members = [_member(number, entry) for number, entry in enumerate(_with_parents(entries), start=1)]
    return b"".join([*members, _member(0, Entry(_TRAILER, 0))])


def _with_parents(entries: Iterable[Entry]) -> list[Entry]:
    found: dict[str, Entry] = {}
    for entry in entries:
        if not _is_plain(entry.name):
            raise Invalid(f"{entry.name!r} is not a plain name inside an archive", field="name", value=entry.name)
        if entry.name in found:
            raise Invalid(f"{entry.name!r} is twice in the archive", field="name", value=entry.name)
        found[entry.name] = entry
    for name in list(found):
        for parent in _parents(name):
            found.setdefault(parent, folder(parent))
    return [found[name] for name in sorted(found, key=lambda name: name.split("/"))]


def _is_plain(name: str) -> bool:
    return "\0" not in name and name != _TRAILER and not {"", ".", ".."} & set(name.split("/"))


def _parents(name: str) -> Iterator[str]:
    parts = name.split("/")
    return ("/".join(parts[:length]) for length in range(1, len(parts)))


def _member(number: int, entry: Entry) -> bytes:
    if len(entry.data) > _LARGEST_BYTES:
        raise Invalid(f"{entry.name!r} is larger than 4 GiB", field="data", value=len(entry.data))
    name = entry.name.encode() + b"\0"
    fields = (
        number,
        entry.mode,
        0,  # owner
        0,  # group
        2 if stat.S_ISDIR(entry.mode) else 1,  # links
        0,  # time
        len(entry.data),
        0,  # device the file lies on: major and minor
        0,
        *entry.device,
        len(name),
        0,  # check sum, of the "crc" form only
    )
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return _padded(header + name) + _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGNMENT_BYTES)
