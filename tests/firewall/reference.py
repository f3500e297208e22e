"""The small model of what passes between machines, and the packets that ask for it; in the words of model/network.py.

`passes` says what the rules of groups mean, `verdict` what the lines say that the kernel's rules are made of.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from hypothesis import strategies as st
from tests.firewall.box import FAR, FAR6, UPLINK, Box, uplink_frame
from tests.firewall.frames import ALL, IPV4, IPV6, echo, frame, tcp, udp

from guesthouse.formats.links import link_local
from guesthouse.model.judgement import Allow, allows
from guesthouse.model.network import Direction, NetworkWanted, Port, Protocol, Rule

EVERYBODY = {4: "255.255.255.255", 6: "ff02::1"}
KINDS = {Protocol.ICMP: (8, 13), Protocol.ICMP6: (128,), Protocol.TCP: (22, 80, 443), Protocol.UDP: (22, 80, 443)}


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


# --- packets ----------------------------------------------------------------------------------------------------------


class Street(NamedTuple):
    """Who is on a network: subnets by the numbers of ports, and elastic addresses; whether it has IPv6."""

    homes: dict[int, str]
    elastics: dict[int, str]
    ipv6: bool


def street_of(wanted: NetworkWanted) -> Street:
    return Street(
        {each.port.number: each.port.subnet for each in wanted.ports},
        {each.port.number: each.elastic for each in wanted.ports if each.elastic},
        all(subnet.cidr6 for subnet in wanted.subnets),
    )


@st.composite
def packets(draw: st.DrawFn, street: Street) -> Packet:
    """A packet from a port to another, to all of its link, or to the outside; or from there to an elastic address."""
    homes = street.homes
    source = draw(st.sampled_from((*homes, 0) if street.elastics else (*homes,)))
    version = draw(st.sampled_from((4, 6))) if source and street.ipv6 else 4
    others = [number for number in (*homes, 0, -1) if number != source] if source else [*street.elastics]
    target = draw(st.sampled_from(others))
    together = target == -1 or (target > 0 and source > 0 and homes[source] == homes[target])
    protocol = draw(st.sampled_from([p for p in KINDS if p is not (Protocol.ICMP6 if version == 4 else Protocol.ICMP)]))
    if target == -1:
        protocol = Protocol.UDP
    code = draw(st.sampled_from((0, 1))) if protocol in (Protocol.ICMP, Protocol.ICMP6) else 0
    local = version == 6 and together and draw(st.booleans())
    return Packet(source, target, version, protocol, draw(st.sampled_from(KINDS[protocol])), code, local)


def comes_to(box: Box, wanted: NetworkWanted, packet: Packet, token: int) -> set[int]:
    """Send it; where it comes through. No other has this token."""
    got = box.send(packet.source or UPLINK, _frame(box, wanted, packet, token))
    return {number for number, frames in got.items() if any(_token(token) in each for each in frames)}


def expected(wanted: NetworkWanted, packet: Packet) -> set[int]:
    """Where a packet comes through: at whom it is for, or at all of the link who let it in."""
    if packet.target != -1:
        return {packet.target or UPLINK} if passes(wanted, packet) else set()
    homes = street_of(wanted).homes
    near = {number for number, home in homes.items() if home == homes[packet.source] and number != packet.source}
    ports = {each.port.number: each.port for each in wanted.ports}
    source = address_of(wanted, packet, packet.source)
    return {n for n in near if passes(wanted, packet) and may(wanted, ports[n], Direction.IN, packet, source)}


def _token(number: int) -> bytes:
    return struct.pack("!I", number)


def _frame(box: Box, wanted: NetworkWanted, packet: Packet, token: int) -> bytes:
    source, target = address_of(wanted, packet, packet.source), address_of(wanted, packet, packet.target)
    if packet.source == 0:
        target = street_of(wanted).elastics[packet.target]
    ports = (1024 + token % 60000, packet.kind)
    payload = {
        Protocol.TCP: lambda: tcp(source, target, ports, at=(token, 0)),
        Protocol.UDP: lambda: udp(source, target, ports, _token(token)),
    }.get(packet.protocol, lambda: echo(source, target, packet.kind, packet.code, _token(token)))()
    if packet.source == 0:
        return uplink_frame(payload)
    kind = IPV4 if packet.version == 4 else IPV6
    return frame(_mac(wanted, packet.source), _next_hop(box, wanted, packet), kind, payload)


def _mac(wanted: NetworkWanted, number: int) -> str:
    return next(each.port.mac for each in wanted.ports if each.port.number == number)


def _next_hop(box: Box, wanted: NetworkWanted, packet: Packet) -> str:
    if packet.target == -1:
        return ALL
    homes = street_of(wanted).homes
    near = packet.target and homes[packet.target] == homes[packet.source]
    return _mac(wanted, packet.target) if near else box.gateway_mac(packet.source)
