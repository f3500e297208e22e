"""Every frame that a machine should not send, and some that it should, sent by a port with a guard and one without.

A cell is a frame from port 1, to port 2, and whether it comes through: "yes", "no", or "unguarded" when it does for a
port without a guard alone.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import pytest
from tests.firewall.box import Box, alone
from tests.firewall.frames import (
    ALL,
    ARP,
    IPV4,
    IPV6,
    RARP,
    REPLY,
    REQUEST,
    UDP,
    advertise,
    arp,
    echo,
    fragment,
    frame,
    halves,
    icmp6,
    packet,
    solicit,
    tagged,
    tcp,
    udp,
)
from tests.firewall.wanted import a_network, a_port, a_subnet

from guesthouse.formats.links import gateway_mac, link_local

ME, OTHER, SUBNET = a_port(1).port, a_port(2).port, a_subnet()
GATEWAY, GATEWAY6, GATEWAY_LOCAL = SUBNET.gateway, SUBNET.gateway6, link_local(gateway_mac(1))
LOCAL, OTHERS_LOCAL = link_local(ME.mac), link_local(OTHER.mac)
NOBODY, NOBODY6, NOBODY_MAC = "10.0.0.99", "fd00:1::99", "52:54:00:ff:ff:ff"
ALL_NODES, ALL_ROUTERS, ALL_DHCP = "ff02::1", "ff02::2", "ff02::1:2"
NO_ADDRESS = "00:00:00:00:00:00"
DESTINATION_OPTIONS = bytes((58, 0, 1, 4, 0, 0, 0, 0))


class Cell(NamedTuple):
    name: str
    passes: str
    sent: bytes


def ip(source: str, target: str = "", mac: str = ME.mac, to: str = OTHER.mac) -> bytes:
    return frame(mac, to, IPV6 if ":" in source else IPV4, udp(source, target or _same(source), (1000, 9999), b"!"))


def _same(source: str) -> str:
    return OTHER.address6 if ":" in source else OTHER.address


def to_other(kind: int, payload: bytes, to: str = OTHER.mac) -> bytes:
    return frame(ME.mac, to, kind, payload)


def asks(operation: int, mac: str, address: str, target: str, to: str = ALL) -> bytes:
    return to_other(ARP, arp(operation, mac, address, target), to)


CELLS = (
    Cell("own IPv4", "yes", ip(ME.address)),
    Cell("own IPv6", "yes", ip(ME.address6)),
    Cell("own link-local", "yes", ip(LOCAL, OTHERS_LOCAL)),
    Cell("TCP", "yes", to_other(IPV4, tcp(ME.address, OTHER.address, (1, 2)))),
    Cell("echo", "yes", to_other(IPV6, echo(ME.address6, OTHER.address6, 128))),
    Cell("broadcast", "yes", ip(ME.address, "255.255.255.255", to=ALL)),
    Cell("broadcast of the subnet", "yes", ip(ME.address, "10.0.0.255", to=ALL)),
    Cell("multicast", "yes", ip(ME.address, "224.0.0.251", to="01:00:5e:00:00:fb")),
    Cell("IPv6 multicast", "yes", ip(LOCAL, "ff02::fb", to="33:33:00:00:00:fb")),
    # The source of IP packets
    Cell("nobody's IPv4", "unguarded", ip(NOBODY)),
    Cell("the other's IPv4", "unguarded", ip(OTHER.address, ME.address)),
    Cell("an address outside", "unguarded", ip("198.51.100.1")),
    Cell("the gateway's IPv4", "no", ip(GATEWAY)),
    Cell("the metadata service's IPv4", "no", ip("169.254.169.254")),
    Cell("no IPv4", "no", ip("0.0.0.0")),
    Cell("loopback", "no", ip("127.0.0.1")),
    Cell("multicast as source", "no", ip("224.0.0.1")),
    Cell("broadcast as source", "no", ip("255.255.255.255")),
    Cell("nobody's IPv6", "unguarded", ip(NOBODY6)),
    Cell("the other's IPv6", "unguarded", ip(OTHER.address6, ME.address6)),
    Cell("the other's link-local", "unguarded", ip(OTHERS_LOCAL, LOCAL)),
    Cell("a link-local not of the MAC", "unguarded", ip("fe80::1234", OTHERS_LOCAL)),
    Cell("the gateway's IPv6", "no", ip(GATEWAY6)),
    Cell("the gateway's link-local", "no", ip(GATEWAY_LOCAL, OTHERS_LOCAL)),
    Cell("the metadata service's IPv6", "no", ip("fd00:ec2::254")),
    Cell("no IPv6", "no", ip("::", OTHER.address6)),
    Cell("IPv6 loopback", "no", ip("::1", OTHER.address6)),
    Cell("echo of nobody's IPv6", "unguarded", to_other(IPV6, echo(NOBODY6, OTHER.address6, 128))),
    Cell("echo of the gateway's IPv6", "no", to_other(IPV6, echo(GATEWAY6, OTHER.address6, 128))),
    Cell("echo of IPv6 loopback", "no", to_other(IPV6, echo("::1", OTHER.address6, 128))),
    # The source of frames
    Cell("nobody's MAC", "no", ip(ME.address, mac=NOBODY_MAC)),
    Cell("the other's MAC", "no", ip(ME.address, mac=OTHER.mac)),
    Cell("the gateway's MAC", "no", ip(ME.address, mac=gateway_mac(1))),
    Cell("no MAC", "no", ip(ME.address, mac=NO_ADDRESS)),
    # ARP
    Cell("ARP request", "yes", asks(REQUEST, ME.mac, ME.address, OTHER.address)),
    Cell("ARP reply", "yes", asks(REPLY, ME.mac, ME.address, OTHER.address, OTHER.mac)),
    Cell("ARP announcement", "yes", asks(REQUEST, ME.mac, ME.address, ME.address)),
    Cell("ARP probe of the own", "yes", asks(REQUEST, ME.mac, "0.0.0.0", ME.address)),
    Cell("ARP probe of another's", "unguarded", asks(REQUEST, ME.mac, "0.0.0.0", OTHER.address)),
    Cell("ARP: nobody's address", "unguarded", asks(REPLY, ME.mac, NOBODY, OTHER.address, OTHER.mac)),
    Cell("ARP: I am the gateway", "no", asks(REPLY, ME.mac, GATEWAY, OTHER.address, OTHER.mac)),
    Cell("ARP: the gateway asks", "no", asks(REQUEST, ME.mac, GATEWAY, OTHER.address)),
    Cell("ARP: I am the metadata service", "no", asks(REPLY, ME.mac, "169.254.169.254", OTHER.address, OTHER.mac)),
    Cell("ARP: another MAC inside", "no", asks(REPLY, NOBODY_MAC, ME.address, OTHER.address, OTHER.mac)),
    Cell("ARP of another kind", "no", asks(3, ME.mac, ME.address, OTHER.address)),
    *(
        Cell(f"ARP of {what}", "no", to_other(ARP, head + arp(REPLY, ME.mac, ME.address, OTHER.address)[6:], OTHER.mac))
        for what, head in (
            ("other hardware", struct.pack("!HHBB", 6, IPV4, 6, 4)),
            ("another protocol", struct.pack("!HHBB", 1, IPV6, 6, 4)),
            ("long hardware addresses", struct.pack("!HHBB", 1, IPV4, 8, 4)),
            ("long addresses", struct.pack("!HHBB", 1, IPV4, 6, 16)),
        )
    ),
    # RARP, by which a machine that has moved says where it is
    Cell("RARP of the own MAC", "yes", to_other(RARP, arp(3, ME.mac, "0.0.0.0", "0.0.0.0"), ALL)),
    Cell("RARP to one", "no", to_other(RARP, arp(3, ME.mac, "0.0.0.0", "0.0.0.0"))),
    Cell("RARP of nobody's MAC", "no", frame(NOBODY_MAC, ALL, RARP, arp(3, NOBODY_MAC, "0.0.0.0", "0.0.0.0"))),
    # DHCP
    Cell("DHCP discover", "yes", to_other(IPV4, udp("0.0.0.0", "255.255.255.255", (68, 67)), ALL)),
    Cell("DHCP discover to one", "no", to_other(IPV4, udp("0.0.0.0", OTHER.address, (68, 67)))),
    Cell("other broadcasts of no IPv4", "no", to_other(IPV4, udp("0.0.0.0", "255.255.255.255", (68, 53)), ALL)),
    Cell("DHCP offer", "no", to_other(IPV4, udp(ME.address, "255.255.255.255", (67, 68)), ALL)),
    Cell("DHCP offer of the gateway", "no", to_other(IPV4, udp(GATEWAY, "255.255.255.255", (67, 68)), ALL)),
    Cell("DHCPv6 solicit", "yes", to_other(IPV6, udp(LOCAL, ALL_DHCP, (546, 547)), ALL)),
    Cell("DHCPv6 answer", "no", to_other(IPV6, udp(LOCAL, OTHERS_LOCAL, (547, 546)))),
    # Neighbour discovery
    Cell("ND: who has", "yes", to_other(IPV6, solicit(LOCAL, OTHERS_LOCAL), ALL)),
    Cell("ND: who has, as the other", "unguarded", to_other(IPV6, solicit(OTHERS_LOCAL, LOCAL), ALL)),
    Cell("ND: who has, as the gateway", "no", to_other(IPV6, solicit(GATEWAY6, OTHER.address6), ALL)),
    Cell("ND: is the own free", "yes", to_other(IPV6, solicit("::", ME.address6), ALL)),
    Cell("ND: is another's free", "unguarded", to_other(IPV6, solicit("::", OTHER.address6), ALL)),
    Cell("ND: is the gateway's free", "no", to_other(IPV6, solicit("::", GATEWAY6), ALL)),
    Cell("ND: the own is mine", "yes", to_other(IPV6, advertise(ME.address6, ME.address6, ME.mac), ALL)),
    Cell("ND: the own link-local is mine", "yes", to_other(IPV6, advertise(LOCAL, LOCAL, ME.mac), ALL)),
    Cell("ND: nobody's is mine", "unguarded", to_other(IPV6, advertise(ME.address6, NOBODY6, ME.mac), ALL)),
    Cell("ND: the other's is mine", "unguarded", to_other(IPV6, advertise(ME.address6, OTHER.address6, ME.mac))),
    Cell("ND: the gateway's is mine", "no", to_other(IPV6, advertise(ME.address6, GATEWAY6, ME.mac))),
    Cell("ND: the gateway's local is mine", "no", to_other(IPV6, advertise(LOCAL, GATEWAY_LOCAL, ME.mac))),
    Cell("ND: the gateway says so", "no", to_other(IPV6, advertise(GATEWAY6, ME.address6, ME.mac))),
    Cell("ND: the other says so", "unguarded", to_other(IPV6, advertise(OTHER.address6, ME.address6, ME.mac))),
    Cell("router solicitation", "yes", to_other(IPV6, icmp6(LOCAL, ALL_ROUTERS, 133, bytes(4)), ALL)),
    Cell("router solicitation of ::", "yes", to_other(IPV6, icmp6("::", ALL_ROUTERS, 133, bytes(4)), ALL)),
    Cell("router advertisement", "no", to_other(IPV6, icmp6(LOCAL, ALL_NODES, 134, bytes(12)), ALL)),
    Cell("redirect", "no", to_other(IPV6, icmp6(LOCAL, OTHERS_LOCAL, 137, bytes(36)))),
    Cell("MLD report", "yes", to_other(IPV6, icmp6("::", "ff02::16", 143, bytes(4), hops=1), ALL)),
    Cell("MLD query", "no", to_other(IPV6, icmp6(LOCAL, ALL_NODES, 130, bytes(20), hops=1), ALL)),
    Cell("IGMP query", "no", to_other(IPV4, packet(ME.address, "224.0.0.1", 2, b"\x11\0\xee\xff" + bytes(4)), ALL)),
    # What hides in fragments
    Cell("a fragment", "yes", to_other(IPV6, fragment(udp(ME.address6, OTHER.address6, (1, 2), b"!")))),
    Cell(
        "a router advertisement in a fragment",
        "no",
        to_other(IPV6, fragment(icmp6(LOCAL, ALL_NODES, 134, bytes(12))), ALL),
    ),
    Cell(
        "an advertisement in a fragment",
        "no",
        to_other(IPV6, fragment(advertise(LOCAL, OTHERS_LOCAL, ME.mac)), ALL),
    ),
    Cell(
        "one behind an option in a fragment",
        "no",
        to_other(
            IPV6,
            fragment(icmp6(LOCAL, ALL_NODES, 134, bytes(12)), first=DESTINATION_OPTIONS, next_header=60),
            ALL,
        ),
    ),
    # Other kinds of frames
    Cell("LLDP", "no", to_other(0x88CC, b"LLDPLLDPLLDP")),
    Cell("EAPOL", "no", to_other(0x888E, b"EAPOLEAPOL")),
    Cell("PPPoE", "no", to_other(0x8864, bytes(6) + b"\0\x21" + ip(ME.address)[14:])),
    Cell("802.3", "no", to_other(46, bytes(46), "01:80:c2:00:00:00")),
    Cell("a tag", "no", tagged(ip(ME.address))),
    Cell("a tag of no VLAN", "no", tagged(ip(ME.address), 0)),
    Cell("a provider's tag", "no", tagged(ip(ME.address), 1, 0x88A8)),
    Cell("two tags", "no", tagged(tagged(ip(ME.address)))),
    Cell("a tag before ARP", "no", tagged(asks(REPLY, ME.mac, GATEWAY, OTHER.address, OTHER.mac))),
    Cell("IPv4 that says it is IPv6", "no", to_other(IPV6, udp(NOBODY, OTHER.address, (1, 2), b"!" * 40))),
    Cell("IPv6 that says it is IPv4", "no", to_other(IPV4, udp(NOBODY6, OTHER.address6, (1, 2), b"!"))),
    Cell("IPv4 cut short", "no", to_other(IPV4, packet(ME.address, OTHER.address, UDP, b"")[:10])),
)


def test_cells_are_told_apart() -> None:
    assert len({cell.name for cell in CELLS}) == len(CELLS)


@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "unguarded"])
@pytest.mark.parametrize("mode", ["nat", "private"])
def test_what_a_machine_may_send(mode: str, guarded: bool) -> None:
    def look() -> None:
        box = Box(a_network(mode, [a_port(1, guarded=guarded), a_port(2)]))
        came = {cell.name: _has(box.send(1, cell.sent)[2], cell.sent) for cell in CELLS}
        assert came == {cell.name: _passes(cell, guarded) for cell in CELLS}

    alone(look)


@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "unguarded"])
def test_what_two_fragments_hide(guarded: bool) -> None:
    """The first has an option alone, or no more than the kind of the message: what it says is in the second."""
    advertisement = icmp6(LOCAL, ALL_NODES, 134, bytes(12) + b"a router")
    harmless = icmp6(LOCAL, ALL_NODES, 128, bytes(12) + b"a router")

    claim = advertise(LOCAL, GATEWAY6, ME.mac)

    def look() -> None:
        box = Box(a_network("nat", [a_port(1, guarded=guarded), a_port(2)]))
        for number, (hidden, begins, kind, passes) in enumerate(
            (
                (advertisement, DESTINATION_OPTIONS, 60, False),
                (harmless, DESTINATION_OPTIONS, 60, False),
                (advertisement, advertisement[40:48], 58, False),
                (harmless, harmless[40:48], 58, True),
                (claim, DESTINATION_OPTIONS + claim[40:48], 60, False),
            )
        ):
            both = [to_other(IPV6, half, ALL) for half in halves(hidden, begins, kind, number)]
            came = [got for half in both for got in box.send(1, half)[2]]
            assert _has(came, both[1]) == passes, number

    alone(look)


def _has(got: list[bytes], sent: bytes) -> bool:
    """Whether a frame is among them; what was a fragment may be whole, what was tagged may be plain."""
    return any(each[6:12] == sent[6:12] and each[-8:] == sent[-8:] for each in got)


def _passes(cell: Cell, guarded: bool) -> bool:
    return cell.passes == "yes" or (cell.passes == "unguarded" and not guarded)
