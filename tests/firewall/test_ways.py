"""The ways in and out of a network: its gateway, the host, the outside, elastic addresses, forwarded ports.

A cell is what a port, or the host, sends, and how it comes out at the other end; the namespace is real, the outside is
a TAP in the place of the transit link.
"""

from __future__ import annotations

import socket
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from tests.firewall.box import FAR, FAR6, TAG, UPLINK, Box, alone, uplink_frame
from tests.firewall.frames import ALL, IPV4, IPV6, SYN, echo, frame, tcp, udp
from tests.firewall.wanted import a_group, a_network, a_port, a_rule, a_subnet, all_of

from guesthouse.formats.links import gateway_mac, link_local, transit
from guesthouse.model.machine import Forward
from guesthouse.model.network import METADATA_IPV4, METADATA_IPV6, NetworkWanted

MODES = ("nat", "host-only", "private")
ENDS = transit(TAG, 1)
SUBNET = a_subnet()
FIRST, SECOND = a_port(1).port, a_port(2).port
CLOSED = a_group(1)
ELASTIC, ELASTIC6 = "203.0.113.50", "2001:db8:50::50"
SENT = 40000
_SO_MARK = 36


def leaves(box: Box, sender: int, payload: bytes) -> dict[int, list[bytes]]:
    if sender == UPLINK:
        return box.send(UPLINK, uplink_frame(payload))
    mac = next(each.port.mac for each in box.wanted.ports if each.port.number == sender)
    kind = IPV4 if payload[0] >> 4 == 4 else IPV6
    return box.send(sender, frame(mac, box.gateway_mac(sender), kind, payload))


def source_and_target(got: bytes) -> tuple[str, str]:
    """The addresses of the IP packet in a frame."""
    family, at, length = (socket.AF_INET, 26, 4) if got[12:14] == b"\x08\0" else (socket.AF_INET6, 22, 16)
    ends = (got[at : at + length], got[at + length : at + 2 * length])
    return socket.inet_ntop(family, ends[0]), socket.inet_ntop(family, ends[1])


def passed(box: Box, sender: int, at: int, source: str, target: str, port: int = 4000) -> tuple[str, str] | None:
    """From whom to whom a datagram is when it comes out; None when it does not."""
    mark = f"{source} to {target} {port}".encode()
    out = leaves(box, sender, udp(source, target, (SENT, port), mark))[at]
    return next((source_and_target(got) for got in out if mark in got), None)


@pytest.mark.parametrize("mode", MODES)
def test_to_the_outside(mode: str) -> None:
    """The host lets a host-only network no further; here it is seen that nobody out there could answer it."""

    def look() -> None:
        box = Box(a_network(mode, [a_port(1)]))
        hidden = mode != "host-only"
        assert passed(box, 1, UPLINK, FIRST.address, FAR) == (ENDS.network if hidden else FIRST.address, FAR)
        assert passed(box, 1, UPLINK, FIRST.address6, FAR6) == (ENDS.network6 if hidden else FIRST.address6, FAR6)

    alone(look)


@pytest.mark.parametrize("mode", MODES)
def test_to_the_host(mode: str) -> None:
    def look() -> None:
        box = Box(a_network(mode, [a_port(1), a_port(2, [CLOSED.id])], [CLOSED]))
        for mine, gateway, host in (
            (FIRST.address, SUBNET.gateway, ENDS.host),
            (FIRST.address6, SUBNET.gateway6, ENDS.host6),
        ):
            expected = (mine, host) if mode != "private" else None
            assert passed(box, 1, UPLINK, mine, gateway) == expected
            assert passed(box, 1, UPLINK, mine, host) == expected
        assert passed(box, 2, UPLINK, SECOND.address, SUBNET.gateway) is None

    alone(look)


@pytest.mark.parametrize("mode", MODES)
def test_from_the_host(mode: str) -> None:
    def look() -> None:
        box = Box(a_network(mode, [a_port(1), a_port(2, [CLOSED.id])], [CLOSED]))
        for host, mine, gateway in (
            (ENDS.host, FIRST.address, SUBNET.gateway),
            (ENDS.host6, FIRST.address6, SUBNET.gateway6),
        ):
            # Machines of a host-only network know no way but to their own subnet.
            seen = {"nat": (host, mine), "host-only": (gateway, mine)}.get(mode)
            assert passed(box, UPLINK, 1, host, mine) == seen
        assert passed(box, UPLINK, 2, ENDS.host, SECOND.address) is None
        assert passed(box, UPLINK, 1, ENDS.host, "10.0.0.99") is None

    alone(look)


