"""Who may send what on a network: the bridge's rules, which see every frame that a machine sends.

Rules
-----
1. A port sends from its own MAC address, always; from its own addresses, when it is guarded. Its IPv6 addresses are
   the given one and the link-local one of its MAC (EUI-64), no other: only of these can nobody else say that he has it.
2. It says by ARP and neighbour discovery only where its own addresses are. It looks only for its own before it has
   them (RFC 5227 and 4862: who asks for another's keeps that one from taking it).
3. Nobody but the gateway gives addresses (DHCP), routes (router advertisements, redirects), or asks who listens to
   which group (IGMP and MLD queries). Nobody but the gateway sends from its addresses, a port without a guard neither.
4. Frames are of IPv4, IPv6, ARP; or RARP to all, by which a machine that has moved says where it is. Nothing else
   passes: no tag of a VLAN, for the rules for groups do not see what is behind one.
5. Neighbour discovery comes in one piece (RFC 6980). What hides the kind of a packet in its second fragment never gets
   through: br_netfilter joins fragments, and takes no first one without all headers (RFC 8200, 4.5).
6. A frame of a port carries its number as mark: the one who sent it until it is forwarded, then the one who gets it,
   with `ARRIVING` set. What comes from, or goes to, a device that is no port is dropped.

Source: nft(8); linux/netfilter_bridge.h: -310 is ahead of all, br_netfilter's judgement is at 0 and at -1.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Address

from guesthouse.formats import links
from guesthouse.formats.netfilter.ruleset import Chain, Element, Part, Store
from guesthouse.model.network import METADATA_IPV4, METADATA_IPV6, Port, Subnet

TABLE = "bridge guesthouse"
ARRIVING = 1 << 31
"""Set in the mark of a bridged frame when the rest is the number of the port that gets it."""

_TARGET = "@th,64,128"
"""Whom a neighbour solicitation or advertisement is about (RFC 4861, 4.3 and 4.4)."""

_STORES = (
    Store(TABLE, "set", "macs", "type ifname . ether_addr"),
    Store(TABLE, "map", "marks", "type ifname : mark"),
    Store(TABLE, "map", "arrivals", "type ifname : mark"),
    Store(TABLE, "set", "unguarded", "type ifname"),
    Store(TABLE, "set", "addresses4", "type ifname . ipv4_addr"),
    Store(TABLE, "set", "addresses6", "type ifname . ipv6_addr"),
    Store(TABLE, "set", "targets6", f"typeof iifname . {_TARGET}"),
    Store(TABLE, "set", "gateways4", "type ipv4_addr"),
    Store(TABLE, "set", "gateways6", "type ipv6_addr"),
    Store(TABLE, "set", "gateway_targets6", f"typeof {_TARGET}"),
)
_CHAINS = {
    "from_arp": (
        "arp htype != 1 drop",
        "arp ptype != ip drop",
        "arp hlen != 6 drop",
        "arp plen != 4 drop",
        "arp operation != { request, reply } drop",
        "iifname . arp saddr ether != @macs drop",
        "iifname . arp saddr ip @addresses4 accept",
        "arp saddr ip @gateways4 drop",
        "arp saddr ip 0.0.0.0 arp operation request iifname . arp daddr ip @addresses4 accept",
        "iifname @unguarded accept",
    ),
    "from_ipv4": (
        "udp sport 67 drop",
        "igmp type membership-query drop",
        "iifname . ip saddr @addresses4 accept",
        "ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept",
        "ip saddr { 0.0.0.0, 127.0.0.0/8, 224.0.0.0/3 } drop",
        "ip saddr @gateways4 drop",
        "iifname @unguarded accept",
    ),
    "from_ipv6": (
        "meta l4proto icmpv6 goto from_icmpv6",
        "udp sport 547 drop",
        "iifname . ip6 saddr @addresses6 accept",
        "ip6 saddr { ::, ::1, ff00::/8 } drop",
        "ip6 saddr @gateways6 drop",
        "iifname @unguarded accept",
    ),
    "from_icmpv6": (
        "exthdr frag exists icmpv6 type 130-143 drop",
        "icmpv6 type { mld-listener-query, nd-router-advert, nd-redirect, router-renumbering } drop",
        "ip6 saddr :: goto unspecified",
        "ip6 saddr { ::1, ff00::/8 } drop",
        "ip6 saddr @gateways6 drop",
        "icmpv6 type nd-neighbor-advert goto advertisement",
        "iifname . ip6 saddr @addresses6 accept",
        "iifname @unguarded accept",
    ),
    "unspecified": (
        f"icmpv6 type nd-neighbor-solicit iifname . {_TARGET} @targets6 accept",
        f"icmpv6 type nd-neighbor-solicit iifname @unguarded {_TARGET} != @gateway_targets6 accept",
        "icmpv6 type { nd-router-solicit, mld-listener-report, mld-listener-done, mld2-listener-report } accept",
    ),
    "advertisement": (
        f"{_TARGET} @gateway_targets6 drop",
        "iifname @unguarded accept",
        "iifname . ip6 saddr != @addresses6 drop",
        f"iifname . {_TARGET} @targets6 accept",
    ),
}
_BASE = (
    Chain(
        TABLE,
        "prerouting",
        (
            "iifname . ether saddr != @macs drop",
            "meta mark set iifname map @marks",
            "ether type vmap { arp : goto from_arp, ip : goto from_ipv4, ip6 : goto from_ipv6 }",
            "ether type 0x8035 ether daddr ff:ff:ff:ff:ff:ff accept",
        ),
        "type filter hook prerouting priority -310; policy drop;",
    ),
    Chain(
        TABLE,
        "forward",
        ("meta mark set oifname map @arrivals accept",),
        "type filter hook forward priority -100; policy drop;",
    ),
)


def base(subnets: tuple[Subnet, ...]) -> Part:
    """The table with nobody on the network."""
    chains = tuple(Chain(TABLE, name, rules) for name, rules in _CHAINS.items())
    return Part(_STORES, (*chains, *_BASE), tuple(_gateways(subnets)))


def _gateways(subnets: tuple[Subnet, ...]) -> Iterator[Element]:
    for address in (*(s.gateway for s in subnets if s.gateway), METADATA_IPV4):
        yield Element(TABLE, "gateways4", address)
    for address in (*gateways6(subnets), METADATA_IPV6):
        yield Element(TABLE, "gateways6", address)
        yield Element(TABLE, "gateway_targets6", _number(address))


def gateways6(subnets: tuple[Subnet, ...]) -> Iterator[str]:
    """The gateways' IPv6 addresses, and the link-local ones that they have always."""
    for subnet in subnets:
        yield links.link_local(links.gateway_mac(subnet.number))
        if subnet.gateway6:
            yield subnet.gateway6


def addresses6(port: Port) -> tuple[str, ...]:
    """A port's IPv6 addresses: the one of its MAC, and the given one."""
    own = links.link_local(port.mac)
    return (own, port.address6) if port.address6 else (own,)


def of_port(port: Port) -> Iterator[Element]:
    """What the bridge knows of a port."""
    tap = f'"{links.tap(port.number)}"'
    yield Element(TABLE, "macs", f"{tap} . {port.mac}")
    yield Element(TABLE, "marks", tap, f"{port.number:#010x}")
    yield Element(TABLE, "arrivals", tap, f"{ARRIVING | port.number:#010x}")
    if not port.guarded:
        yield Element(TABLE, "unguarded", tap)
    if port.address:
        yield Element(TABLE, "addresses4", f"{tap} . {port.address}")
    for address in addresses6(port):
        yield Element(TABLE, "addresses6", f"{tap} . {address}")
        yield Element(TABLE, "targets6", f"{tap} . {_number(address)}")


def _number(address: str) -> str:
    """An address as the number that nft takes where it knows no type."""
    return f"{int(IPv6Address(address)):#034x}"
