"""Block nodes: from a disk's file to the node that its device reads.

A disk is one nested mapping, rendered as the JSON of ``-blockdev`` or as the arguments of ``blockdev-add``;
taking its topmost node away takes all of it away. Every driver is named: QEMU never guesses a format, nor
follows a backing file that a file's own header names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from guesthouse.model.machine import DiskFormat
from guesthouse.qemu.devices import DiskDevice, Mapping
from guesthouse.qemu.devices.disk import CACHES


@dataclass(frozen=True)
class DiskFile:
    """A disk's file. `backing` is the file under it (an image, say), which has one under it in turn."""

    path: Path
    format: DiskFormat = DiskFormat.QCOW2
    backing: DiskFile | None = None


def downward(file: DiskFile) -> Iterator[DiskFile]:
    """A file and all that lie under it, from the top."""
    below: DiskFile | None = file
    while below is not None:
        yield below
        below = below.backing


def blockdev(disk: DiskDevice, file: DiskFile) -> Mapping:
    """The block nodes of a disk: ``disk-X`` over ``disk-X-b1``, ``-b2``...; the file of each is ``-f`` after its name.

    A thin disk passes the guest's discards on and makes holes of zeroes; a thick one keeps its space.
    """
    node = _written(disk, disk.node, file)
    if file.format is DiskFormat.QCOW2:
        node["backing"] = _below(disk, file.backing, 1)
    return node


def overlay(disk: DiskDevice, node: str, file: DiskFile) -> Mapping:
    """The node of a new layer that is not over anything yet; what a snapshot puts over the ones that are there."""
    return {**_written(disk, node, file), "backing": None}


def blank(node: str, *, read_only: bool = False) -> Mapping:
    """The node of a disk without a file: for a QEMU that has the device, and whose guest never runs."""
    return {"driver": "null-co", "node-name": node, "read-only": read_only, "read-zeroes": True}


def bare(file: DiskFile, name: Callable[[int], str], level: int = 0) -> Mapping:
    """A disk that no machine has; `name` gives its layers' nodes their names, from the top."""
    node: Mapping = {
        "driver": file.format.value,
        "node-name": name(level),
        "read-only": level > 0,
        "file": {"driver": "file", "filename": str(file.path), "locking": "on"},
    }
    if file.format is DiskFormat.QCOW2:
        node["discard"] = "unmap"
        node["backing"] = bare(file.backing, name, level + 1) if file.backing else None
    return node


def _written(disk: DiskDevice, node: str, file: DiskFile) -> Mapping:
    cache = _cache(disk)
    spare = "unmap" if disk.thin else "ignore"
    return {
        "driver": file.format.value,
        "node-name": node,
        "cache": cache,
        "discard": spare,
        "detect-zeroes": "unmap" if disk.thin else "off",
        "file": {
            "driver": "file",
            "node-name": file_node(node),
            "filename": str(file.path),
            "cache": cache,
            "discard": spare,
            # Linux AIO needs O_DIRECT; through the page cache QEMU's threads are the way.
            "aio": "native" if cache["direct"] else "threads",
            "locking": "on",
        },
    }


def file_node(node: str) -> str:
    """The name of the node of a layer's file."""
    return f"{node}-f"


def _below(disk: DiskDevice, file: DiskFile | None, level: int) -> Mapping | None:
    """What lies under a qcow2, read-only. None ends the chain, whatever the file's header says.

    Its file is read-only because the layer is: a merge makes both writable for its time.
    """
    if file is None:
        return None
    name = f"{disk.node}-b{level}"
    node: Mapping = {
        "driver": file.format.value,
        "node-name": name,
        "read-only": True,
        "cache": _cache(disk),
        "file": {
            "driver": "file",
            "node-name": file_node(name),
            "filename": str(file.path),
            "cache": _cache(disk),
            "locking": "on",
        },
    }
    if file.format is DiskFormat.QCOW2:
        node["backing"] = _below(disk, file.backing, level + 1)
    return node


def _cache(disk: DiskDevice) -> Mapping:
    row = CACHES[disk.cache]
    return {"direct": row.direct, "no-flush": row.no_flush}
