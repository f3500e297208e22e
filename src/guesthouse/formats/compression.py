"""Compressed files: recognised by their first bytes, unpacked as a stream that cannot grow without bound.

Rules
-----
1. What is inside may be a bomb: never more than `limit_bytes` come out, never more than a piece at a time.
2. A compressed file that ends early or is damaged is refused; several members in a row are one file.
3. zstd is recognised here and unpacked by its program: Python 3.11 has no module for it.

Formats: gzip RFC 1952, xz (tukaani.org/xz/xz-file-format.txt), bzip2, zstd RFC 8878.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from guesthouse.model.errors import Invalid

_PIECE_BYTES = 1 << 20
_XZ_MEMORY_BYTES = 256 << 20
_DAMAGED = (zlib.error, lzma.LZMAError, OSError, ValueError, EOFError)


class _Member(Protocol):
    """The unpacker of one compressed stream, as bz2 and lzma have it."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _GzipMember:
    """zlib's unpacker in the manner of bz2's: it keeps the input that it has not used yet."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        self._filled = False  # zlib may hold output back although it has used up the input

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not (self._inner.eof or self._inner.unconsumed_tail or self._filled)

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        piece = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        self._filled = len(piece) == max_length
        return piece


@dataclass(frozen=True, slots=True)
class Compression:
    """A row: `member` makes an unpacker; None where the program `name` has to do it."""

    name: str
    suffix: str
    magic: bytes
    member: Callable[[], _Member] | None = None


COMPRESSIONS: tuple[Compression, ...] = (
    Compression("gzip", ".gz", b"\x1f\x8b\x08", _GzipMember),
    Compression("xz", ".xz", b"\xfd7zXZ\x00", lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY_BYTES)),
    Compression("bzip2", ".bz2", b"BZh", bz2.BZ2Decompressor),
    Compression("zstd", ".zst", b"\x28\xb5\x2f\xfd"),
)


def recognise(head: bytes) -> Compression | None:
    """The compression that the first bytes of a file show, or None."""
    return next((row for row in COMPRESSIONS if head.startswith(row.magic)), None)


def unpack(compression: Compression, chunks: Iterable[bytes], *, name: str, limit_bytes: int) -> Iterator[bytes]:
    """What `chunks` hold, in pieces of at most 1 MiB; `name` is the file's, for messages.

    Raises `Invalid` when the data is damaged or ends early, or when more than `limit_bytes` would come out.
    """
    if compression.member is None:
        raise ValueError(f"{compression.name} is unpacked by its program")
    total = 0
    for piece in _pieces(compression.member, chunks, name, compression.name):
        total += len(piece)
        if total > limit_bytes:
            raise too_large(name, limit_bytes)
        yield piece


def too_large(name: str, limit_bytes: int) -> Invalid:
    """The error for a file that unpacks to more than is allowed."""
    return Invalid(
        f"{name} unpacks to more than {limit_bytes} bytes",
        subject=name,
        field="unpacked size",
        value=limit_bytes,
        hint="unpack it yourself and look at it first",
    )


def _pieces(make_member: Callable[[], _Member], chunks: Iterable[bytes], name: str, kind: str) -> Iterator[bytes]:
    member = make_member()
    fed = False
    try:
        for chunk in chunks:
            data = chunk
            while data or not member.needs_input:
                if member.eof:
                    # Zeros after the last member are padding, as tape and xz have it; else a new one begins.
                    data = (member.unused_data + data).lstrip(b"\x00")
                    if not data:
                        break
                    member, fed = make_member(), False
                piece = member.decompress(data, _PIECE_BYTES)
                data, fed = b"", True
                if piece:
                    yield piece
    except _DAMAGED as error:
        raise Invalid(f"{name} is damaged: {kind} says {error}", subject=name, field="compression") from error
    if not member.eof or not fed:
        raise Invalid(
            f"{name} is truncated: its {kind} data ends early",
            subject=name,
            field="compression",
            hint="download or copy it again",
        )
