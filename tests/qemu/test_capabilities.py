"""What a QEMU tells of itself."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from guesthouse.model.errors import NoCapacity
from guesthouse.qemu.capabilities import Capabilities, parse

MACHINES = [
    {"name": "pc-q35-7.2", "alias": "q35", "cpu-max": 288, "hotpluggable-cpus": True},
    {"name": "pc-q35-7.1", "cpu-max": 288},
    {"name": "microvm", "cpu-max": 288},
]
TYPES = [{"name": "virtio-blk-pci", "parent": "virtio-blk-pci-base"}, {"name": "e1000", "parent": "e1000-base"}]


def greeting(major: int, minor: int, micro: int = 0) -> dict[str, Any]:
    number = {"major": major, "minor": minor, "micro": micro}
    return {"QMP": {"version": {"qemu": number, "package": "Debian 1:7.2"}, "capabilities": ["oob"]}}


def test_version_machine_types_and_devices_are_read() -> None:
    able = parse(greeting(7, 2, 22), MACHINES, TYPES)
    assert able.release == "7.2.22"
    assert able.package == "Debian 1:7.2"
    assert able.machine_type() == able.machine_type("pc-q35-7.2") == "pc-q35-7.2"
    assert able.devices == {"virtio-blk-pci", "e1000"}
    assert msgspec.json.decode(msgspec.json.encode(able), type=Capabilities) == able


def test_an_unknown_machine_type_is_told_with_those_there_are() -> None:
    with pytest.raises(NoCapacity, match="no machine type q36") as caught:
        parse(greeting(8, 0), MACHINES, TYPES).machine_type("q36")
    assert caught.value.hint == "it has microvm, pc-q35-7.1, pc-q35-7.2"


def test_a_missing_device_is_told_by_name() -> None:
    able = parse(greeting(8, 0), MACHINES, TYPES)
    able.require(["e1000", "virtio-blk-pci"])
    with pytest.raises(NoCapacity, match=r"QEMU 8\.0\.0 has no device vmgenid"):
        able.require(["e1000", "vmgenid"])


@pytest.mark.parametrize(("major", "minor"), [(7, 1), (6, 9)])
def test_a_qemu_too_old_is_refused(major: int, minor: int) -> None:
    with pytest.raises(NoCapacity, match=f"QEMU {major}.{minor}.0 is too old"):
        parse(greeting(major, minor), MACHINES, TYPES)
