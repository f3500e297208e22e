"""A tar archive from the same entries as `formats.cpio` takes: owner root, dated 0, in the order given."""

from __future__ import annotations

import io
import stat
import tarfile
from collections.abc import Iterable

from guesthouse.formats.cpio import Entry

_KINDS = {stat.S_IFREG: tarfile.REGTYPE, stat.S_IFDIR: tarfile.DIRTYPE, stat.S_IFLNK: tarfile.SYMTYPE}


def archive(entries: Iterable[Entry]) -> bytes:
    """Files, folders and links as a POSIX tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry in entries:
            member = tarfile.TarInfo(entry.name)
            member.type = _KINDS[stat.S_IFMT(entry.mode)]
            member.mode = stat.S_IMODE(entry.mode)
            member.uname = member.gname = "root"
            if stat.S_ISLNK(entry.mode):
                member.linkname = entry.data.decode()
                tar.addfile(member)
            else:
                member.size = len(entry.data)
                tar.addfile(member, io.BytesIO(entry.data))
    return buffer.getvalue()
