"""The files of a disk's layers: their names, and what their headers say of each other."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from guesthouse.decide.layers import FIRST
from guesthouse.formats.diskimage.own import CLUSTER_BYTES, backing_name, virtual_bytes
from guesthouse.host.durable import sync_folder
from guesthouse.host.identity import is_shared
from guesthouse.model.machine import DiskFormat
from guesthouse.model.names import is_id
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
        return _layer(name, disk.format) if name.startswith(f"{disk.id}.") else None

    def find(self, disk: Disk) -> dict[str, str | None]:
        """The layers that are there, each with the one that its file names as being under it.

        None is also under a layer that names another file, one that is gone, or one that stands on it in turn: a
        header that a hostile guest's QEMU may have written leads to no other disk's file, and never in a circle.
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
            # A layer that came from another disk names the one under it as that disk calls it.
            return _layer(backing_name(file.read(CLUSTER_BYTES)), disk.format)

    def shared(self, disk: Disk, there: Iterable[str]) -> frozenset[str]:
        """Those of the layers that are there whose files other disks have, too, under names of their own."""
        return frozenset(layer for layer in there if is_shared(self.path(disk, layer)))

    def share(self, disk: Disk, origin: str, top: str, let_read: Callable[[Path], None]) -> None:
        """Let a disk have a layer of another one, and all under it; the topmost comes last: with it, all are there."""
        source = msgspec.structs.replace(disk, id=origin)
        found, chain = self.find(source), list[str]()
        layer: str | None = top
        while layer is not None:
            chain.append(layer)
            layer = found.get(layer)
        for each in reversed(chain):
            let_read(self.path(source, each))
            with contextlib.suppress(FileExistsError):
                self.path(disk, each).hardlink_to(self.path(source, each))
        sync_folder(self.folder)

    def format(self, disk: Disk, layer: str) -> DiskFormat:
        """The format of a layer's file: only the first may be raw."""
        return disk.format if layer == FIRST else DiskFormat.QCOW2

    def size_bytes(self, disk: Disk, layer: str) -> int | None:
        """What a guest sees of a layer, None when it is not there; raises `Failed` when it is damaged."""
        return size_bytes(self.path(disk, layer), self.format(disk, layer))


def _layer(name: str, first: DiskFormat) -> str | None:
    """The layer whose file bears that name, as some disk of the house calls it; None where it is none."""
    id, _, rest = name.partition(".")
    if not is_id(id):
        return None
    if rest == first.value:
        return FIRST
    layer, _, format = rest.rpartition(".")
    return layer if layer and "/" not in layer and format == DiskFormat.QCOW2.value else None


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
