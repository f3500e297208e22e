"""What a disk image's header tells, and reading it without trusting a byte of it.

Rules
-----
1. A format reads through `Source` only: a read outside the file is a refusal, never a short answer.
2. No single read is longer than `LONGEST_READ_BYTES`, whatever a length field says.
3. Numbers of the file are compared as Python integers, which do not overflow.
4. Text of the file is shown quoted and shortened.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from guesthouse.model.errors import Invalid

SECTOR_BYTES = 512
LONGEST_READ_BYTES = 32 << 20
VIRTUAL_LIMIT_BYTES = 64 << 40
_LONGEST_SHOWN = 120


class Reader(Protocol):
    """A file, or anything that can be read like one."""

    @property
    def size(self) -> int:
        """Length in bytes."""

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`; fewer than `length` at the end of the file."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a disk image after its header was read and found harmless.

    `format` is the name in `FORMATS`; `variant` the kind within it (``dynamic``, ``streamOptimized``);
    `virtual_bytes` the size of the disk that a guest sees; `snapshots` those kept inside the file.
    """

    format: str
    virtual_bytes: int
    version: int = 0
    variant: str = ""
    snapshots: int = 0


@dataclass(frozen=True, slots=True)
class Source:
    """A hostile file: its name for messages, its bytes, and the largest disk it may claim to be."""

    name: str
    reader: Reader
    virtual_limit_bytes: int = VIRTUAL_LIMIT_BYTES

    @property
    def size(self) -> int:
        """Length of the file in bytes."""
        return self.reader.size

    def refuse(self, problem: str, *, field: str, value: object = None, hint: str = "") -> Invalid:
        """The error to raise: `problem` goes after the file's name ("names a backing file ...")."""
        return Invalid(f"{self.name} {problem}", subject=self.name, field=field, value=value, hint=hint)

    def span(self, offset: int, length: int, what: str) -> None:
        """Check that `length` bytes at `offset` lie within the file."""
        if offset + length > self.size:
            raise self.refuse(
                f"is truncated or damaged: its {what} would end at byte {offset + length}, the file at {self.size}",
                field=what,
                value=offset,
                hint="download or copy it again",
            )

    def read(self, offset: int, length: int, what: str) -> bytes:
        """Exactly `length` bytes at `offset`; raises `Invalid` where they are not there."""
        if length > LONGEST_READ_BYTES:
            raise self.refuse(f"has an absurdly large {what}: {length} bytes", field=what, value=length)
        self.span(offset, length, what)
        data = self.reader.read_at(offset, length)
        if len(data) != length:
            raise self.refuse(f"changed while it was read: its {what} is gone", field=what, value=offset)
        return data

    def virtual_size(self, virtual_bytes: int) -> int:
        """Check the size of the disk that the file claims to be."""
        if virtual_bytes > self.virtual_limit_bytes:
            raise self.refuse(
                f"claims a disk of {virtual_bytes} bytes; the limit is {self.virtual_limit_bytes}",
                field="virtual size",
                value=virtual_bytes,
            )
        if virtual_bytes == 0:
            raise self.refuse("claims a disk of 0 bytes", field="virtual size", value=0)
        return virtual_bytes


def shown(text: bytes | str) -> str:
    """Text from a hostile file, quoted for a message: one line, no control characters, not too long."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    return ascii(text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "...")