@pytest.mark.parametrize("mode", ["nat", "private"])
def test_elastic_addresses(mode: str) -> None:
    groups = (a_group(1, *all_of("out"), a_rule("in", "udp", (4000, 4000), cidr="198.51.100.0/24")),)

    def look() -> None:
        ports = [a_port(1, [CLOSED.id], elastic=ELASTIC), a_port(2, elastic=ELASTIC6), a_port(3)]
        box = Box(a_network(mode, ports, groups))
        assert passed(box, UPLINK, 1, FAR, ELASTIC) == (FAR, FIRST.address)
        assert passed(box, UPLINK, 1, FAR, ELASTIC, 4001) is None
        assert passed(box, UPLINK, 2, FAR6, ELASTIC6) == (FAR6, SECOND.address6)
        assert passed(box, UPLINK, 3, FAR, "203.0.113.51") is None
        assert passed(box, 1, UPLINK, FIRST.address, FAR, 9000) == (ELASTIC, FAR)
        assert passed(box, 2, UPLINK, SECOND.address6, FAR6, 9000) == (ELASTIC6, FAR6)
        assert passed(box, 2, UPLINK, SECOND.address, FAR, 9000) == (ENDS.network, FAR)

    alone(look)


def test_forwarded_ports() -> None:
    forwards = (Forward(guest_port=80, host_port=8080), Forward(guest_port=53, host_port=5353, protocol="udp"))

    def look() -> None:
        box = Box(a_network("nat", [a_port(1, forwards=forwards), a_port(2)]))
        for source, at, mine in ((FAR, ENDS.network, FIRST.address), (FAR6, ENDS.network6, FIRST.address6)):
            assert passed(box, UPLINK, 1, source, at, 5353) == (source, mine)
            assert passed(box, UPLINK, 1, source, at, 5354) is None
            assert _reaches(box, tcp(source, at, (SENT, 8080)), 80)
            assert not _reaches(box, tcp(source, at, (SENT, 8081)), 80)
            assert not _reaches(box, tcp(source, at, (SENT, 80)), 80)

    alone(look)


def _reaches(box: Box, segment: bytes, port: int) -> bool:
    """Whether port 1 gets a first segment, at this port."""
    ends = SENT.to_bytes(2, "big") + port.to_bytes(2, "big")
    return any(ends in got for got in leaves(box, UPLINK, segment)[1])


@pytest.mark.parametrize("mode", ["host-only", "private"])
def test_no_other_network_has_forwards(mode: str) -> None:
    def look() -> None:
        box = Box(a_network(mode, [a_port(1, forwards=(Forward(guest_port=80, host_port=8080),))]))
        assert not _reaches(box, tcp(FAR, ENDS.network, (SENT, 8080)), 80)

    alone(look)


# --- the gateway's services -------------------------------------------------------------------------------------------

GATEWAY_LOCAL = link_local(gateway_mac(1))


@pytest.mark.parametrize("mode", MODES)
def test_what_the_gateway_serves(mode: str) -> None:
    """A port whose groups let nothing out is served too: without these a machine is nothing."""

    def look() -> None:
        box = Box(a_network(mode, [a_port(1, [CLOSED.id])], [CLOSED]))
        subprocess.run(("ip", "address", "add", f"{METADATA_IPV4}/32", "dev", "lo"), check=True)
        subprocess.run(("ip", "address", "add", f"{METADATA_IPV6}/128", "dev", "lo", "nodad"), check=True)
        me, me6, mine = FIRST.address, FIRST.address6, link_local(FIRST.mac)
        for served, source, target, ports in (
            (True, me, SUBNET.gateway, (SENT, 53)),
            (True, me, SUBNET.gateway, (68, 67)),
            (True, "0.0.0.0", "255.255.255.255", (68, 67)),
            (True, me6, SUBNET.gateway6, (SENT, 53)),
            (True, mine, GATEWAY_LOCAL, (SENT, 53)),
            (True, mine, "ff02::1:2", (546, 547)),
            (False, me, SUBNET.gateway, (SENT, 123)),
            (False, me, METADATA_IPV4, (SENT, 53)),
            (False, me6, SUBNET.gateway6, (SENT, 123)),
            (False, mine, GATEWAY_LOCAL, (SENT, 123)),
            (False, me, ENDS.network, (SENT, 53)),
        ):
            assert _is_heard(box, source, target, ports) == served, (target, ports)
        for family, target, port, served in (
            (socket.AF_INET, METADATA_IPV4, 80, True),
            (socket.AF_INET6, METADATA_IPV6, 80, True),
            (socket.AF_INET, METADATA_IPV4, 81, False),
            (socket.AF_INET, SUBNET.gateway, 53, True),
            (socket.AF_INET, SUBNET.gateway, 22, False),
            (socket.AF_INET6, SUBNET.gateway6, 22, False),
            (socket.AF_INET, ENDS.network, 80, False),
        ):
            assert _is_answered(box, family, target, port) == served, (target, port)

    alone(look)


