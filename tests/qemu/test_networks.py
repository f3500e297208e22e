"""The numbers of user-mode networks, as QEMU gives them."""

from __future__ import annotations

import msgspec
from tests.qemu.scenarios import MACHINE_TYPE, nic

from guesthouse.model.machine import MachineSpec
from guesthouse.qemu import networks
from guesthouse.qemu.place import place

A, B, C = (nic(number) for number in (1, 2, 3))
PLACED = place(MachineSpec(name="first", nics=(A, B)), machine_type=MACHINE_TYPE)


def ids(*nics: str, **numbers: int) -> list[str]:
    """The networks of a machine with these numbers, in their order; a NIC by its letter."""
    macs = {"A": A.mac, "B": B.mac, "C": C.mac}
    spec = MachineSpec(name="first", nics=tuple(one for one, name in ((A, "A"), (B, "B"), (C, "C")) if name in nics))
    placed = place(spec, machine_type=MACHINE_TYPE)
    netdevs = {placed.nic(macs[name]).netdev: name for name in nics}
    told = networks.backends(placed, "first", {macs[name]: number for name, number in numbers.items()}, {})
    return [netdevs.get(one["id"], one["id"]) for one in told]


def test_at_the_start_they_are_in_order() -> None:
    assert networks.at_start(PLACED) == {A.mac: 0, B.mac: 1}
    assert ids("A", "B") == ids("A", "B", A=0, B=1) == ["A", "B"]


def test_one_more_has_one_more_than_the_greatest() -> None:
    numbers = networks.at_start(PLACED)
    left = {B.mac: numbers[B.mac]}
    assert networks.with_one_more(left, C.mac) == {B.mac: 1, C.mac: 2}
    assert networks.with_one_more({}, C.mac) == {C.mac: 0}
    assert networks.with_one_more({C.mac: 4, B.mac: 1}, C.mac) == {B.mac: 1, C.mac: 2}


def test_gaps_are_filled_and_emptied_again() -> None:
    assert ids("B", "C", B=1, C=3) == ["filler0", "B", "filler2", "C"]
    gone = [command.arguments["id"] for command in networks.without_fillers({B.mac: 1, C.mac: 3})]
    assert gone == ["filler0", "filler2"]
    assert list(networks.without_fillers({A.mac: 0, B.mac: 1})) == []


def test_the_order_in_which_they_came_is_kept() -> None:
    assert ids("A", "B", A=1, B=0) == ["B", "A"]


def test_a_filler_leads_nowhere() -> None:
    (filler, _) = networks.backends(msgspec.structs.replace(PLACED, devices=(PLACED.nic(B.mac),)), "x", {B.mac: 1}, {})
    assert filler["restrict"] is True


def test_networks_made_anew_leave_what_was_saved_in_the_gaps() -> None:
    numbers = networks.made_anew({"a": 0, "b": 2})
    assert numbers == {"a": 3, "b": 5}
    assert networks.made_anew({}) == {}
