"""The file of a download that is not finished: its bytes, its sum so far, and how to go on with it.

Rules
-----
1. ``NAME.partial`` holds the bytes, ``NAME.partial.json`` says of which version of which URL; both beside NAME.
2. It can be continued only where the server can be asked for the very same version: a strong ETag, or the time of
   its last change (RFC 9110 §13.1.5, If-Range).
3. One download at a time writes it (flock).
4. It becomes NAME after its sum was verified and its bytes are durable. A wrong sum removes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

from guesthouse.formats import checksum as sums
from guesthouse.formats.checksum import Checksum, Hasher
from guesthouse.host import durable
from guesthouse.model.errors import Conflict, Invalid, NoCapacity

_PIECE_BYTES = 4 << 20


class Partial:
    """An open, locked partial file; made by `opened`."""

    def __init__(self, file: BinaryIO, destination: Path, url: str, expected: Checksum | None) -> None:
        self.path = _partial_path(destination)
        self.size = 0
        self.validator = ""
        self._note = _note_path(destination)
        self._file = file
        self._destination = destination
        self._url = hashlib.sha256(url.encode()).hexdigest()
        self._expected = expected
        self._hasher = Hasher(expected)

    async def recall(self) -> None:
        """Take up what an earlier download left, where it can be continued; else begin anew."""
        self.validator = await asyncio.to_thread(self._noted)
        if not self.validator:
            await asyncio.to_thread(self._cut)
            return
        self._file.seek(0)
        while piece := await asyncio.to_thread(self._file.read, _PIECE_BYTES):
            await asyncio.to_thread(self._hasher.update, piece)
            self.size += len(piece)

    async def begin(self, validator: str) -> None:
        """Forget all bytes; what comes now is the version that `validator` names ("": one that has no name)."""
        await asyncio.to_thread(self._cut)
        self.validator = validator
        if validator:
            note = json.dumps({"url": self._url, "validator": validator}).encode()
            await asyncio.to_thread(durable.write_whole, self._note, note)

    async def add(self, data: bytes) -> None:
        """Write the next bytes; raises `NoCapacity` on a full disk."""
        try:
            await asyncio.to_thread(self._write, data)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise NoCapacity(
                    f"no room for {self._destination.name} in {self._destination.parent}",
                    subject=self._destination.name,
                    hint="make room and run it again: it goes on where it stopped",
                ) from error
            raise

    async def finish(self) -> Checksum:
        """Verify the sum and give the file its name; its sha256. A wrong sum removes it and raises `Invalid`."""
        if self._expected is not None:
            try:
                actual = self._hasher.checksum(self._expected.algorithm)
                sums.verify(self._destination.name, actual, self._expected)
            except Invalid:
                await asyncio.to_thread(self._remove)
                raise
        await asyncio.to_thread(durable.put_in_place, self.path, self._destination)
        await asyncio.to_thread(self._note.unlink, missing_ok=True)
        return self._hasher.checksum()

    def _noted(self) -> str:
        try:
            note = json.loads(self._note.read_bytes())
            return str(note["validator"]) if note["url"] == self._url else ""
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return ""

    def _cut(self) -> None:
        self._note.unlink(missing_ok=True)
        self._file.seek(0)
        self._file.truncate()
        self._hasher = Hasher(self._expected)
        self.size = 0
        self.validator = ""

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = self._file.write(view)
            self._hasher.update(view[:written])
            self.size += written
            view = view[written:]

    def _remove(self) -> None:
        self._note.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)


@contextlib.asynccontextmanager
async def opened(destination: Path, url: str, expected: Checksum | None) -> AsyncIterator[Partial]:
    """The partial file of `destination`; raises `Conflict` while another download writes it."""
    file = await asyncio.to_thread(_open_locked, destination)
    try:
        partial = Partial(file, destination, url, expected)
        await partial.recall()
        yield partial
    finally:
        file.close()
        await asyncio.to_thread(_forget_useless, destination)


def discard(destination: Path) -> None:
    """Remove what an unfinished download of `destination` left."""
    for path in (_note_path(destination), _partial_path(destination)):
        path.unlink(missing_ok=True)


def _partial_path(destination: Path) -> Path:
    return destination.with_name(destination.name + ".partial")


def _note_path(destination: Path) -> Path:
    return destination.with_name(destination.name + ".partial.json")


def _open_locked(destination: Path) -> BinaryIO:
    path = _partial_path(destination)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.fdopen(os.open(path, flags, 0o600), "r+b", buffering=0)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever held the lock may have finished meanwhile; then this file has another name by now.
        if not path.exists() or not os.path.samestat(path.stat(), os.fstat(file.fileno())):
            raise BlockingIOError
    except BlockingIOError as error:
        file.close()
        raise Conflict(
            f"{destination.name} is being downloaded already", subject=destination.name, hint="wait for that one"
        ) from error
    return file


def _forget_useless(destination: Path) -> None:
    """Leave only what the next call can continue."""
    if not _note_path(destination).exists():
        discard(destination)
