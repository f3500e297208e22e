"""What qemu-img is told so that a disk's file comes to be, grows, or is copied."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from guesthouse.host.images.qemuimg import node, on_percent, understood
from guesthouse.host.processes import run
from guesthouse.model.machine import DiskFormat
from guesthouse.model.resources import Disk
from guesthouse.ports import Progress
from guesthouse.qemu.block import DiskFile


def is_overlay(disk: Disk) -> bool:
    """Whether the first file of a disk on an image holds only what differs from it."""
    return disk.format is DiskFormat.QCOW2 and disk.thin


async def create(disk: Disk, partial: Path) -> None:
    """An empty disk that stands alone."""
    argv = ("create", "-q", "-f", disk.format.value, *_allocation(disk), str(partial), f"{disk.size_mib}M")
    await _qemu_img(disk, "making", argv)


async def copy(
    disk: Disk, source: str, format: DiskFormat, partial: Path, progress: Progress, under: DiskFile | None = None
) -> None:
    """Copy all layers into one; with `under`, into an overlay on that file."""
    over = ("-B", *below(under, partial)) if under else ()
    argv = ("convert", "-p", "-O", format.value, *_allocation(disk), *over, source, str(partial))
    await _qemu_img(disk, "copying", argv, progress)


async def resize(disk: Disk, target: str, size_mib: int) -> None:
    """Make a disk larger."""
    allocation = () if disk.thin else ("--preallocation=falloc",)
    await _qemu_img(disk, "growing", ("resize", "-q", *allocation, target, f"{size_mib}M"))


async def make_overlay(path: Path, under: DiskFile, size_mib: int, subject: str) -> None:
    """Make a thin disk on another one, which nobody may write to any more."""
    argv = ("create", "-q", "-f", "qcow2", "-b", *below(under, path), str(path), f"{size_mib}M")
    with understood(subject, "making"):
        await run(("qemu-img", *argv), subject=subject)


def whole(file: DiskFile) -> str:
    """A disk with all its layers, as qemu-img takes it."""
    return node(file.format.value, str(file.path), whole(file.backing) if file.backing else None)


def below(file: DiskFile, overlay: Path) -> tuple[str, ...]:
    """How an overlay's header names the file under it: relatively, so that a house can be moved as a whole."""
    return os.path.relpath(file.path, overlay.parent), "-F", file.format.value


def partial_of(path: Path) -> Path:
    """The name of a file that is not yet whole."""
    return path.with_name(path.name + ".partial")


@contextlib.contextmanager
def in_making(path: Path) -> Iterator[Path]:
    """A name for what is not yet whole; what bears it at the end goes away."""
    partial = partial_of(path)
    partial.unlink(missing_ok=True)
    # Made by us first, so that it is nobody else's to read from its first byte on.
    os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def _allocation(disk: Disk) -> tuple[str, ...]:
    return () if disk.thin else ("-o", "preallocation=falloc")


async def _qemu_img(disk: Disk, doing: str, argv: Sequence[str], progress: Progress | None = None) -> None:
    on_output = on_percent(progress, f"{doing} disk") if progress else None
    with understood(f"disk {disk.name}", doing):
        await run(("qemu-img", *argv), on_output=on_output, subject=f"disk {disk.name}")
