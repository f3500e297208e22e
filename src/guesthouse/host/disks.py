"""Disks as files: making, growing, converting and removing them while no process holds them.

Rules
-----
1. A disk is made under a name that nobody knows (``.partial``), made durable, and then gets its own: it is there
   whole or not at all.
2. A thin qcow2 disk on an image is an overlay. A raw or a thick disk is a copy: it needs no image any more.
3. qemu-img is told every layer of a disk by name and format; it never follows a name in a header.
4. A full file system is `NoCapacity`, and what was begun is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from guesthouse.decide.observed import DiskSeen
from guesthouse.formats.diskimage.own import HEADER_BYTES, virtual_bytes
from guesthouse.host.durable import put_in_place
from guesthouse.host.frozen.folder import TemplateFolder
from guesthouse.host.images.qemuimg import node, on_percent, understood
from guesthouse.host.processes import run
from guesthouse.model.errors import Failed, Invalid
from guesthouse.model.house import House
from guesthouse.model.machine import DiskFormat
from guesthouse.model.resources import Disk, Image
from guesthouse.ports import Progress
from guesthouse.qemu.block import DiskFile

_MIB = 1 << 20


def is_overlay(disk: Disk) -> bool:
    """Whether the file of a disk on an image holds only what differs from it."""
    return disk.format is DiskFormat.QCOW2 and disk.thin


@dataclass(frozen=True)
class DiskFiles:
    """The files behind disks, in the folders of a house."""

    house: House

    def path(self, disk: Disk, format: DiskFormat | None = None) -> Path:
        return self.house.disks / f"{disk.id}.{(format or disk.format).value}"

    def image_file(self, image: Image) -> DiskFile:
        """An image's disk; raises `Failed` when its file is gone."""
        path = self.house.images / image.id / image.disk
        if not image.disk or not path.is_file():
            raise Failed(
                f"the disk of image {image.name} is gone: {path}",
                subject=f"image {image.name}",
                hint="restore the file, or import the image again under another name",
            )
        return DiskFile(path, DiskFormat(image.format or DiskFormat.QCOW2))

    def file(self, disk: Disk, images: Iterable[Image]) -> DiskFile:
        """A disk's file with all that lies under it; raises `Failed` when the image is gone or the disk damaged."""
        if _size(self.path(disk), disk.format) is None:
            raise Failed(f"the file of disk {disk.name} is gone: {self.path(disk)}", subject=f"disk {disk.name}")
        return DiskFile(self.path(disk), disk.format, self._under(disk, images))

    def see(self, disk: Disk) -> DiskSeen | None:
        """The disk as it is, None when it is not there. A damaged one is there: using it fails."""
        try:
            size = _size(self.path(disk), disk.format)
        except Failed:
            return DiskSeen(disk.size_mib)
        return None if size is None else DiskSeen(size // _MIB)

    async def make(self, disk: Disk, images: Iterable[Image], progress: Progress) -> None:
        """Make a disk; one that is there stays as it is."""
        if self.path(disk).exists():
            return
        image = _image(disk, images)
        if image is not None and image.virtual_mib > disk.size_mib:
            raise Invalid(
                f"disk {disk.name} is smaller than image {image.name}, which has {image.virtual_mib} MiB",
                subject=f"disk {disk.name}",
                field="size_mib",
                value=disk.size_mib,
                hint=f"make it {image.virtual_mib}M at least",
            )
        with _partial(self.path(disk)) as partial:
            if image is None:
                await self._create(disk, partial)
            elif (under := self._under(disk, images)) is not None:
                await make_overlay(partial, under, disk.size_mib, f"disk {disk.name}")
            else:
                await self._copy(disk, _node(self.image_file(image)), disk.format, partial, progress)
                await self._resize(disk, node(disk.format.value, str(partial)), disk.size_mib)
            await asyncio.to_thread(put_in_place, partial, self.path(disk))

    async def grow(self, disk: Disk, size_mib: int, images: Iterable[Image]) -> None:
        """Make a disk larger; one that is as large already stays as it is."""
        seen = self.see(disk)
        if seen is None or seen.size_mib < size_mib:
            await self._resize(disk, _node(self.file(disk, images)), size_mib)

    async def convert(self, disk: Disk, format: DiskFormat, images: Iterable[Image], progress: Progress) -> None:
        """Copy a disk into a file of another format beside it, which stands alone."""
        with _partial(self.path(disk, format)) as partial:
            await self._copy(disk, _node(self.file(disk, images)), format, partial, progress)
            await asyncio.to_thread(put_in_place, partial, self.path(disk, format))

    async def convert_back(self, disk: Disk, format: DiskFormat, images: Iterable[Image], progress: Progress) -> None:
        """Undo `convert`: while the old file is there it is the disk, after that only the new one has the data."""
        converted = self.path(disk, format)
        if converted.exists() and not self.path(disk).exists():
            with _partial(self.path(disk)) as partial:
                under = self._under(disk, images)
                await self._copy(disk, node(format.value, str(converted)), disk.format, partial, progress, under)
                await asyncio.to_thread(put_in_place, partial, self.path(disk))
        converted.unlink(missing_ok=True)

    def remove(self, disk: Disk) -> None:
        """Remove a disk in whatever format it is, and what was begun of it."""
        for format in DiskFormat:
            path = self.path(disk, format)
            path.unlink(missing_ok=True)
            _partial_of(path).unlink(missing_ok=True)

    def _under(self, disk: Disk, images: Iterable[Image]) -> DiskFile | None:
        image = _image(disk, images) if is_overlay(disk) else None
        if image is None:
            return None
        if disk.template:
            return self._frozen(disk, self.image_file(image))
        return self.image_file(image)

    def _frozen(self, disk: Disk, image: DiskFile) -> DiskFile:
        path = TemplateFolder(self.house.templates / disk.template).root
        if not path.is_file():
            raise Failed(f"the template that disk {disk.name} is made on is gone: {path}", subject=f"disk {disk.name}")
        return DiskFile(path, DiskFormat.QCOW2, image)

    async def _create(self, disk: Disk, partial: Path) -> None:
        allocation = _allocation(disk)
        argv = ("create", "-q", "-f", disk.format.value, *allocation, str(partial), f"{disk.size_mib}M")
        await _qemu_img(disk, "making", argv)

    async def _copy(
        self,
        disk: Disk,
        source: str,
        format: DiskFormat,
        partial: Path,
        progress: Progress,
        under: DiskFile | None = None,
    ) -> None:
        """Copy all layers into one; with `under`, into an overlay on that file."""
        over = ("-B", *_below(under, partial)) if under else ()
        argv = ("convert", "-p", "-O", format.value, *_allocation(disk), *over, source, str(partial))
        await _qemu_img(disk, "copying", argv, progress)

    async def _resize(self, disk: Disk, target: str, size_mib: int) -> None:
        allocation = () if disk.thin else ("--preallocation=falloc",)
        await _qemu_img(disk, "growing", ("resize", "-q", *allocation, target, f"{size_mib}M"))


async def make_overlay(path: Path, under: DiskFile, size_mib: int, subject: str) -> None:
    """Make a thin disk on another one, which nobody may write to any more."""
    argv = ("create", "-q", "-f", "qcow2", "-b", *_below(under, path), str(path), f"{size_mib}M")
    with understood(subject, "making"):
        await run(("qemu-img", *argv), subject=subject)


def _size(path: Path, format: DiskFormat) -> int | None:
    """What a guest sees of a disk, in bytes; None when it is not there. Raises `Failed` when it is damaged."""
    try:
        with path.open("rb") as file:
            return virtual_bytes(format, file.read(HEADER_BYTES), os.fstat(file.fileno()).st_size)
    except FileNotFoundError:
        return None


def _image(disk: Disk, images: Iterable[Image]) -> Image | None:
    """The image with a disk of its own that a disk is made on; None when it is on none. Raises `Failed`."""
    if not disk.image:
        return None
    for image in images:
        if image.id == disk.image:
            return image if image.disk else None
    raise Failed(
        f"the image that disk {disk.name} is made on is gone",
        subject=f"disk {disk.name}",
        field="image",
        value=disk.image,
    )


def _node(file: DiskFile) -> str:
    """A disk with all its layers, as qemu-img takes it."""
    return node(file.format.value, str(file.path), _node(file.backing) if file.backing else None)


def _below(file: DiskFile, overlay: Path) -> tuple[str, ...]:
    """How an overlay's header names the file under it: relatively, so that a house can be moved as a whole."""
    return os.path.relpath(file.path, overlay.parent), "-F", file.format.value


def _allocation(disk: Disk) -> tuple[str, ...]:
    return () if disk.thin else ("-o", "preallocation=falloc")


def _partial_of(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


@contextlib.contextmanager
def _partial(path: Path) -> Iterator[Path]:
    """A name for what is not yet whole; what bears it at the end goes away."""
    partial = _partial_of(path)
    partial.unlink(missing_ok=True)
    # Made by us first, so that it is nobody else's to read from its first byte on.
    os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        yield partial
    finally:
        partial.unlink(missing_ok=True)


async def _qemu_img(disk: Disk, doing: str, argv: Sequence[str], progress: Progress | None = None) -> None:
    on_output = on_percent(progress, f"{doing} disk") if progress else None
    with understood(f"disk {disk.name}", doing):
        await run(("qemu-img", *argv), on_output=on_output, subject=f"disk {disk.name}")


class LocalDisks:
    """Implements `ports.DiskHost`."""

    def __init__(self, files: DiskFiles) -> None:
        self._files = files

    async def perform(self, kind: str, step: str, disk: Disk, context: Mapping[str, Any], progress: Progress) -> None:
        """Do one step of a disk operation, or undo it (`step` is ``undo``); idempotent."""
        images = (msgspec.convert(context["image"], Image),) if context.get("image") else ()
        match kind, step:
            case "disk.create", "make":
                await self._files.make(disk, images, progress)
            case "disk.resize", "grow":
                await self._files.grow(disk, int(context["size_mib"]), images)
            case "disk.convert", "convert":
                await self._files.convert(disk, DiskFormat(context["format"]), images, progress)
            case "disk.convert", "switch":
                self._files.path(disk).unlink(missing_ok=True)
            case "disk.convert", "undo":
                await self._files.convert_back(disk, DiskFormat(context["format"]), images, progress)
            case ("disk.delete", "remove") | ("disk.create", "undo"):
                self._files.remove(disk)
            case _, "undo":
                return
            case _:
                raise Failed(f"{kind} has no step {step!r}")

    async def describe(self, disk: Disk, image: Image | None) -> Mapping[str, Any]:
        """Format, virtual and file bytes, and the chain below, as they are on the storage."""
        path, seen = self._files.path(disk), self._files.see(disk)
        if seen is None:
            raise Failed(f"the file of disk {disk.name} is gone: {path}", subject=f"disk {disk.name}")
        chain = _layers(self._files.file(disk, (image,) if image else ()))
        return {
            "path": str(path),
            "format": disk.format.value,
            "virtual_bytes": seen.size_mib * _MIB,
            "file_bytes": _file_bytes(path),
            "chain": [str(layer.path) for layer in chain],
        }


def _file_bytes(path: Path) -> int:
    """What a file takes up on the storage: holes take nothing."""
    return path.stat().st_blocks * 512


def _layers(file: DiskFile) -> Iterator[DiskFile]:
    layer: DiskFile | None = file
    while layer is not None:
        yield layer
        layer = layer.backing
