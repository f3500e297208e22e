"""Disks that no process holds, as the engine has them changed: `ports.DiskHost`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from guesthouse.host.disks.files import DiskFiles
from guesthouse.model.errors import Failed
from guesthouse.model.machine import DiskFormat
from guesthouse.model.resources import Disk, Image
from guesthouse.ports import Progress
from guesthouse.qemu.block import downward

_MIB = 1 << 20


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
                self._files.leave_only(disk, DiskFormat(context["format"]))
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
        if seen is None or disk.layer not in seen.layers:
            raise Failed(f"the file of disk {disk.name} is gone: {path}", subject=f"disk {disk.name}")
        chain = downward(self._files.file(disk, (image,) if image else ()))
        return {
            "path": str(path),
            "format": disk.format.value,
            "virtual_bytes": seen.size_mib * _MIB,
            "file_bytes": sum(_file_bytes(self._files.layers.path(disk, layer)) for layer in seen.layers),
            "chain": [str(layer.path) for layer in chain],
        }


def _file_bytes(path: Path) -> int:
    """What a file takes up on the storage: holes take nothing."""
    return path.stat().st_blocks * 512
