"""Blocks, ranges and addresses: what may be, and what is chosen."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.decide import addresses
from guesthouse.decide.addresses import MODES, Block
from guesthouse.model.errors import Conflict, Invalid, NoCapacity
from guesthouse.model.network import NetworkMode, Subnet


def a_subnet(cidr: str, *, ipv6: bool = False, **words: Any) -> Subnet:
    plain = {
        "id": "s",
        "project": "p",
        "network": "n",
        "name": "one",
        "number": 1,
        "gateway": "",
        "first": "",
        "last": "",
    }
    return addresses.make_subnet(Subnet(**(plain | {"cidr": cidr} | words)), ipv6=ipv6)


def test_a_subnet_gives_all_but_its_gateways_address() -> None:
    subnet = a_subnet("10.1.0.0/24")
    assert (subnet.gateway, subnet.first, subnet.last) == ("10.1.0.1", "10.1.0.2", "10.1.0.254")
    assert (subnet.cidr6, subnet.gateway6) == ("", "")
    smallest = a_subnet("10.1.0.4/30")
    assert (smallest.gateway, smallest.first, smallest.last) == ("10.1.0.5", "10.1.0.6", "10.1.0.6")


@pytest.mark.parametrize(
    ("cidr", "hint"),
    [
        ("10.1.0.1/24", "write 10.1.0.0/24"),
        ("10.1.0.0", "like 10.1.0.0/24"),
        ("10.1.0.0/31", "a prefix from /8 to /30"),
        ("16.0.0.0/7", "a prefix from /8 to /30"),
        ("shop", "like 10.1.0.0/24"),
        ("", "like 10.1.0.0/24"),
        ("fd00::/64", "the house makes those of IPv6"),
        ("127.1.0.0/24", "take a private one"),
        ("100.64.0.0/24", "take a private one"),
        ("169.254.0.0/16", "take a private one"),
        ("240.0.0.0/24", "take a private one"),
        ("224.1.0.0/24", "take a private one"),
        ("0.0.0.0/0", "take a private one"),
    ],
)
def test_what_is_no_block_is_refused(cidr: str, hint: str) -> None:
    with pytest.raises(Invalid) as refused:
        addresses.check_block(cidr)
    assert refused.value.field == "cidr"
    assert refused.value.value == cidr
    assert hint in refused.value.hint


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ({"first": "10.1.0.1"}, "first"),
        ({"first": "10.1.0.0"}, "first"),
        ({"first": "10.2.0.5"}, "first"),
        ({"last": "10.1.0.255"}, "last"),
        ({"last": "many"}, "last"),
        ({"last": "fd00::5"}, "last"),
        ({"first": "10.1.0.9", "last": "10.1.0.8"}, "last"),
    ],
)
def test_a_range_that_is_not_the_subnets_is_refused(words: dict[str, str], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        a_subnet("10.1.0.0/24", **words)
    assert refused.value.field == field
    assert refused.value.hint


@given(st.uuids(), st.uuids(), st.integers(1, addresses.MAX_SUBNETS), st.integers(1, addresses.MAX_SUBNETS))
def test_ipv6_blocks_are_local_and_apart(one: object, other: object, first: int, second: int) -> None:
    block, gateway = addresses.block6(str(one), first)
    assert ip_network(block).subnet_of(ip_network("fd00::/8"))  # type: ignore[arg-type]
    assert ip_network(block).prefixlen == 64
    assert ip_address(gateway) in ip_network(block)
    assert block == addresses.block6(str(one), first)[0]
    if (one, first) != (other, second):
        assert not addresses.overlap(block, addresses.block6(str(other), second)[0])


@given(st.integers(1, 254))
def test_every_machine_of_a_subnet_has_an_ipv6_address_of_its_own(place: int) -> None:
    subnet = a_subnet("10.1.0.0/24", ipv6=True)
    own = addresses.address6(subnet, f"10.1.0.{place}")
    assert (own == subnet.gateway6) == (place == 1)
    assert int(ip_address(own)) - int(ip_address(subnet.gateway6)) == place - 1
    assert addresses.address6(a_subnet("10.1.0.0/24"), f"10.1.0.{place}") == ""
    assert addresses.address6(subnet, "") == ""


def test_a_free_block_overlaps_nothing() -> None:
    taken = [Block("10.100.0.0/24", "one"), Block("10.100.2.0/23", "two"), Block("fd00::/64", "three")]
    assert addresses.free_block([]) == "10.100.0.0/24"
    assert addresses.free_block(taken) == "10.100.1.0/24"
    assert addresses.free_block([*taken, Block("10.100.1.77/32", "four")]) == "10.100.4.0/24"
    with pytest.raises(NoCapacity):
        addresses.free_block([Block("10.0.0.0/8", "all")])


def test_an_overlap_names_who_has_the_addresses() -> None:
    addresses.refuse_overlap("10.1.0.0/24", [Block("10.2.0.0/24", "network a's"), Block("::/0", "all")], "network b")
    with pytest.raises(Conflict, match=r"10\.0\.0\.0/8 is network a's"):
        addresses.refuse_overlap("10.1.0.0/24", [Block("10.0.0.0/8", "network a's")], "network b")


@pytest.mark.parametrize("mode", NetworkMode)
def test_a_mode_takes_what_its_row_says(mode: NetworkMode) -> None:
    said = {
        "cidr": "10.1.0.0/24",
        "first": "10.1.0.9",
        "link": "br0",
        "domain": "a.internal",
        "mtu": 1400,
        "ipv6": True,
    }
    needed = {"link": "br0"} if mode is NetworkMode.BRIDGE else {}
    for name, value in said.items():
        if name in MODES[mode].takes:
            addresses.check_mode(mode, {**needed, name: value})
            continue
        with pytest.raises(Invalid) as refused:
            addresses.check_mode(mode, {**needed, name: value})
        assert (refused.value.field, bool(refused.value.hint)) == (name, True)


def test_the_lowest_number_that_nobody_has() -> None:
    assert [addresses.lowest_free(taken) for taken in ([], [1, 2, 4], [2])] == [1, 3, 1]


def test_elastic_addresses_come_from_pools_lowest_first() -> None:
    pools = ["203.0.113.0/30", "198.51.100.7/32"]
    assert addresses.next_elastic(pools, ()) == "203.0.113.1"
    assert addresses.next_elastic(pools, {"203.0.113.1", "203.0.113.2"}) == "198.51.100.7"
    with pytest.raises(NoCapacity):
        addresses.next_elastic(pools, {"203.0.113.1", "203.0.113.2", "198.51.100.7"})
    assert addresses.check_elastic("203.0.113.2", pools) == "203.0.113.2"
    for address in ("203.0.113.0", "203.0.113.3", "10.0.0.1", "203.0.113.02", "web", ""):
        with pytest.raises(Invalid):
            addresses.check_elastic(address, pools)


@pytest.mark.parametrize("cidr", ["203.0.113.0/33", "203.0.0.0/15", "203.0.113.1/24", "2001:db8::/64", "127.0.0.0/24"])
def test_what_is_no_pool_is_refused(cidr: str) -> None:
    with pytest.raises(Invalid) as refused:
        addresses.check_pool(cidr)
    assert refused.value.field == "cidr"


@pytest.mark.parametrize(("mtu", "ipv6"), [(575, False), (1279, True), (65536, False), (-1, False)])
def test_an_mtu_that_no_packet_fits_is_refused(mtu: int, ipv6: bool) -> None:
    with pytest.raises(Invalid) as refused:
        addresses.check_mtu(mtu, ipv6=ipv6)
    assert refused.value.field == "mtu"
    assert [addresses.check_mtu(each, ipv6=ipv6) for each in (0, 1280, 9000)] == [0, 1280, 9000]


def test_domains() -> None:
    assert addresses.check_domain("shop.guest.internal") == "shop.guest.internal"
    for domain in (
        "Shop.internal",
        "shop..internal",
        ".internal",
        "shop_1.internal",
        "",
        "a." * 100 + "b",
        "-a.internal",
    ):
        with pytest.raises(Invalid):
            addresses.check_domain(domain)
    assert addresses.is_one_in_other("a.internal", "a.internal")
    assert addresses.is_one_in_other("b.a.internal", "a.internal")
    assert addresses.is_one_in_other("a.internal", "b.a.internal")
    assert not addresses.is_one_in_other("ba.internal", "a.internal")
