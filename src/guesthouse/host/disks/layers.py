"""The files of a disk's layers: their names, and what their headers say of each other."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from guesthouse.decide.layers import FIRST
from guesthouse.formats.diskimage.own import CLUSTER_BYTES, backing_name, virtual_bytes
from guesthouse.model.machine import DiskFormat
from guesthouse.model.resources import Disk


@dataclass(frozen=True)
class LayerFiles:
    """The layers of disks as files of one folder."""

    folder: Path

    def path(self, disk: Disk, layer: str) -> Path:
        """The file of a layer, be it there or not."""
        if layer == FIRST:
            return self.folder / f"{disk.id}.{disk.format.value}"
        return self.folder / f"{disk.id}.{layer}.{DiskFormat.QCOW2.value}"

    def layer(self, disk: Disk, name: str) -> str | None:
        """The layer whose file has that name; None where it is none of this disk's."""
        if name == self.path(disk, FIRST).name:
            return FIRST
        start, end = f"{disk.id}.", f".{DiskFormat.QCOW2.value}"
        layer = name.removeprefix(start).removesuffix(end)
        return layer if name == f"{start}{layer}{end}" and layer else None

    def find(self, disk: Disk) -> dict[str, str | None]:
        """The layers that are there, each with the one that its file names as being under it.

        None is also under a layer that names another file, one that is gone, or one that stands on it in turn: a
        header that a hostile guest's QEMU may have written leads nowhere else, and never in a circle.
        """
        names = {layer: self._under(disk, layer) for layer in sorted(self._there(disk))}
        found: dict[str, str | None] = {}
        for layer, under in names.items():
            found[layer] = under if under in names and layer not in _down(names, under) else None
        return found

    def _there(self, disk: Disk) -> Iterator[str]:
        start = f"{disk.id}."
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name.startswith(start) and (layer := self.layer(disk, entry.name)) is not None:
                    yield layer

    def _under(self, disk: Disk, layer: str) -> str | None:
        if self.format(disk, layer) is not DiskFormat.QCOW2:
            return None
        with self.path(disk, layer).open("rb") as file:
            return self.layer(disk, Path(backing_name(file.read(CLUSTER_BYTES))).name)

    def format(self, disk: Disk, layer: str) -> DiskFormat:
        """The format of a layer's file: only the first may be raw."""
        return disk.format if layer == FIRST else DiskFormat.QCOW2

    def size_bytes(self, disk: Disk, layer: str) -> int | None:
        """What a guest sees of a layer, None when it is not there; raises `Failed` when it is damaged."""
        return size_bytes(self.path(disk, layer), self.format(disk, layer))


def size_bytes(path: Path, format: DiskFormat) -> int | None:
    """What a guest sees of a disk's file, None when it is not there; raises `Failed` when it is damaged."""
    try:
        with path.open("rb") as file:
            return virtual_bytes(format, file.read(CLUSTER_BYTES), os.fstat(file.fileno()).st_size)
    except FileNotFoundError:
        return None


def _down(names: Mapping[str, str | None], top: str | None) -> set[str]:
    """A layer and all that it stands on, as far as the names lead, once each."""
    met: set[str] = set()
    while top is not None and top in names and top not in met:
        met.add(top)
        top = names[top]
    return met
