"""The files behind disks: what is there, and what is to be there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from guesthouse.decide.forks import begins_with
from guesthouse.decide.layers import FIRST, layers_of
from guesthouse.decide.observed import DiskSeen
from guesthouse.host import identity
from guesthouse.host.disks import making
from guesthouse.host.disks.layers import LayerFiles
from guesthouse.host.disks.merging import merge
from guesthouse.host.durable import put_in_place
from guesthouse.host.frozen.folder import TemplateFolder
from guesthouse.host.images.qemuimg import node
from guesthouse.model.errors import Failed, Invalid
from guesthouse.model.house import House
from guesthouse.model.machine import DiskFormat
from guesthouse.model.resources import Disk, Image
from guesthouse.ports import Progress
from guesthouse.qemu.block import DiskFile

_MIB = 1 << 20


@dataclass(frozen=True)
class DiskFiles:
    """The files behind disks, in the folders of a house."""

    house: House

    @property
    def layers(self) -> LayerFiles:
        return LayerFiles(self.house.disks)

    def path(self, disk: Disk) -> Path:
        """The file that is written to."""
        return self.layers.path(disk, disk.layer)

    def frozen(self, disk: Disk) -> list[Path]:
        """The files of its layers that are there and not written to."""
        return [self.layers.path(disk, layer) for layer in self.layers.find(disk) if layer != disk.layer]

    def all_files(self, disk: str) -> list[Path]:
        """All files that there are of a disk, by its id."""
        return list(self.house.disks.glob(f"{disk}.*"))

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
        return self.chain(disk, disk.layer, images)

    def chain(self, disk: Disk, layer: str, images: Iterable[Image]) -> DiskFile:
        """A layer's file with all that lies under it, as the files say; raises as `file` does."""
        if self.layers.size_bytes(disk, layer) is None:
            path = self.layers.path(disk, layer)
            raise Failed(f"the file of disk {disk.name} is gone: {path}", subject=f"disk {disk.name}")
        under = self.layers.find(disk)[layer]
        below = self.under(disk, images) if under is None else self.chain(disk, under, images)
        return DiskFile(self.layers.path(disk, layer), self.layers.format(disk, layer), below)

    def see(self, disk: Disk) -> DiskSeen | None:
        """The disk as it is, None when nothing of it is there. A damaged one is there: using it fails."""
        found = self.layers.find(disk)
        if not found:
            return None
        try:
            size = self.layers.size_bytes(disk, disk.layer)
        except Failed:
            size = None
        return DiskSeen(disk.size_mib if size is None else size // _MIB, found, self.layers.shared(disk, found))

    async def make(self, disk: Disk, images: Iterable[Image], progress: Progress) -> None:
        """Make the file that is written to; one that is there stays as it is."""
        if self.path(disk).exists():
            return
        if disk.layer == FIRST:
            await self._make_first(disk, images, progress)
        else:
            await self.make_layer(disk, disk.layer, layers_of(disk)[disk.layer], disk.size_mib, images)

    async def make_layer(
        self, disk: Disk, layer: str, on: str | None, size_mib: int, images: Iterable[Image]
    ) -> DiskFile:
        """Make a new layer on another one (None: on what lies under the disk); the file alone is returned."""
        under = self.under(disk, images) if on is None else self.chain(disk, on, images)
        path = self.layers.path(disk, layer)
        with making.in_making(path) as partial:
            if under is None:
                thin = Disk(id=disk.id, project=disk.project, name=disk.name, size_mib=size_mib)
                await making.create(thin, partial)
            else:
                await making.make_overlay(partial, under, size_mib, f"disk {disk.name}")
            await asyncio.to_thread(put_in_place, partial, path)
        return DiskFile(path)

    async def share(self, disk: Disk, project_number: int) -> None:
        """Let a disk have the layers that it begins with, as another disk has them; doing it again does no harm."""

        def let_read(path: Path) -> None:
            identity.let_project_read(project_number, path)

        await asyncio.to_thread(self.layers.share, disk, disk.origin, begins_with(disk), let_read)

    async def grow(self, disk: Disk, size_mib: int, images: Iterable[Image]) -> None:
        """Make a disk larger; one that is as large already stays as it is."""
        seen = self.see(disk)
        if seen is None or seen.size_mib < size_mib:
            await making.resize(disk, making.whole(self.file(disk, images)), size_mib)

    async def convert(self, disk: Disk, format: DiskFormat, images: Iterable[Image], progress: Progress) -> None:
        """Copy a disk into a file of another format beside it, which stands alone."""
        converted = self._converted(disk, format)
        with making.in_making(converted) as partial:
            await making.copy(disk, making.whole(self.file(disk, images)), format, partial, progress)
            await asyncio.to_thread(put_in_place, partial, converted)

    def leave_only(self, disk: Disk, format: DiskFormat) -> None:
        """Remove all files of a disk but the one that `convert` made."""
        converted = self._converted(disk, format)
        if converted.exists():
            for path in self.all_files(disk.id):
                if path != converted:
                    path.unlink(missing_ok=True)

    async def convert_back(self, disk: Disk, format: DiskFormat, images: Iterable[Image], progress: Progress) -> None:
        """Undo `convert`: while the old file is there it is the disk, after that only the new one has the data."""
        converted = self._converted(disk, format)
        if converted.exists() and not self.path(disk).exists():
            with making.in_making(self.path(disk)) as partial:
                under = self.under(disk, images)
                await making.copy(disk, node(format.value, str(converted)), disk.format, partial, progress, under)
                await asyncio.to_thread(put_in_place, partial, self.path(disk))
        converted.unlink(missing_ok=True)

    async def merge(self, disk: Disk, layer: str, images: Iterable[Image], progress: Progress) -> None:
        """Take into a layer all that lies between it and the one that is wanted under it; nobody may use it."""
        images, wanted = tuple(images), layers_of(disk)[layer]
        under = self.under(disk, images) if wanted is None else self.chain(disk, wanted, images)
        await merge(self.chain(disk, layer, images), under, f"disk {disk.name}", progress)

    def remove(self, disk: Disk) -> None:
        """Remove all layers of a disk in whatever format it is, and what was begun of it."""
        for path in self.all_files(disk.id):
            path.unlink(missing_ok=True)

    def remove_layer(self, disk: Disk, layer: str) -> None:
        """Remove the file of a layer, and what was begun of it."""
        path = self.layers.path(disk, layer)
        path.unlink(missing_ok=True)
        making.partial_of(path).unlink(missing_ok=True)

    async def _make_first(self, disk: Disk, images: Iterable[Image], progress: Progress) -> None:
        image = _image(disk, images)
        if image is not None and image.virtual_mib > disk.size_mib:
            raise Invalid(
                f"disk {disk.name} is smaller than image {image.name}, which has {image.virtual_mib} MiB",
                subject=f"disk {disk.name}",
                field="size_mib",
                value=disk.size_mib,
                hint=f"make it {image.virtual_mib}M at least",
            )
        with making.in_making(self.path(disk)) as partial:
            if image is None:
                await making.create(disk, partial)
            elif (under := self.under(disk, images)) is not None:
                await making.make_overlay(partial, under, disk.size_mib, f"disk {disk.name}")
            else:
                source = making.whole(self.image_file(image))
                await making.copy(disk, source, disk.format, partial, progress)
                await making.resize(disk, node(disk.format.value, str(partial)), disk.size_mib)
            await asyncio.to_thread(put_in_place, partial, self.path(disk))

    def _converted(self, disk: Disk, format: DiskFormat) -> Path:
        return self.house.disks / f"{disk.id}.{format.value}"

    def under(self, disk: Disk, images: Iterable[Image]) -> DiskFile | None:
        """What lies under the lowest layer: an image, or a template's disk on it; None where nothing does."""
        image = _image(disk, images) if making.is_overlay(disk) else None
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
