"""From one set of rules to another: what the kernel has afterwards is what the whole text gives."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.firewall.box import TAG, alone, nft, ruleset
from tests.firewall.test_groups import networks
from tests.firewall.wanted import a_group, a_network, a_port, a_rule, a_subnet

from guesthouse.formats.netfilter import TABLES, change, inside, without
from guesthouse.model.machine import Forward
from guesthouse.model.network import NetworkWanted

WEB = a_group(1, a_rule("in", "tcp", (80, 80), cidr="0.0.0.0/0"))
WEB_TOO = a_group(1, a_rule("in", "tcp", (80, 80), cidr="0.0.0.0/0"), a_rule("in", "tcp", (443, 443), cidr="::/0"))
DATABASE = a_group(2, a_rule("in", "tcp", (5432, 5432), group=WEB.id))
FORWARD = Forward(guest_port=22, host_port=2222)
SECOND = a_subnet(2, "10.0.1.0/24", "fd00:2::/64")
# Each is made of the one before it.
HISTORIES = {
    "ports come and go": (
        a_network("nat"),
        a_network("nat", [a_port(1)]),
        a_network("nat", [a_port(1), a_port(2)]),
        a_network("nat", [a_port(2)]),
        a_network("nat"),
    ),
    "one takes the address of another": (
        a_network("nat", [a_port(1)]),
        a_network("nat", [a_port(2, forwards=(FORWARD,))]),
        a_network("nat", [a_port(1, forwards=(FORWARD,))]),
    ),
    "guards": (
        a_network("nat", [a_port(1)]),
        a_network("nat", [a_port(1, guarded=False)]),
        a_network("nat", [a_port(1)]),
    ),
    "groups": (
        a_network("private", [a_port(1)]),
        a_network("private", [a_port(1, [WEB.id])], [WEB]),
        a_network("private", [a_port(1, [WEB.id]), a_port(2, [DATABASE.id])], [WEB, DATABASE]),
        a_network("private", [a_port(1, [WEB.id]), a_port(2, [DATABASE.id])], [WEB_TOO, DATABASE]),
        a_network("private", [a_port(1, [WEB.id]), a_port(2, [WEB.id, DATABASE.id])], [WEB_TOO, DATABASE]),
        a_network("private", [a_port(1, [WEB.id]), a_port(2, [WEB.id, DATABASE.id])], [DATABASE]),
        a_network("private", [a_port(1), a_port(2)]),
    ),
    "elastic addresses": (
        a_network("private", [a_port(1), a_port(2)]),
        a_network("private", [a_port(1, elastic="203.0.113.50"), a_port(2)]),
        a_network("private", [a_port(1), a_port(2, elastic="203.0.113.50")]),
        a_network("private", [a_port(1), a_port(2, elastic="203.0.113.51")]),
    ),
    "subnets": (
        a_network("private", [a_port(1)]),
        a_network("private", [a_port(1), a_port(2, subnet=SECOND)], subnets=[a_subnet(), SECOND]),
        a_network("private", [a_port(2, subnet=SECOND)], subnets=[SECOND]),
    ),
}


def _is_as_whole(before: NetworkWanted, after: NetworkWanted) -> None:
    nft(inside(before, TAG))
    nft(change(before, after, TAG))
    changed = ruleset()
    nft(inside(after, TAG))
    assert changed == ruleset()


@pytest.mark.parametrize("name", HISTORIES)
def test_steps(name: str) -> None:
    def look() -> None:
        for before, after in itertools.pairwise(HISTORIES[name]):
            _is_as_whole(before, after)

    alone(look)


def test_random_steps() -> None:
    def look() -> None:
        @settings(max_examples=30)
        @given(networks(), networks())
        def play(before: NetworkWanted, after: NetworkWanted) -> None:
            _is_as_whole(before, after)

        play()

    alone(look)


def test_what_is_the_same_is_not_written() -> None:
    for history in HISTORIES.values():
        for wanted in history:
            assert change(wanted, wanted, TAG) == ""
    one, two = HISTORIES["ports come and go"][1:3]
    assert "tap1" not in change(one, two, TAG)
    assert "chain" not in change(one, two, TAG)


@settings(max_examples=50)
@given(networks(), st.randoms(use_true_random=False))
def test_the_order_of_things_does_not_matter(wanted: NetworkWanted, random: st.RandomNumbers) -> None:
    ports = list(wanted.ports)
    random.shuffle(ports)
    other = NetworkWanted(network=wanted.network, subnets=wanted.subnets, ports=tuple(ports), groups=wanted.groups)
    assert change(wanted, other, TAG) == ""


def test_nothing_is_left() -> None:
    def look() -> None:
        nft(inside(HISTORIES["groups"][3], TAG))
        nft(without(TABLES))
        assert [row for row in ruleset() if not row[0].startswith("metainfo")] == []

    alone(look)
