"""What groups let through: random groups, rules and packets against the words of model/network.py, in the kernel."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.firewall.box import Box, alone
from tests.firewall.reference import Packet, Street, comes_to, expected, packets, passes, verdict
from tests.firewall.wanted import a_group, a_network, a_port, a_rule, a_subnet, an_id

from guesthouse.model.network import Direction, NetworkWanted, Protocol, Rule

SUBNETS = (a_subnet(), a_subnet(2, "10.0.1.0/24", "fd00:2::/64"))
HOMES = {1: SUBNETS[0], 2: SUBNETS[0], 3: SUBNETS[0], 4: SUBNETS[1]}
ELASTIC = "203.0.113.50"
GROUPS = tuple(a_group(number).id for number in (1, 2, 3))
ELSEWHERE = an_id(0x6_9999)
CIDRS = (
    "0.0.0.0/0 10.0.0.0/24 10.0.0.11/32 10.0.1.0/25 198.51.100.0/24 255.255.255.255/32 224.0.0.0/4 "
    "::/0 fd00:1::/64 fd00:1::12/128 fd00:2::/64 2001:db8:7::/48 fe80::/10 ff02::/16"
).split()
STREET = Street({number: subnet.id for number, subnet in HOMES.items()}, {1: ELASTIC}, ipv6=True)

SPANS = ((0, 0), (22, 22), (80, 443), (1, 65535))
ICMP_KINDS = ((-1, -1), (8, -1), (8, 0), (13, 1), (128, -1), (128, 1), (0, 0))


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    protocol = draw(st.sampled_from(Protocol))
    has_ports = protocol in (Protocol.TCP, Protocol.UDP)
    span = (0, 0) if protocol is Protocol.ANY else draw(st.sampled_from(SPANS if has_ports else ICMP_KINDS))
    others = draw(
        st.one_of(
            st.sampled_from(CIDRS).map(lambda cidr: {"cidr": cidr}),
            st.sampled_from((*GROUPS, ELSEWHERE)).map(lambda group: {"group": group}),
        )
    )
    return a_rule(draw(st.sampled_from(Direction)), protocol, span, **others)


@st.composite
def networks(draw: st.DrawFn) -> NetworkWanted:
    groups = [a_group(number, *draw(st.lists(rules(), max_size=6))) for number in (1, 2, 3)]
    lots = st.lists(st.sampled_from(GROUPS), max_size=2)
    ports = [
        a_port(number, draw(lots), subnet=subnet, elastic=ELASTIC if number == 1 else "")
        for number, subnet in HOMES.items()
    ]
    return a_network("private", ports, groups, subnets=SUBNETS)


@settings(max_examples=250)
@given(networks(), st.lists(packets(STREET), min_size=1, max_size=20))
def test_lines_say_what_the_rules_say(wanted: NetworkWanted, sent: list[Packet]) -> None:
    for packet in sent:
        assert verdict(wanted, packet) == passes(wanted, packet), packet


def test_the_kernel_does_what_the_rules_say() -> None:
    def look() -> None:
        box = Box(a_network("private", [a_port(n, subnet=subnet) for n, subnet in HOMES.items()], subnets=SUBNETS))
        tokens = iter(range(0x5EED_0000, 0x5EED_FFFF))

        @settings(max_examples=60)
        @given(networks(), st.lists(packets(STREET), min_size=8, max_size=16))
        def play(wanted: NetworkWanted, sent: list[Packet]) -> None:
            box.change(wanted)
            for packet in sent:
                assert comes_to(box, wanted, packet, next(tokens)) == expected(wanted, packet), packet

        play()

    alone(look)
