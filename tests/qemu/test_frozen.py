"""Which trees a frozen machine can become."""

from __future__ import annotations

import msgspec
import pytest
from tests.qemu.scenarios import MACHINE_TYPE, disk, nic

from guesthouse.model.machine import Bus, Cache, DiskSpec, MachineSpec, NicModel
from guesthouse.qemu.devices import Device, NicDevice, Seated, Seed
from guesthouse.qemu.frozen import handed_on, match, without_identity
from guesthouse.qemu.place import place
from guesthouse.qemu.placed import Placed

PLAIN = MachineSpec(name="small", nics=())
FROZEN_ROOT, ROOT = disk(1), disk(2)
WITH_MORE = (disk(3), disk(4, bus=Bus.SCSI), disk(5, bus=Bus.SCSI))
NICS = (nic(1), nic(2, NicModel.E1000))


def placed(*disks: DiskSpec, machine_type: str = MACHINE_TYPE, **changes: object) -> Placed:
    """The tree of a machine that is asked for."""
    return place(msgspec.structs.replace(PLAIN, disks=disks, **changes), machine_type=machine_type)


def frozen(*disks: DiskSpec, **changes: object) -> Placed:
    """The tree of a template."""
    return without_identity(placed(*disks, **changes))


def built_in(tree: Placed) -> set[str]:
    return {device.id for device in tree.devices if not isinstance(device, Seated)}


def test_a_template_has_neither_nic_nor_seed() -> None:
    tree = frozen(ROOT, nics=NICS)
    assert not any(isinstance(device, NicDevice | Seed) for device in tree.devices)
    assert {device.id for device in tree.devices} == built_in(placed()) | {device.id for device in tree.disks}


def test_the_same_tree_has_all_but_the_seed() -> None:
    assert match(placed(), frozen()) == built_in(placed())


@pytest.mark.parametrize("more", [{}, {"nics": NICS}])
@pytest.mark.parametrize("disks", [(), WITH_MORE])
def test_what_is_beyond_it_can_be_plugged(disks: tuple[DiskSpec, ...], more: dict[str, object]) -> None:
    tree = placed(*disks, **more)
    assert match(tree, frozen()) == built_in(tree)


@pytest.mark.parametrize("more", [{}, {"nics": NICS}])
@pytest.mark.parametrize("disks", [(), WITH_MORE])
def test_the_forks_own_root_disk_is_the_frozen_one(disks: tuple[DiskSpec, ...], more: dict[str, object]) -> None:
    tree = placed(ROOT, *disks, **more)
    assert match(tree, frozen(FROZEN_ROOT)) == built_in(tree) | {tree.disk(ROOT.disk).id}


def test_what_is_started_cold_is_the_frozen_tree_device_by_device() -> None:
    tree, template = placed(ROOT, *WITH_MORE, nics=NICS), frozen(FROZEN_ROOT)
    devices = match(tree, template)
    assert devices is not None
    assert [seen(device) for device in tree.only(devices).devices] == [seen(device) for device in template.devices]


def seen(device: Device) -> dict[str, object]:
    """What a guest has seen of a device that it has not asked for its serial number."""
    return {name: value for name, value in device.mapping().items() if name not in ("id", "drive", "serial")}


@pytest.mark.parametrize(
    "changes",
    [
        {"memory_mib": 1024},
        {"vcpus": 2},
        {"machine_type": "pc-q35-7.1"},
        {"screen": True},
        {"rng": False},
        {"vmgenid": False},
        {"balloon": False},
        {"agent": False},
    ],
)
def test_another_machine_cannot_become_it(changes: dict[str, object]) -> None:
    assert match(placed(ROOT, **changes), frozen(FROZEN_ROOT)) is None
    assert match(placed(ROOT), frozen(FROZEN_ROOT, **changes)) is None


@pytest.mark.parametrize(
    "disks",
    [
        (),
        (disk(2, bus=Bus.SCSI),),
        (disk(2, bus=Bus.IDE),),
        (disk(2, cache=Cache.WRITETHROUGH),),
        (ROOT, disk(3, bus=Bus.IDE)),
    ],
)
def test_another_root_disk_or_one_that_cannot_be_plugged_does_not_match(disks: tuple[DiskSpec, ...]) -> None:
    assert match(placed(*disks), frozen(FROZEN_ROOT)) is None


def test_a_root_disk_on_another_seat_does_not_match() -> None:
    before = placed(disk(3), ROOT)
    moved = place(msgspec.structs.replace(PLAIN, disks=(ROOT,)), before, machine_type=MACHINE_TYPE)
    assert moved.disk(ROOT.disk).seat != placed(ROOT).disk(ROOT.disk).seat
    assert match(moved, frozen(FROZEN_ROOT)) is None


def test_a_tree_that_another_machine_has_is_the_same_by_other_names() -> None:
    tree = placed(ROOT, nics=NICS)
    own = msgspec.structs.replace(ROOT, disk="e" * 36)
    nics = tuple(msgspec.structs.replace(nic, mac=nic.mac.replace("52:54", "5a:5a")) for nic in NICS)
    other = handed_on(tree, {ROOT.disk: own.disk}, {old.mac: new.mac for old, new in zip(NICS, nics, strict=True)})
    assert [device.address() for device in other.devices] == [device.address() for device in tree.devices]
    again = msgspec.structs.replace(PLAIN, disks=(own,), nics=nics)
    assert place(again, other, machine_type=MACHINE_TYPE) == other == placed(own, nics=nics)
