"""Import of a disk image from outside: any known format, compressed or not, becomes a qcow2 of ours.

Rules
-----
1. The file is hostile (`formats.diskimage`). Its header is read from a private copy; then programs, confined to
   a `workroom`, unpack, check and convert that copy. The original is only ever read.
2. Nothing is guessed: qemu-img gets the format that we read, one file, and nothing below it.
3. What a header does not tell, damage deeper in the file, ``qemu-img check`` finds before the conversion; a
   truncated image would otherwise be read as zeros.
4. The result is checked, durable, and appears under its name in one step; until then nothing is there. Doing it
   again replaces it.
"""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from guesthouse.formats import compression as packing
from guesthouse.formats.checksum import Checksum
from guesthouse.formats.compression import Compression
from guesthouse.formats.diskimage import FORMATS, VIRTUAL_LIMIT_BYTES, Facts, read_facts
from guesthouse.host.images import intake, qemuimg
from guesthouse.host.images.workroom import NOBODY, User, Workroom, workroom
from guesthouse.host.processes import Limits
from guesthouse.model.errors import ChildFailed, Invalid, NoCapacity
from guesthouse.ports import Progress

_MIB = 1 << 20
_SECTOR_BYTES = 512
_PACKED, _SOURCE, _RESULT = "packed", "source", "disk.qcow2"
_QCOW2_OPTIONS = "compat=1.1,lazy_refcounts=off,refcount_bits=16"
_ZSTD_WINDOW_MIB = 256