def _is_heard(box: Box, source: str, target: str, ports: tuple[int, int]) -> bool:
    """Whether a datagram comes to a service in the namespace."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)) as service:
        service.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if target == "ff02::1:2":
            place = socket.inet_pton(family, target) + socket.if_nametoindex("br1").to_bytes(4, "little")
            service.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, place)
        service.bind(("", ports[1]))
        many = ALL if target[:2] in ("25", "ff") else box.gateway_mac(1)
        kind = IPV6 if ":" in target else IPV4
        box.send(1, frame(FIRST.mac, many, kind, udp(source, target, ports, b"is anybody there")))
        try:
            return service.recv(64) == b"is anybody there"
        except BlockingIOError:
            return False


def _is_answered(box: Box, family: int, target: str, port: int) -> bool:
    """Whether a service that listens answers the first segment of a connection, and knows the port by its mark."""
    with closing(socket.socket(family, socket.SOCK_STREAM)) as service:
        service.bind(("::" if family == socket.AF_INET6 else "", port))
        service.listen()
        mine = FIRST.address6 if family == socket.AF_INET6 else FIRST.address
        got = leaves(box, 1, tcp(mine, target, (SENT, port), SYN))[1]
        return any(port.to_bytes(2, "big") + SENT.to_bytes(2, "big") in each for each in got)


@pytest.mark.parametrize("mode", MODES)
def test_pings_of_the_gateway(mode: str) -> None:
    def look() -> None:
        box = Box(a_network(mode, [a_port(1, [CLOSED.id])], [CLOSED]))
        for mine, target, request in (
            (FIRST.address, SUBNET.gateway, 8),
            (FIRST.address6, SUBNET.gateway6, 128),
            (link_local(FIRST.mac), GATEWAY_LOCAL, 128),
        ):
            asked = echo(mine, target, request, 0, b"ping of the gateway")
            assert any(b"ping of the gateway" in got for got in leaves(box, 1, asked)[1]), target

    alone(look)


def test_a_service_knows_the_port_by_its_mark() -> None:
    """What the metadata service tells of who asks must not depend on what the asker says."""

    def look() -> None:
        Path("/proc/sys/net/ipv4/tcp_fwmark_accept").write_text("1")
        box = Box(a_network("private", [a_port(1), a_port(2)]))
        subprocess.run(("ip", "address", "add", f"{METADATA_IPV4}/32", "dev", "lo"), check=True)
        with closing(socket.create_server((METADATA_IPV4, 80))) as service:
            for each in (FIRST, SECOND):
                got = leaves(box, each.number, tcp(each.address, METADATA_IPV4, (SENT, 80)))[each.number]
                answer = next(each for each in got if each[34:36] == b"\0\x50")
                theirs = int.from_bytes(answer[38:42], "big")
                leaves(box, each.number, tcp(each.address, METADATA_IPV4, (SENT, 80), 0x10, (2, theirs + 1)))
                connection, asker = service.accept()
                with connection:
                    assert asker[0] == each.address
                    assert connection.getsockopt(socket.SOL_SOCKET, _SO_MARK) == each.number

    alone(look)


# --- without IPv6 -----------------------------------------------------------------------------------------------------


def test_groups_judge_ipv6_where_the_network_has_none() -> None:
    """Machines have link-local addresses all the same."""

    def look() -> None:
        for scope in ("all", "default"):
            Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6").write_text("1")
        group = a_group(1, *all_of("out"), a_rule("in", "udp", (80, 80), cidr="fe80::/10"))
        wanted: NetworkWanted = a_network("private", [a_port(1, [group.id]), a_port(2, [group.id])], [group])
        box = Box(wanted, ipv6=False)
        for port, passes in ((80, True), (81, False)):
            payload = udp(link_local(FIRST.mac), link_local(SECOND.mac), (SENT, port), b"anybody there?")
            sent = frame(FIRST.mac, SECOND.mac, IPV6, payload)
            assert (sent in box.send(1, sent)[2]) == passes

    alone(look)
