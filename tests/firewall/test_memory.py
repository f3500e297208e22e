"""What groups remember: answers pass, connections outlive the rule that let them through, and nothing else does."""

from __future__ import annotations

import struct
from collections.abc import Callable
from ipaddress import ip_address

import pytest
from tests.firewall.box import FAR, UPLINK, Box, alone, uplink_frame
from tests.firewall.frames import ACK, ALL, IPV4, IPV6, SYN, advertise, echo, frame, icmp6, packet, solicit, tcp, udp
from tests.firewall.wanted import a_group, a_network, a_port, a_rule, a_subnet, all_of

from guesthouse.formats.links import link_local
from guesthouse.model.network import NetworkWanted, Rule

NEAR, FAR_OFF = a_subnet(), a_subnet(2, "10.0.1.0/24", "fd00:2::/64")
CLIENT, SERVER, OTHER = 1, 2, 3
ASKS, ANSWERS = 40000, 5432
TCP = a_rule("in", "tcp", (ANSWERS, ANSWERS), group=a_group(1).id)
UDP = a_rule("in", "udp", (ANSWERS, ANSWERS), group=a_group(1).id)
ECHO = a_rule("in", "icmp", (8, -1), group=a_group(1).id)
ECHO6 = a_rule("in", "icmp6", (128, -1), group=a_group(1).id)
PLACES = [
    pytest.param(subnet, version, id=f"{place} IPv{version}")
    for place, subnet in (("bridged", NEAR), ("routed", FAR_OFF))
    for version in (4, 6)
]


def a_pair(*rules: Rule, server: object = NEAR, guarded: bool = True) -> NetworkWanted:
    """A client whose group lets all out and nothing in, and a server whose group has `rules` alone."""
    groups = (a_group(1, *all_of("out")), a_group(2, *rules))
    assert server in (NEAR, FAR_OFF)
    ports = [
        a_port(CLIENT, [groups[0].id]),
        a_port(SERVER, [groups[1].id], subnet=FAR_OFF if server == FAR_OFF else NEAR, guarded=guarded),
    ]
    return a_network("private", ports, groups, subnets=(NEAR, FAR_OFF))


class Talk:
    """Two ports that talk in one version of IP."""

    def __init__(self, box: Box, version: int) -> None:
        self.box = box
        self.version = version
        self.ports = {each.port.number: each.port for each in box.wanted.ports}

    def address(self, number: int) -> str:
        return self.ports[number].address if self.version == 4 else self.ports[number].address6

    def comes(self, source: int, target: int, build: Callable[[str, str], bytes]) -> bool:
        """Whether a packet from one arrives at the other."""
        near = self.ports[source].subnet == self.ports[target].subnet
        hop = self.ports[target].mac if near else self.box.gateway_mac(source)
        payload = build(self.address(source), self.address(target))
        sent = frame(self.ports[source].mac, hop, IPV4 if self.version == 4 else IPV6, payload)
        return any(got[-20:] == payload[-20:] for got in self.box.send(source, sent)[target])


def a_segment(ports: tuple[int, int], flags: int, at: tuple[int, int]) -> Callable[[str, str], bytes]:
    return lambda source, target: tcp(source, target, ports, flags, at)


def a_datagram(ports: tuple[int, int]) -> Callable[[str, str], bytes]:
    return lambda source, target: udp(source, target, ports, b"a datagram of some length")


def a_ping(kind: int) -> Callable[[str, str], bytes]:
    return lambda source, target: echo(source, target, kind, 0, b"a ping that is longer")