@dataclass(frozen=True, slots=True)
class ImportLimits:
    """What one import may use up. Sizes are in bytes or MiB as named, times in seconds.

    `virtual_bytes` is the largest disk the image may claim, `stored_bytes` the most that the copy, unpacked, and
    the result may each take on the host.
    """

    virtual_bytes: int = VIRTUAL_LIMIT_BYTES
    stored_bytes: int = 2 << 40
    memory_mib: int = 2048
    cpu_s: int = 3600
    timeout_s: float = 4 * 3600


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """An imported disk: what it came as, and the qcow2 it is now."""

    path: Path
    source_format: str
    compression: str
    virtual_bytes: int
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class _Work:
    """One import on its way."""

    room: Workroom
    name: str
    limits: ImportLimits
    progress: Progress

    async def run(self, *argv: str, doing: str, phase: str = "") -> bytes:
        """Run a program in the room within the limits; what it complains of is about the image."""
        limits = Limits(
            cpu_s=self.limits.cpu_s,
            memory_mib=self.limits.memory_mib,
            file_mib=max(1, self.limits.stored_bytes // _MIB),
        )
        on_output = qemuimg.on_percent(self.progress, phase) if phase else None
        with qemuimg.understood(self.name, doing):
            return await self.room.run(
                argv, limits=limits, timeout_s=self.limits.timeout_s, on_output=on_output, subject=self.name
            )


async def import_disk(
    source_file: Path,
    destination: Path,
    *,
    declared_format: str | None = None,
    checksum: Checksum | None = None,
    limits: ImportLimits | None = None,
    progress: Progress,
    name: str = "",
    ours: bool = False,
    user: User = NOBODY,
) -> DiskFacts:
    """Make a qcow2 at `destination` of the disk image `source_file`.

    `declared_format` is a name in `formats.diskimage.FORMATS`, None to recognise it. `checksum` is that of the
    file as it is. `name` is what messages call it (default: its own). `ours` says that nobody else can change
    the file, a finished download for instance: where possible it is then lent to the conversion, changing owner,
    instead of copied, and may only be deleted afterwards. Raises `Invalid` for a file that is
    hostile, damaged or over the limits, `NotFound`, `NoCapacity` on a full disk, `TimedOut`.
    """
    name = name or source_file.name
    limits = limits or ImportLimits()
    with await asyncio.to_thread(intake.open_regular, source_file, name) as source:
        packed = intake.recognise(source)
        if packed is None:  # refuse the obvious before gigabytes are copied
            await asyncio.to_thread(_facts, source, name, declared_format, limits)
        _check_room(source, destination, name)
        async with workroom(destination.parent, user) as room:
            work = _Work(room, name, limits, progress)
            await _bring_in(work, source, source_file, packed, checksum, ours)
            facts = await _inspect(work, declared_format, packed)
            await _check(work, facts)
            await _convert(work, facts)
            await asyncio.to_thread(room.publish, _RESULT, destination, 0o600)
    stored_bytes = await asyncio.to_thread(lambda: destination.stat().st_blocks * _SECTOR_BYTES)
    virtual_bytes = _whole_sectors(facts.virtual_bytes)
    return DiskFacts(destination, facts.format, packed.name if packed else "", virtual_bytes, stored_bytes)


def _check_room(source: BinaryIO, destination: Path, name: str) -> None:
    """A copy and a result, each as large as what is stored of the file, is the least that is needed."""
    facts = os.fstat(source.fileno())
    stored = min(facts.st_size, facts.st_blocks * _SECTOR_BYTES)
    file_system = os.statvfs(destination.parent)
    free = file_system.f_bavail * file_system.f_frsize
    if stored > free:
        raise NoCapacity(
            f"{name} needs at least {stored // _MIB} MiB in {destination.parent}; {free // _MIB} MiB are free",
            subject=name,
            hint="make room and try again",
        )


async def _bring_in(
    work: _Work,
    source: BinaryIO,
    source_file: Path,
    packed: Compression | None,
    checksum: Checksum | None,
    ours: bool,
) -> None:
    """Put the image, uncompressed, into the room as `_SOURCE`."""
    by_program = packed is not None and packed.member is None
    first = _PACKED if by_program else _SOURCE
    unpack = None if by_program else packed
    if not (ours and unpack is None and checksum is None and _link(source_file, work.room.path / first)):
        await intake.take(
            source,
            work.room.path / first,
            name=work.name,
            unpack=unpack,
            expected=checksum,
            limit_bytes=work.limits.stored_bytes,
            progress=work.progress,
        )
    await asyncio.to_thread(work.room.admit, first)
    if by_program:
        await _unpack_zstd(work)


def _link(source_file: Path, target: Path) -> bool:
    """A second name for a file of ours, where it is on the same file system."""
    try:
        target.hardlink_to(source_file)
    except OSError:
        return False
    return True


async def _unpack_zstd(work: _Work) -> None:
    work.progress("unpacking", None)
    memory = f"--memory={_ZSTD_WINDOW_MIB}MB"
    try:
        await work.run("zstd", "--decompress", "--quiet", memory, "-o", _SOURCE, _PACKED, doing="unpacking")
    except ChildFailed as error:
        # Over the limit, zstd dies of SIGXFSZ or says so; all else is the data's fault.
        if error.status < 0:
            raise packing.too_large(work.name, work.limits.stored_bytes) from error
        raise Invalid(
            f"{work.name} is damaged or truncated: zstd says {error.lines[-1:]}",
            subject=work.name,
            field="compression",
            hint="download or copy it again",
        ) from error


async def _inspect(work: _Work, declared_format: str | None, packed: Compression | None) -> Facts:
    """Read the header of the copy: these are the bytes that count."""
    name = work.name.removesuffix(packed.suffix) if packed else work.name
    path = work.room.path / _SOURCE
    with await asyncio.to_thread(intake.open_regular, path, work.name) as copy:
        twice = intake.recognise(copy)
        if twice is not None and declared_format is None:
            raise Invalid(
                f"{work.name} is compressed twice ({packed.name if packed else ''} around {twice.name})",
                subject=work.name,
                field="compression",
                hint="unpack it once yourself",
            )
        return await asyncio.to_thread(_facts, copy, name, declared_format, work.limits)


def _facts(file: BinaryIO, name: str, declared_format: str | None, limits: ImportLimits) -> Facts:
    return read_facts(
        intake.FileReader(file.fileno()),
        name=name,
        declared_format=declared_format,
        virtual_limit_bytes=limits.virtual_bytes,
    )


async def _check(work: _Work, facts: Facts) -> None:
    """Let qemu-img look for damage behind the header, in formats for which it can."""
    work.progress("checking", None)
    node = qemuimg.node(FORMATS[facts.format].driver, _SOURCE)
    try:
        await work.run("qemu-img", "check", node, doing="checking")
    except ChildFailed as error:
        if error.status in qemuimg.CHECK_FOUND_NONE:
            return
        if error.status not in qemuimg.CHECK_FOUND_DAMAGE:
            raise
        said = "".join(f"\n  {line}" for line in error.lines)
        raise Invalid(
            f"{work.name} is damaged or truncated: qemu-img check found{said}",
            subject=work.name,
            field="image",
            hint="download or copy it again; `qemu-img check -r all` may repair it",
        ) from error


async def _convert(work: _Work, facts: Facts) -> None:
    node = qemuimg.node(FORMATS[facts.format].driver, _SOURCE)
    argv = ("qemu-img", "convert", "-p", "-O", "qcow2", "-o", _QCOW2_OPTIONS, node, _RESULT)
    work.progress("converting", 0.0)
    await work.run(*argv, doing="converting", phase="converting")
    told = await work.run("qemu-img", "info", "--output=json", qemuimg.node("qcow2", _RESULT), doing="checking")
    result = json.loads(told)
    expected = _whole_sectors(facts.virtual_bytes)
    if result.get("virtual-size") != expected or "backing-filename" in result:
        raise Invalid(
            f"{work.name} did not convert to a disk of {expected} bytes, but of {result.get('virtual-size')}",
            subject=work.name,
            field="virtual size",
            value=result.get("virtual-size"),
        )


def _whole_sectors(size_bytes: int) -> int:
    return -(-size_bytes // _SECTOR_BYTES) * _SECTOR_BYTES
