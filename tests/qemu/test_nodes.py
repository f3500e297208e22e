"""Which nodes of a disk are which, in QEMU's own words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.qemu.scenarios import FOLDER, MACHINE_TYPE, disk

from guesthouse.model.machine import MachineSpec
from guesthouse.qemu.nodes import Nodes, nodes_of
from guesthouse.qemu.place import place

DISK, OTHER = disk(1), disk(2)
PLACED = place(MachineSpec(name="first", nics=(), disks=(DISK, OTHER)), machine_type=MACHINE_TYPE)
DEVICE = PLACED.disk(DISK.disk)


def told(*names: str, device: str = DEVICE.node) -> list[dict[str, Any]]:
    """What QEMU says of layers with these endings and of their files, as `query-named-block-nodes` does."""
    said = []
    for name in names:
        node = f"{device}{name}"
        said.append({"node-name": node, "drv": "qcow2", "file": "json:{...}"})
        said.append({"node-name": f"{node}-f", "drv": "file", "file": str(FOLDER / f"layer{name}")})
    return said


def look(*names: str) -> Nodes:
    strangers = told("", "-s1", "-s7", device=PLACED.disk(OTHER.disk).node)
    return nodes_of(DEVICE, [*strangers, *told(*names), {"node-name": "uefi-code", "drv": "raw", "file": "/x"}])


def test_a_disk_that_never_was_in_a_snapshot() -> None:
    nodes = look("", "-b1")
    assert nodes.files == {DEVICE.node: FOLDER / "layer", f"{DEVICE.node}-b1": FOLDER / "layer-b1"}
    assert nodes.added == (DEVICE.node,)
    assert nodes.next() == f"{DEVICE.node}-s1"


def test_what_was_added_by_itself_is_taken_away_so() -> None:
    nodes = look("-b1", "-s2", "", "-s1", "-b2", "-s4")
    assert nodes.added == tuple(f"{DEVICE.node}{end}" for end in ("-s2", "", "-s1", "-s4"))
    assert nodes.next() == f"{DEVICE.node}-s3"


def test_a_disk_whose_first_layer_was_merged_away() -> None:
    nodes = look("-s3", "-b2")
    assert nodes.added == (f"{DEVICE.node}-s3",)
    assert nodes.next() == f"{DEVICE.node}-s1"


def test_the_node_of_a_file() -> None:
    nodes = look("", "-b1", "-s1")
    assert nodes.of(FOLDER / "layer-b1") == f"{DEVICE.node}-b1"
    assert nodes.of(FOLDER / "layer-s1") == f"{DEVICE.node}-s1"
    assert nodes.of(Path("/elsewhere")) == ""


def test_a_disk_that_qemu_does_not_have() -> None:
    nodes = look()
    assert (nodes.files, nodes.added, nodes.next()) == ({}, (), f"{DEVICE.node}-s1")


def test_names_are_short_enough_for_qemu() -> None:
    # As many as a machine ever has, and more.
    names = [f"-s{number}" for number in range(1, 99)]
    assert len(f"{look(*names).next()}-f") <= 31