@pytest.mark.parametrize(("server", "version"), PLACES)
def test_a_connection(server: object, version: int) -> None:
    def look() -> None:
        box = Box(a_pair(TCP, server=server))
        talk = Talk(box, version)
        there, back = (ASKS, ANSWERS), (ANSWERS, ASKS)
        assert not talk.comes(SERVER, CLIENT, a_segment((ANSWERS, 9), SYN, (1, 0)))
        assert not talk.comes(SERVER, CLIENT, a_segment(back, SYN | ACK, (1, 2)))
        assert not talk.comes(CLIENT, SERVER, a_segment((ASKS, 22), SYN, (1, 0)))
        assert talk.comes(CLIENT, SERVER, a_segment(there, SYN, (1, 0)))
        assert talk.comes(SERVER, CLIENT, a_segment(back, SYN | ACK, (1, 2)))
        assert talk.comes(CLIENT, SERVER, a_segment(there, ACK, (2, 2)))
        box.change(a_pair(server=server))
        assert talk.comes(CLIENT, SERVER, a_segment(there, ACK, (2, 2)))
        assert talk.comes(SERVER, CLIENT, a_segment(back, ACK, (2, 2)))
        assert not talk.comes(CLIENT, SERVER, a_segment((ASKS + 1, ANSWERS), SYN, (1, 0)))
        box.change(a_pair(TCP, server=server))
        assert talk.comes(CLIENT, SERVER, a_segment((ASKS + 2, ANSWERS), SYN, (1, 0)))

    alone(look)


@pytest.mark.parametrize(("server", "version"), PLACES)
def test_datagrams(server: object, version: int) -> None:
    def look() -> None:
        box = Box(a_pair(UDP, server=server))
        talk = Talk(box, version)
        assert not talk.comes(SERVER, CLIENT, a_datagram((ANSWERS, ASKS)))
        assert talk.comes(CLIENT, SERVER, a_datagram((ASKS, ANSWERS)))
        assert talk.comes(SERVER, CLIENT, a_datagram((ANSWERS, ASKS)))
        assert not talk.comes(SERVER, CLIENT, a_datagram((ANSWERS, ASKS + 1)))
        assert not talk.comes(SERVER, CLIENT, a_datagram((ANSWERS + 1, ASKS)))
        box.change(a_pair(server=server))
        assert talk.comes(CLIENT, SERVER, a_datagram((ASKS, ANSWERS)))
        assert not talk.comes(CLIENT, SERVER, a_datagram((ASKS + 1, ANSWERS)))

    alone(look)


@pytest.mark.parametrize(("server", "version"), PLACES)
def test_pings(server: object, version: int) -> None:
    request, reply = (8, 0) if version == 4 else (128, 129)

    def look() -> None:
        talk = Talk(Box(a_pair(ECHO, ECHO6, server=server)), version)
        assert not talk.comes(SERVER, CLIENT, a_ping(reply))
        assert not talk.comes(SERVER, CLIENT, a_ping(request))
        assert talk.comes(CLIENT, SERVER, a_ping(request))
        assert talk.comes(SERVER, CLIENT, a_ping(reply))

    alone(look)


@pytest.mark.parametrize("version", [4, 6])
def test_a_port_that_is_shut_is_told_of(version: int) -> None:
    """The answer "nobody is there" belongs to what asked; one that nobody asked for does not pass."""
    kind, code = (3, 3) if version == 4 else (1, 4)

    def look() -> None:
        talk = Talk(Box(a_pair(UDP)), version)
        asked = a_datagram((ASKS, ANSWERS))(talk.address(CLIENT), talk.address(SERVER))

        def unreachable(source: str, target: str) -> bytes:
            whole = echo(source, target, kind, code, asked)
            head = 20 if version == 4 else 40
            return _resummed(source, target, whole, head)

        assert not talk.comes(SERVER, CLIENT, unreachable)
        assert talk.comes(CLIENT, SERVER, a_datagram((ASKS, ANSWERS)))
        assert talk.comes(SERVER, CLIENT, unreachable)

    alone(look)


def _resummed(source: str, target: str, whole: bytes, head: int) -> bytes:
    """The message with nothing where an echo has its numbers, and its checksum for that."""
    numbers = struct.unpack_from("!HH", whole, head + 4)
    old = struct.unpack_from("!H", whole, head + 2)[0]
    total = old + sum(numbers)
    total = (total & 0xFFFF) + (total >> 16)
    return whole[: head + 2] + struct.pack("!H", total) + bytes(4) + whole[head + 8 :]


