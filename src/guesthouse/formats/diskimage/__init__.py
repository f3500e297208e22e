"""Headers of disk images from outside: recognise the format, read its facts, refuse what is not harmless.

Rules
-----
1. Every image from outside is hostile. Nothing in it is believed before it has been checked against the
   file's length, the format's specification and our limits; a refusal is `Invalid`, never another exception.
2. An image is one file. One that names another (backing file, external data file, extent, parent; by path,
   ``json:`` or URL) is refused, and the message names it.
3. An encrypted, damaged, truncated or not cleanly closed image is refused: what came out would be silently wrong.
4. ``raw`` is never a fallback for what was not recognised: the file shows a partition table, or the user
   says ``raw``. What the user says must not contradict what the file shows. Nor does a file called ``.vhd`` that
   shows a partition table pass for raw: a fixed VHD without its footer, so truncated, looks like that.
5. Where QEMU and the specification differ, QEMU's reading counts: it is the one that will convert the file.
6. The work is bounded: a few reads, tables of at most 32 MiB, no recursion.

A format is one file with one class: `name`, `driver` (its name in QEMU), `recognise` and `read`.
"""

from __future__ import annotations

from typing import Protocol

from guesthouse.formats.diskimage.foreign import FOREIGN
from guesthouse.formats.diskimage.qcow2 import Qcow2
from guesthouse.formats.diskimage.raw import Raw
from guesthouse.formats.diskimage.source import SECTOR_BYTES, VIRTUAL_LIMIT_BYTES, Facts, Reader, Source
from guesthouse.formats.diskimage.vdi import Vdi
from guesthouse.formats.diskimage.vhd import Vhd
from guesthouse.formats.diskimage.vhdx import Vhdx
from guesthouse.formats.diskimage.vmdk import Vmdk
from guesthouse.model.errors import Invalid

__all__ = ["FORMATS", "VIRTUAL_LIMIT_BYTES", "Facts", "Format", "Reader", "Source", "read_facts", "recognise"]

HEAD_BYTES = 8192


class Format(Protocol):
    """One disk-image format: `name` for people, `driver` for QEMU."""

    name: str
    driver: str

    def recognise(self, head: bytes, tail: bytes) -> bool:
        """Whether the file's first 8192 and last 512 bytes (fewer in a small file) look like this format."""

    def read(self, source: Source) -> Facts:
        """The facts of the header; raises `Invalid` where it is broken, absurd or points elsewhere."""


# Raw comes last: any format's content may look like a partition table, a footer may follow one.
FORMATS: dict[str, Format] = {format.name: format for format in (Qcow2(), Vmdk(), Vhdx(), Vdi(), Vhd(), Raw())}


def recognise(reader: Reader) -> Format | None:
    """The format that the file shows, or None."""
    head = reader.read_at(0, HEAD_BYTES)
    tail = reader.read_at(max(0, reader.size - SECTOR_BYTES), SECTOR_BYTES)
    return next((format for format in FORMATS.values() if format.recognise(head, tail)), None)


def read_facts(
    reader: Reader,
    *,
    name: str,
    declared_format: str | None = None,
    virtual_limit_bytes: int = VIRTUAL_LIMIT_BYTES,
) -> Facts:
    """Read and check the header of the file called `name`.

    `declared_format` is what the user says it is (a name in `FORMATS`), None to recognise it. Raises `Invalid`,
    naming what is wrong, for everything that is not a harmless image of that format.
    """
    source = Source(name, reader, virtual_limit_bytes)
    if declared_format is not None and declared_format not in FORMATS:
        raise Invalid(
            f"unknown disk format {declared_format}",
            field="format",
            value=declared_format,
            hint=f"one of {', '.join(FORMATS)}",
        )
    if reader.size == 0:
        raise source.refuse("is empty", field="size", value=0)
    shows = recognise(reader)
    if declared_format is not None:
        return _as_declared(source, FORMATS[declared_format], shows)
    if shows is None:
        raise _unknown(source)
    if shows.name == "raw":
        _check_suffix(source)
    return shows.read(source)


def _as_declared(source: Source, declared: Format, shows: Format | None) -> Facts:
    """A raw disk may show nothing at all; every other pair must agree."""
    if shows is declared or (shows is None and declared.name == "raw"):
        return declared.read(source)
    raise source.refuse(
        f"is said to be {declared.name}, but " + (f"is {shows.name}" if shows else "does not look like it"),
        field="format",
        value=declared.name,
        hint=f"say {shows.name}, or leave the format out" if shows else "leave the format out to have it recognised",
    )


def _check_suffix(source: Source) -> None:
    suffix = source.name.rpartition(".")[2].lower()
    if suffix in FORMATS and suffix != "raw":
        raise source.refuse(
            f"is called .{suffix}, but shows only a partition table: truncated, or raw",
            field="format",
            value=suffix,
            hint="copy it again, or say raw if that is what it is",
        )


def _unknown(source: Source) -> Invalid:
    head = source.reader.read_at(0, HEAD_BYTES)
    foreign = next((row for row in FOREIGN if head[row.offset :].startswith(row.magic)), None)
    if foreign is not None:
        return source.refuse(f"is {foreign.what}", field="format", value=foreign.what, hint=foreign.hint)
    return source.refuse(
        "is no disk image that is known here, and shows no partition table",
        field="format",
        hint=f"known are {', '.join(FORMATS)}; say so if it is raw",
    )
