"""Which block nodes QEMU has of a disk: snapshots and merges have changed them since the start, so QEMU is asked.

Rules
-----
1. Nodes are called ``disk-X`` (the layer that the process began with), ``disk-X-b1``... (what lies under that) and
   ``disk-X-s1``... (layers that came since, the newest with the greatest number); the file of each has ``-f`` after it.
2. `disk-X` and `disk-X-sN` were added by us, one by one, and are taken away so, the newest first. What lies under
   ``disk-X`` goes with the last one that stands on it.
3. The node that a device writes to is its property ``drive``.

Source: QEMU's qapi/block-core.json (query-named-block-nodes, blockdev-snapshot).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guesthouse.qemu.block import DiskFile, file_node, overlay
from guesthouse.qemu.devices import DiskDevice
from guesthouse.qemu.messages import Command

NODES = Command("query-named-block-nodes", {"flat": True})


@dataclass(frozen=True)
class Nodes:
    """The layers' nodes of one disk, each with its file."""

    disk: DiskDevice
    files: Mapping[str, Path]

    @property
    def added(self) -> tuple[str, ...]:
        """Those that are to be taken away one by one, in that order."""
        numbers = {number: node for node in self.files if (number := _number(self.disk, node)) is not None}
        return tuple(numbers[number] for number in sorted(numbers, reverse=True))

    def of(self, path: Path) -> str:
        """The node of a file; the newest where several have it open, empty where none has."""
        return next((node for node in (*self.added, *self.files) if self.files.get(node) == path), "")

    def next(self) -> str:
        """A name for one more layer."""
        taken = [number for node in self.files if (number := _number(self.disk, node)) is not None]
        return f"{self.disk.node}-s{max(taken, default=0) + 1}"


def written_to(disk: DiskDevice) -> Command:
    """Ask for the name of the node that a disk's device writes to."""
    return Command("qom-get", {"path": f"/machine/peripheral/{disk.id}", "property": "drive"})


def nodes_of(disk: DiskDevice, told: Iterable[Mapping[str, Any]]) -> Nodes:
    """What the answer to `NODES` has of a disk."""
    files = {node["node-name"]: Path(node["file"]) for node in told if node["drv"] == "file"}
    pattern = re.compile(rf"{re.escape(disk.node)}(-[bs][0-9]+)?")
    names = (node["node-name"] for node in told)
    return Nodes(disk, {name: files[file_node(name)] for name in names if pattern.fullmatch(name)})


def add_layer(disk: DiskDevice, node: str, file: DiskFile) -> Command:
    """Open a new layer, which nothing uses yet."""
    return Command("blockdev-add", overlay(disk, node, file))


def forget(node: str) -> Command:
    """Close a layer that nothing uses any more."""
    return Command("blockdev-del", {"node-name": node})


def switch(layers: Mapping[str, str]) -> Command:
    """Let every disk go on in a new layer, all at the same moment: from the node written to, to that of the layer."""
    actions = [{"type": "blockdev-snapshot", "data": {"node": node, "overlay": to}} for node, to in layers.items()]
    return Command("transaction", {"actions": actions})


def _number(disk: DiskDevice, node: str) -> int | None:
    """The rank of a node among those that were added by themselves; the first has 0."""
    if node == disk.node:
        return 0
    found = re.fullmatch(rf"{re.escape(disk.node)}-s([0-9]+)", node)
    return int(found[1]) if found else None
