"""Addresses: never two devices on one, never another one for a device that stays."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.qemu.scenarios import FOLDER, MACHINE_TYPE, Scenario, disk, nic

from guesthouse.model.errors import Invalid, NotFound
from guesthouse.model.machine import Bus, Cache, DiskSpec, MachineSpec, NicModel, NicSpec
from guesthouse.qemu import hotplug
from guesthouse.qemu.block import DiskFile
from guesthouse.qemu.command import command
from guesthouse.qemu.devices import Device, Seed
from guesthouse.qemu.place import SEATS, place
from guesthouse.qemu.placed import Placed

disks = st.builds(
    DiskSpec,
    disk=st.integers(0, 5).map(lambda number: disk(number).disk),
    bus=st.sampled_from(Bus),
    cache=st.sampled_from(Cache),
    thin=st.booleans(),
)
nics = st.builds(NicSpec, mac=st.integers(0, 5).map(lambda number: nic(number).mac), model=st.sampled_from(NicModel))
specs = st.builds(
    MachineSpec,
    name=st.just("first"),
    vcpus=st.integers(1, 8),
    memory_mib=st.integers(64, 4096),
    disks=st.lists(disks, max_size=6, unique_by=lambda one: one.disk).map(tuple),
    nics=st.lists(nics, max_size=6, unique_by=lambda one: one.mac).map(tuple),
    rng=st.booleans(),
    vmgenid=st.booleans(),
    balloon=st.booleans(),
    agent=st.booleans(),
    screen=st.booleans(),
)
histories = st.lists(specs, min_size=1, max_size=5)
_ADDRESSES = ("bus", "addr", "nr", "unit", "lun", "port")


def lived(history: list[MachineSpec]) -> list[Placed]:
    """The trees of a machine that was described one way after the other."""
    trees: list[Placed] = []
    for spec in history:
        trees.append(place(spec, trees[-1] if trees else None, machine_type=MACHINE_TYPE))
    return trees


def address(device: Device) -> tuple[Any, ...]:
    where = device.address()
    return tuple(where.get(name) for name in _ADDRESSES)


def sort_of(device: Device) -> tuple[Any, ...]:
    return type(device), device.id


@given(histories)
def test_no_two_devices_share_an_id_an_address_or_a_boot_index(history: list[MachineSpec]) -> None:
    for tree in lived(history):
        assert max(Counter(device.id for device in tree.devices).values()) == 1
        assert max(Counter(address(device) for device in tree.devices if device.address()).values()) == 1
        assert len({one.boot_index for one in tree.disks}) == len(tree.disks)


@given(histories)
def test_every_bus_that_a_device_sits_on_is_there(history: list[MachineSpec]) -> None:
    for tree in lived(history):
        ids = {device.id for device in tree.devices}
        for device in tree.devices:
            bus = device.address().get("bus", "pcie.0")
            assert bus in ids or bus.removesuffix(".0") in ids or bus in {"pcie.0", *(f"ide.{n}" for n in range(6))}


@given(histories)
def test_a_device_that_stays_keeps_its_address(history: list[MachineSpec]) -> None:
    trees = lived(history)
    for before, after in pairwise(trees):
        old = {sort_of(device): device for device in before.devices}
        for device in after.devices:
            if sort_of(device) in old:
                assert address(device) == address(old[sort_of(device)])


@given(histories)
def test_placing_again_changes_nothing(history: list[MachineSpec]) -> None:
    last = lived(history)[-1]
    assert place(history[-1], last, machine_type="pc-q35-9.9") == last


@given(histories)
def test_a_tree_is_kept_and_read_back_equal(history: list[MachineSpec]) -> None:
    for tree in lived(history):
        assert msgspec.json.decode(msgspec.json.encode(tree), type=Placed) == tree


@given(histories)
def test_the_tree_has_what_the_spec_asks_for(history: list[MachineSpec]) -> None:
    for spec, tree in zip(history, lived(history), strict=True):
        assert {(one.disk, one.bus, one.cache, one.thin) for one in tree.disks} == {
            (one.disk, one.bus, one.cache, one.thin) for one in spec.disks
        }
        assert {(one.mac, one.driver == "e1000") for one in tree.nics} == {
            (one.mac, one.model is NicModel.E1000) for one in spec.nics
        }
        for field, id in (("rng", "rng"), ("balloon", "balloon"), ("agent", "agent-channel"), ("screen", "screen")):
            assert getattr(spec, field) is (tree.get(id) is not None)


@given(histories)
def test_boot_and_hot_plug_describe_a_device_alike(history: list[MachineSpec]) -> None:
    spec, tree = history[-1], lived(history)[-1]
    boot = Scenario(spec).boot()
    options = rendered(command(tree, boot))
    bare = place(msgspec.structs.replace(spec, disks=(), nics=()), machine_type=MACHINE_TYPE)
    for one in spec.disks:
        for message in hotplug.plug_disk(tree, one.disk, boot.disks[one.disk], live=bare):
            assert message.arguments in options[message.name]
    for card in spec.nics:
        for message in hotplug.plug_nic(tree, card.mac, spec.name):
            assert message.arguments in options[message.name]
    seed = tree.get("seed")
    assert isinstance(seed, Seed)
    for message in hotplug.plug_seed(seed, boot.seed):
        assert message.arguments in options[message.name]


def rendered(argv: tuple[str, ...]) -> dict[str, list[dict[str, Any]]]:
    """The JSON of the command line, under the QMP command that would do the same."""
    names = {"-device": "device_add", "-blockdev": "blockdev-add", "-netdev": "netdev_add"}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names.values()}
    for option, value in pairwise(argv):
        if option in names:
            found[names[option]].append(msgspec.json.decode(value))
    return found


def test_the_guest_counts_disks_and_nics_in_the_order_of_the_spec() -> None:
    spec = MachineSpec(name="first", disks=tuple(map(disk, range(1, 6))), nics=tuple(map(nic, range(1, 6))))
    tree = place(spec, machine_type=MACHINE_TYPE)
    assert [one.disk for one in tree.disks] == [one.disk for one in spec.disks]
    assert [one.mac for one in tree.nics] == [one.mac for one in spec.nics]
    assert [one.boot_index for one in tree.disks] == [1, 2, 3, 4, 5]
    seed = tree.get("seed")
    assert seed is not None
    assert seed.address() == {"bus": "port15", "addr": "0x0"}


def test_a_freed_seat_is_taken_again() -> None:
    spec = MachineSpec(name="first", disks=(disk(1), disk(2), disk(3)), nics=())
    first = place(spec, machine_type=MACHINE_TYPE)
    fewer = msgspec.structs.replace(spec, disks=(disk(1), disk(3)))
    other = msgspec.structs.replace(spec, disks=(disk(1), disk(3), disk(4)))
    again = place(other, place(fewer, first, machine_type=MACHINE_TYPE), machine_type=MACHINE_TYPE)
    assert again.disk(disk(4).disk).seat == first.disk(disk(2).disk).seat
    assert again.disk(disk(4).disk).boot_index == 2


def test_the_scsi_controller_stays_when_its_last_disk_has_gone() -> None:
    spec = MachineSpec(name="first", disks=(disk(1, bus=Bus.SCSI),), nics=())
    first = place(spec, machine_type=MACHINE_TYPE)
    without = place(msgspec.structs.replace(spec, disks=()), first, machine_type=MACHINE_TYPE)
    assert without.scsi == first.scsi is not None
    names = [message.name for message in hotplug.plug_disk(first, disk(1).disk, file(), live=without)]
    assert names == ["blockdev-add", "device_add"]


def file() -> DiskFile:
    return DiskFile(FOLDER / "disk.qcow2")


@pytest.mark.parametrize(
    ("spec", "field", "said"),
    [
        (MachineSpec(name="m", nics=(), disks=tuple(map(disk, range(16)))), "disks", "15 PCI Express ports"),
        (MachineSpec(name="m", nics=tuple(map(nic, range(16)))), "nics", "15 PCI Express ports"),
        (MachineSpec(name="m", nics=tuple(nic(n, NicModel.E1000) for n in range(9))), "nics", "8 PCI Express ports"),
        (MachineSpec(name="m", disks=tuple(disk(n, bus=Bus.IDE) for n in range(7))), "disks", "6 IDE ports"),
        (MachineSpec(name="m", disks=tuple(disk(n, bus=Bus.SCSI) for n in range(65))), "disks", "64 SCSI units"),
        (MachineSpec(name="m", disks=(disk(1), disk(1))), "disks", "2 times"),
        (MachineSpec(name="m", nics=(nic(1), nic(1))), "nics", "2 times"),
        (MachineSpec(name="m", disks=(DiskSpec(),), nics=()), "disks", "without the id"),
        (MachineSpec(name="m", nics=(NicSpec(),)), "nics", "without a MAC"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(spec: MachineSpec, field: str, said: str) -> None:
    if field == "disks":
        spec = msgspec.structs.replace(spec, nics=())
    with pytest.raises(Invalid, match=said) as caught:
        place(spec, machine_type=MACHINE_TYPE)
    assert caught.value.field == field


def test_the_last_seat_can_be_taken() -> None:
    ports, units, ahci = (SEATS[kind].seats for kind in ("port", "lun", "ahci"))
    numbers = iter(range(1000))
    spec = MachineSpec(
        name="full",
        disks=(
            *(disk(next(numbers)) for _ in range(ports - 3)),
            *(disk(next(numbers), bus=Bus.SCSI) for _ in range(units)),
            *(disk(next(numbers), bus=Bus.IDE) for _ in range(ahci)),
        ),
        nics=(nic(1), nic(2)),
    )
    tree = place(spec, machine_type=MACHINE_TYPE)
    assert len(tree.disks) == ports - 3 + units + ahci
    with pytest.raises(Invalid):
        place(msgspec.structs.replace(spec, nics=(nic(1), nic(2), nic(3))), tree, machine_type=MACHINE_TYPE)


def test_an_unknown_disk_or_nic_is_not_found() -> None:
    tree = place(MachineSpec(name="m", nics=()), machine_type=MACHINE_TYPE)
    with pytest.raises(NotFound, match="nowhere"):
        tree.disk("nowhere")
    with pytest.raises(NotFound, match="52:54"):
        hotplug.unplug_nic(tree, "52:54:00:00:00:00")
