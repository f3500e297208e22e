"""Rule sets of networks: golden files, and that nft takes them. What they do is proven in tests/firewall."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.firewall.wanted import a_group, a_network, a_port, a_rule, a_subnet, all_of, an_id
from tests.golden.golden import Golden

from guesthouse.formats import nftables
from guesthouse.formats.links import transit
from guesthouse.formats.netfilter import inside, outside, table_of
from guesthouse.model.machine import Forward

HOME = Path("/var/lib/guesthouse")
TAG = "ab12"

WEB = a_group(
    1,
    *all_of("out"),
    a_rule("in", "tcp", (80, 80), cidr="0.0.0.0/0"),
    a_rule("in", "tcp", (80, 80), cidr="::/0"),
    a_rule("in", "icmp", (8, -1), cidr="0.0.0.0/0"),
    a_rule("in", "icmp6", (128, 0), cidr="::/0"),
)
DATABASE = a_group(
    2,
    a_rule("in", "tcp", (5432, 5440), group=WEB.id),
    a_rule("in", "udp", cidr="10.0.0.0/25"),
    a_rule("in", "icmp", (-1, -1), group=WEB.id),
    a_rule("out", group=an_id(0x6_9999)),
)
SECOND = a_subnet(2, "10.0.1.0/24", "fd00:2::/64")
NETWORKS = {
    "nat": a_network(
        "nat",
        [a_port(1, forwards=(Forward(guest_port=22, host_port=2222),)), a_port(2, guarded=False)],
        connections=16384,
    ),
    "host-only": a_network("host-only", [a_port(1)], number=2),
    "private": a_network(
        "private",
        [
            a_port(1, [WEB.id], elastic="203.0.113.50"),
            a_port(2, [DATABASE.id, WEB.id]),
            a_port(3, [DATABASE.id], subnet=SECOND, elastic="2001:db8::50"),
            a_port(4, [an_id(0x6_9999)]),
            a_port(5),
        ],
        [WEB, DATABASE],
        number=3,
        subnets=[a_subnet(), SECOND],
    ),
    "overlapping": a_network("private", [a_port(1)], number=4),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_inside(golden: Golden, name: str) -> None:
    golden(f"netfilter/{name}.nft", inside(NETWORKS[name], TAG))


def test_outside(golden: Golden) -> None:
    golden("netfilter/outside.nft", outside(table_of(HOME), TAG, tuple(NETWORKS.values())))


def test_the_fence_keeps_a_table_of_its_own() -> None:
    assert table_of(HOME).startswith(nftables.table_of(HOME))
    assert table_of(HOME) != nftables.table_of(HOME)


def test_networks_differ_in_nothing_but_their_own_link() -> None:
    """Two tenants may have the same addresses: their rules are the same but for the transit link."""
    texts = []
    for number in (4, 9):
        text = inside(a_network("private", [a_port(1)], number=number), TAG)
        ends = transit(TAG, number)
        texts.append(text.replace(ends.host6, "HOST6").replace(ends.host, "HOST"))
    assert texts[0] == texts[1]
