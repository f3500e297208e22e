"""A file from outside becomes a private copy of ours, uncompressed, before anybody looks at it closely.

Rules
-----
1. What is checked and what is converted are the same bytes: a copy that nobody else can change meanwhile.
2. The copy is cheap where it can be: shared blocks (FICLONE), holes stay holes, zeros become holes.
3. A checksum is that of the file as it came, compressed or not, and is verified before the copy is used.
4. The limits hold while bytes flow, not afterwards.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import itertools
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from guesthouse.formats import checksum as sums
from guesthouse.formats import compression as packing
from guesthouse.formats.checksum import Checksum
from guesthouse.formats.compression import Compression
from guesthouse.model.errors import Invalid, NoCapacity, NotFound
from guesthouse.ports import Progress

_PIECE_BYTES = 1 << 20
_PIECES_AT_ONCE = 16
_FICLONE = 0x40049409  # linux/fs.h
_ZEROS = bytes(_PIECE_BYTES)


@dataclass(frozen=True, slots=True)
class FileReader:
    """A file as the readers of `formats.diskimage` want it."""

    descriptor: int

    @property
    def size(self) -> int:
        """Length in bytes."""
        return os.fstat(self.descriptor).st_size

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`; fewer at the end of the file."""
        if offset > self.size:
            return b""
        return os.pread(self.descriptor, length, offset)


def open_regular(path: Path, name: str) -> BinaryIO:
    """Open a file from outside for reading; refuses what is no regular file, without waiting for it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {path}", subject=name, field="file", value=path) from error
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}", subject=name, field="file", value=path) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Invalid(f"{path} is no regular file", subject=name, field="file", value=path)
    return os.fdopen(descriptor, "rb", buffering=0)


def recognise(file: BinaryIO) -> Compression | None:
    """The outer compression of an open file."""
    return packing.recognise(os.pread(file.fileno(), 16, 0))


async def take(
    source: BinaryIO,
    target: Path,
    *,
    name: str,
    unpack: Compression | None,
    expected: Checksum | None,
    limit_bytes: int,
    progress: Progress,
) -> None:
    """Copy `source` to `target`, unpacked if told, its checksum verified.

    Raises `Invalid` where the data is damaged, too large or not what was expected, `NoCapacity` on a full disk.
    """
    size = os.fstat(source.fileno()).st_size
    if unpack is None and size > limit_bytes:
        raise Invalid(f"{name} has {size} bytes; the limit is {limit_bytes}", subject=name, field="size", value=size)
    try:
        with target.open("xb", buffering=0) as copy:
            if unpack is None and expected is None and _share(source, copy):
                return
            hasher = sums.Hasher(expected) if expected else None
            pieces = _pieces(source, size, name, unpack, hasher, limit_bytes)
            await _pump(pieces, copy, source, size, "unpacking" if unpack else "copying", progress)
            copy.truncate(copy.tell() if unpack else size)
            if os.fstat(source.fileno()).st_size != size:
                raise Invalid(f"{name} changed while it was copied", subject=name, field="file", hint="try again")
            if hasher and expected:
                sums.verify(name, hasher.checksum(expected.algorithm), expected)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoCapacity(
                f"no room for {name} in {target.parent}", subject=name, hint="make room and try again"
            ) from error
        raise


def _pieces(
    source: BinaryIO, size: int, name: str, unpack: Compression | None, hasher: sums.Hasher | None, limit_bytes: int
) -> Iterator[tuple[int, bytes]]:
    """What belongs into the copy, with its place; a sum needs every byte, else holes are skipped."""
    if unpack is not None:
        chunks = _whole(source, size, hasher)
        return _placed(packing.unpack(unpack, chunks, name=name, limit_bytes=limit_bytes))
    return _placed(_whole(source, size, hasher)) if hasher else _data_only(source, size)


async def _pump(
    pieces: Iterator[tuple[int, bytes]],
    copy: BinaryIO,
    source: BinaryIO,
    size: int,
    phase: str,
    progress: Progress,
) -> None:
    """Write the pieces from a thread, some at a time, telling how much of the source was read."""
    progress(phase, 0.0)
    while await asyncio.to_thread(_write_some, pieces, copy):
        progress(phase, 100.0 * min(1.0, source.tell() / max(1, size)))
    progress(phase, 100.0)


def _write_some(pieces: Iterator[tuple[int, bytes]], copy: BinaryIO) -> bool:
    """Write the next pieces, all zeros as a hole; whether there were any."""
    count = 0
    for offset, piece in itertools.islice(pieces, _PIECES_AT_ONCE):
        count += 1
        copy.seek(offset)
        if piece == _ZEROS[: len(piece)]:
            copy.seek(offset + len(piece))
            continue
        view = memoryview(piece)
        while view:
            view = view[copy.write(view) :]
    return count > 0


def _share(source: BinaryIO, copy: BinaryIO) -> bool:
    """Let the copy share the blocks of the source, on file systems that can (btrfs, XFS, bcachefs)."""
    try:
        fcntl.ioctl(copy.fileno(), _FICLONE, source.fileno())
    except OSError:
        return False
    return True


def _whole(source: BinaryIO, size: int, hasher: sums.Hasher | None) -> Iterator[bytes]:
    """The first `size` bytes in order, holes as zeros; a file that grows meanwhile is not followed."""
    source.seek(0)
    while chunk := source.read(min(_PIECE_BYTES, size - source.tell())):
        if hasher is not None:
            hasher.update(chunk)
        yield chunk


def _placed(chunks: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    offset = 0
    for chunk in chunks:
        yield offset, chunk
        offset += len(chunk)


def _data_only(source: BinaryIO, size: int) -> Iterator[tuple[int, bytes]]:
    """What is stored of the first `size` bytes of a sparse file, with its place; see SEEK_DATA in lseek(2)."""
    descriptor, offset = source.fileno(), 0
    while offset < size:
        try:
            start = os.lseek(descriptor, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        offset = min(size, os.lseek(descriptor, start, os.SEEK_HOLE))
        for position in range(start, offset, _PIECE_BYTES):
            source.seek(position)
            yield position, source.read(min(_PIECE_BYTES, offset - position))