@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "unguarded"])
def test_what_is_sent_to_a_ports_mac_is_judged_by_its_groups(guarded: bool) -> None:
    """Whatever address it is sent to: a router would pass it on, and a broadcast address is everybody's."""

    def look() -> None:
        box = Box(a_pair(a_rule("in", "tcp", (80, 80), cidr="0.0.0.0/0"), guarded=guarded))
        ports = {each.port.number: each.port for each in box.wanted.ports}
        for target in (ports[SERVER].address, "255.255.255.255", "10.0.0.255", "224.0.0.1", FAR, "10.0.0.77"):
            for port, passes in ((80, True), (81, False)):
                payload = tcp(ports[CLIENT].address, target, (ASKS, port))
                sent = frame(ports[CLIENT].mac, ports[SERVER].mac, IPV4, payload)
                assert (sent in box.send(CLIENT, sent)[SERVER]) == passes, (target, port)

    alone(look)


def test_other_protocols_pass_where_all_do() -> None:
    def look() -> None:
        box = Box(a_pair(*all_of("in")))
        talk = Talk(box, 4)
        assert talk.comes(CLIENT, SERVER, lambda a, b: packet(a, b, 253, b"a protocol of experiments"))
        box.change(a_pair(TCP, UDP, ECHO))
        assert not talk.comes(CLIENT, SERVER, lambda a, b: packet(a, b, 254, b"another of experiments"))

    alone(look)


def test_a_port_of_a_group_that_is_not_there_is_closed() -> None:
    """A group that was deleted, or of another network, opens nothing: not even what a port without groups may."""

    def look() -> None:
        lost = a_group(9).id
        box = Box(a_network("private", [a_port(CLIENT, [lost]), a_port(SERVER)]))
        talk = Talk(box, 4)
        assert not talk.comes(CLIENT, SERVER, a_datagram((1, 2)))
        assert not talk.comes(SERVER, CLIENT, a_datagram((3, 4)))

    alone(look)


def test_neighbours_find_each_other_whatever_their_groups_say() -> None:
    """Without neighbour discovery and multicast listening there is no IPv6; a ping to all is judged like any other."""

    def look() -> None:
        closed = a_group(1)
        box = Box(a_network("private", [a_port(CLIENT, [closed.id]), a_port(SERVER, [closed.id])], [closed]))
        port, other = (each.port for each in box.wanted.ports[:2])
        local, nodes = link_local(port.mac), "ff02::1"
        for passes, payload in (
            (True, solicit(local, other.address6)),
            (True, advertise(local, local, port.mac)),
            (True, icmp6(local, "ff02::2", 133, bytes(4))),
            (True, icmp6(local, "ff02::16", 143, bytes(4), hops=1)),
            (False, icmp6(local, nodes, 128, bytes(4))),
            (False, icmp6(local, link_local(other.mac), 136, b"\x20\0\0\0" + ip_address(local).packed, hops=64)),
        ):
            sent = frame(port.mac, ALL, IPV6, payload)
            assert (sent in box.send(CLIENT, sent)[SERVER]) == passes, payload

    alone(look)


def test_answers_from_outside_come_back() -> None:
    def look() -> None:
        box = Box(a_pair())
        ports = {each.port.number: each.port for each in box.wanted.ports}
        asked = frame(ports[CLIENT].mac, box.gateway_mac(CLIENT), IPV4, udp(ports[CLIENT].address, FAR, (ASKS, 53)))
        assert not _comes_in(box, FAR, (53, ASKS))
        assert any(udp(box.ends.network, FAR, (ASKS, 53))[20:24] in got for got in box.send(CLIENT, asked)[UPLINK])
        assert _comes_in(box, FAR, (53, ASKS))
        assert not _comes_in(box, "198.51.100.8", (53, ASKS))

    alone(look)


def _comes_in(box: Box, source: str, ports: tuple[int, int]) -> bool:
    sent = uplink_frame(udp(source, box.ends.network, ports, b"an answer"))
    return any(b"an answer" in got for frames in box.send(UPLINK, sent).values() for got in frames)
