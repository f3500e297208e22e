"""Which block nodes QEMU has of a disk: snapshots and merges have changed them since the start, so QEMU is asked.

Rules
-----
1. Nodes are called ``disk-X`` (the layer that the process began with), ``disk-X-b1``... (what lies under that) and
   ``disk-X-s1``... (layers that came since, in no order); the file of each has ``-f`` after its name.
2. `disk-X` and `disk-X-sN` were added by us, one by one, and are taken away so, each when no other stands on it. What
   lies under ``disk-X`` goes with the last one that stands on it.
3. The node that a device writes to is its property ``drive``.

Source: QEMU's qapi/block-core.json (query-named-block-nodes, blockdev-snapshot).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import count
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
        """Those that are to be taken away one by one."""
        return tuple(node for node in self.files if not node.startswith(f"{self.disk.node}-b"))

    def of(self, path: Path) -> str:
        """The node of a file; empty where none has it open."""
        return next((node for node, file in self.files.items() if file == path), "")

    def next(self) -> str:
        """A name for one more layer; the least number that is free, for names are 31 characters at most."""
        return next(name for number in count(1) if (name := f"{self.disk.node}-s{number}") not in self.files)


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
