"""What groups let through: random groups, rules and packets against the words of model/network.py, in the kernel."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.firewall.box import FAR, FAR6, UPLINK, Box, alone, uplink_frame
from tests.firewall.frames import ALL, IPV4, IPV6, echo, frame, tcp, udp
from tests.firewall.wanted import a_group, a_network, a_port, a_rule, a_subnet, an_id

from guesthouse.formats.links import link_local
from guesthouse.model.judgement import Allow, allows
from guesthouse.model.network import Direction, NetworkWanted, Port, Protocol, Rule

SUBNETS = (a_subnet(), a_subnet(2, "10.0.1.0/24", "fd00:2::/64"))
HOMES = {1: SUBNETS[0], 2: SUBNETS[0], 3: SUBNETS[0], 4: SUBNETS[1]}
ELASTIC = "203.0.113.50"
GROUPS = tuple(a_group(number).id for number in (1, 2, 3))
ELSEWHERE = an_id(0x6_9999)
CIDRS = (
    "0.0.0.0/0 10.0.0.0/24 10.0.0.11/32 10.0.1.0/25 198.51.100.0/24 255.255.255.255/32 224.0.0.0/4 "
    "::/0 fd00:1::/64 fd00:1::12/128 fd00:2::/64 2001:db8:7::/48 fe80::/10 ff02::/16"
).split()
EVERYBODY = {4: "255.255.255.255", 6: "ff02::1"}


class Packet(NamedTuple):
    """The first of a connection: from a port or 0, the outside; to a port, 0, or -1, all of its link.

    Of ICMP `kind` is the type and `code` the code, else the port that is asked.
    """

    source: int
    target: int
    version: int
    protocol: Protocol
    kind: int
    code: int = 0
    local: bool = False


# --- the words, once more ---------------------------------------------------------------------------------------------


def passes(wanted: NetworkWanted, packet: Packet) -> bool:
    """Rule 4 of model/network.py, for a packet that begins a connection and arrives at `packet.target`."""
    by_number = {each.port.number: each.port for each in wanted.ports}
    source, target = address_of(wanted, packet, packet.source), address_of(wanted, packet, packet.target)
    leaves = packet.source == 0 or may(wanted, by_number[packet.source], Direction.OUT, packet, target)
    arrives = packet.target <= 0 or may(wanted, by_number[packet.target], Direction.IN, packet, source)
    return leaves and arrives


def address_of(wanted: NetworkWanted, packet: Packet, number: int) -> str:
    if number <= 0:
        return EVERYBODY[packet.version] if number else (FAR if packet.version == 4 else FAR6)
    port = next(each.port for each in wanted.ports if each.port.number == number)
    return addresses(port, packet.version)[-1 if packet.local else 0]


def addresses(port: Port, version: int) -> Sequence[str]:
    return (port.address,) if version == 4 else (port.address6, link_local(port.mac))


def may(wanted: NetworkWanted, port: Port, direction: Direction, packet: Packet, other: str) -> bool:
    """Whether a port lets a packet through: it has no groups, or one rule of one of its groups allows it."""
    mine = [group for group in wanted.groups if group.id in port.groups]
    rules = [rule for group in mine for rule in group.rules if rule.direction is direction]
    return not port.groups or any(_allows(wanted, rule, packet, other) for rule in rules)


def _allows(wanted: NetworkWanted, rule: Rule, packet: Packet, other: str) -> bool:
    if rule.protocol is not Protocol.ANY and rule.protocol is not packet.protocol:
        return False
    if rule.protocol in (Protocol.TCP, Protocol.UDP):
        all_ports = rule.first_port == rule.last_port == 0
        if not all_ports and not rule.first_port <= packet.kind <= rule.last_port:
            return False
    if rule.protocol in (Protocol.ICMP, Protocol.ICMP6) and not (
        rule.first_port in (-1, packet.kind) and rule.last_port in (-1, packet.code)
    ):
        return False
    if rule.group:
        members = (each.port for each in wanted.ports if rule.group in each.port.groups)
        known = rule.group in {group.id for group in wanted.groups}
        return known and any(other in addresses(port, packet.version) for port in members)
    return ip_address(other) in ip_network(rule.cidr)


# --- the judgement's lines --------------------------------------------------------------------------------------------


def verdict(wanted: NetworkWanted, packet: Packet) -> bool:
    """What the lines that rules are made of say of a packet."""
    ports = {each.port.number: each.port for each in wanted.ports}
    ends = ((packet.source, packet.target, Direction.OUT), (packet.target, packet.source, Direction.IN))
    return all(
        number <= 0
        or not ports[number].groups
        or any(
            _matches(wanted, line, packet, address_of(wanted, packet, other))
            for group in wanted.groups
            if group.id in ports[number].groups
            for line in allows(group, direction)
        )
        for number, other, direction in ends
    )


def _matches(wanted: NetworkWanted, line: Allow, packet: Packet, other: str) -> bool:
    if line.version != packet.version or line.protocol not in (Protocol.ANY, packet.protocol):
        return False
    if line.protocol in (Protocol.ICMP, Protocol.ICMP6):
        fits = line.first in (-1, packet.kind) and line.last in (-1, packet.code)
    else:
        fits = line.protocol is Protocol.ANY or line.last == 0 or line.first <= packet.kind <= line.last
    lot = (
        {a for each in wanted.ports if line.group in each.port.groups for a in addresses(each.port, line.version)}
        if line.group in {group.id for group in wanted.groups}
        else set()
    )
    return fits and (ip_address(other) in ip_network(line.cidr) if line.cidr else other in lot)


# --- what is drawn ----------------------------------------------------------------------------------------------------

KINDS = {Protocol.ICMP: (8, 13), Protocol.ICMP6: (128,), Protocol.TCP: (22, 80, 443), Protocol.UDP: (22, 80, 443)}
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


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    source = draw(st.sampled_from((*HOMES, 0)))
    version = 4 if source == 0 else draw(st.sampled_from((4, 6)))
    target = 1 if source == 0 else draw(st.sampled_from([n for n in (*HOMES, 0, -1) if n != source]))
    together = target == -1 or (target > 0 and source > 0 and HOMES[source] == HOMES[target])
    protocol = draw(st.sampled_from([p for p in KINDS if p is not (Protocol.ICMP6 if version == 4 else Protocol.ICMP)]))
    if target == -1:
        protocol = Protocol.UDP
    code = draw(st.sampled_from((0, 1))) if protocol in (Protocol.ICMP, Protocol.ICMP6) else 0
    local = version == 6 and together and draw(st.booleans())
    return Packet(source, target, version, protocol, draw(st.sampled_from(KINDS[protocol])), code, local)


@settings(max_examples=250)
@given(networks(), st.lists(packets(), min_size=1, max_size=20))
def test_lines_say_what_the_rules_say(wanted: NetworkWanted, sent: list[Packet]) -> None:
    for packet in sent:
        assert verdict(wanted, packet) == passes(wanted, packet), packet


def test_the_kernel_does_what_the_rules_say() -> None:
    def look() -> None:
        box = Box(a_network("private", [a_port(n, subnet=subnet) for n, subnet in HOMES.items()], subnets=SUBNETS))
        tokens = iter(range(0x5EED_0000, 0x5EED_FFFF))

        @settings(max_examples=60)
        @given(networks(), st.lists(packets(), min_size=8, max_size=16))
        def play(wanted: NetworkWanted, sent: list[Packet]) -> None:
            box.change(wanted)
            for packet in sent:
                token = next(tokens)
                got = box.send(packet.source or UPLINK, _frame(box, wanted, packet, token))
                came = {number for number, frames in got.items() if any(_token(token) in each for each in frames)}
                assert came == _expected(wanted, packet), packet

        play()

    alone(look)


def _expected(wanted: NetworkWanted, packet: Packet) -> set[int]:
    """Where a packet comes through: at whom it is for, or at all of the link who let it in."""
    if packet.target != -1:
        return {packet.target or UPLINK} if passes(wanted, packet) else set()
    home = HOMES[packet.source]
    near = {number for number, subnet in HOMES.items() if subnet == home and number != packet.source}
    ports = {each.port.number: each.port for each in wanted.ports}
    source = address_of(wanted, packet, packet.source)
    return {n for n in near if passes(wanted, packet) and may(wanted, ports[n], Direction.IN, packet, source)}


def _token(number: int) -> bytes:
    return struct.pack("!I", number)


def _frame(box: Box, wanted: NetworkWanted, packet: Packet, token: int) -> bytes:
    source, target = address_of(wanted, packet, packet.source), address_of(wanted, packet, packet.target)
    if packet.source == 0:
        target = ELASTIC
    ports = (1024 + token % 60000, packet.kind)
    payload = {
        Protocol.TCP: lambda: tcp(source, target, ports, at=(token, 0)),
        Protocol.UDP: lambda: udp(source, target, ports, _token(token)),
    }.get(packet.protocol, lambda: echo(source, target, packet.kind, packet.code, _token(token)))()
    if packet.source == 0:
        return uplink_frame(payload)
    return frame(_mac(wanted, packet.source), _next_hop(box, wanted, packet), _kind(packet.version), payload)


def _kind(version: int) -> int:
    return IPV4 if version == 4 else IPV6


def _mac(wanted: NetworkWanted, number: int) -> str:
    return next(each.port.mac for each in wanted.ports if each.port.number == number)


def _next_hop(box: Box, wanted: NetworkWanted, packet: Packet) -> str:
    if packet.target == -1:
        return ALL
    near = packet.target and HOMES[packet.target] == HOMES[packet.source]
    return _mac(wanted, packet.target) if near else box.gateway_mac(packet.source)
