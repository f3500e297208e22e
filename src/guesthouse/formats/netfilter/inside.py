"""The rules in a network's own namespace: guards, groups, and the ways out and in.

Rules
-----
1. Forwarded is what a port lets through; between bridges, and the outside, and a bridge, alike.
2. A subnet's gateway answers DHCP, DNS, the metadata service and pings; nothing else. On ``nat`` and ``host-only``
   networks whatever else of TCP and UDP is asked there is asked of the host, which sees the machine's own address.
3. ``nat`` and ``private`` networks are one address outside, that of their end of the transit link; a machine with an
   elastic address is that one. ``host-only`` ones keep their addresses: nobody but the host could answer them. Machines
   there know no way but to their own subnet: to them the host is its gateway.
4. A private network's subnets have the ways out that they are to have (`outlets.py`).
5. Into a ``private`` network leads nothing but elastic addresses, and nothing out of it to the host's end of the link.

A chain that enters a hook is the network's and its subnets'; those seldom change, and then the whole is written.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from ipaddress import ip_address
from typing import NamedTuple

from guesthouse.formats import links
from guesthouse.formats.netfilter import groups, guards, outlets, ruleset
from guesthouse.formats.netfilter.groups import TABLE
from guesthouse.formats.netfilter.ruleset import Chain, Element, Part, Store
from guesthouse.model.network import METADATA_IPV4, METADATA_IPV6, Group, NetworkMode, NetworkWanted, PortWanted

TABLES = (guards.TABLE, TABLE)
_UP, _BRIDGES = f'"{links.UPLINK}"', '"br*"'
_HOST_IS_REACHED = (NetworkMode.NAT, NetworkMode.HOST_ONLY)
_HIDDEN = (NetworkMode.NAT, NetworkMode.PRIVATE)

_STORES = (
    *groups.STORES,
    *outlets.stores(TABLE),
    Store(TABLE, "set", "gateways4", "type ipv4_addr"),
    Store(TABLE, "set", "gateways6", "type ipv6_addr"),
    Store(TABLE, "map", "forwards4", "type inet_proto . inet_service : ipv4_addr . inet_service"),
    Store(TABLE, "map", "forwards6", "type inet_proto . inet_service : ipv6_addr . inet_service"),
    *(
        Store(TABLE, "map", f"elastic_{way}{v}", f"type ipv{v}_addr : ipv{v}_addr")
        for way in ("in", "out")
        for v in (4, 6)
    ),
)
_SERVICES = (
    "ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept",
    "ip daddr @gateways4 udp sport 68 udp dport 67 accept",
    "ip6 daddr ff02::1:2 udp sport 546 udp dport 547 accept",
    *(
        f"{family} daddr @gateways{version} {what} accept"
        for family, version, echo in (("ip", 4, "icmp"), ("ip6", 6, "icmpv6"))
        for what in ("meta l4proto { tcp, udp } th dport 53", f"{echo} type echo-request")
    ),
    f"ip daddr {METADATA_IPV4} tcp dport 80 accept",
    f"ip6 daddr {METADATA_IPV6} tcp dport 80 accept",
)
_INPUT = (
    groups.KNOWN,
    'iifname "lo" accept',
    *groups.NEIGHBOURS,
    f"iifname {_BRIDGES} jump services",
)


def inside(wanted: NetworkWanted, tag: str) -> str:
    """The text that makes all rules of a network in its namespace, whatever there was; `tag` is the house's."""
    parts = [guards.base(wanted.subnets), _base(wanted, tag), *map(_part, _sources(wanted).values())]
    return ruleset.whole(TABLES, parts)


def change(before: NetworkWanted, after: NetworkWanted, tag: str) -> str:
    """The text that makes of the rules of `before` those of `after`; empty when there is nothing to do.

    Ports and groups that are the same in both cost next to nothing; where the network or its subnets differ, all is
    written.
    """
    if _foundation(before) != _foundation(after):
        return inside(after, tag)
    old, new = _sources(before), _sources(after)
    gone = [_part(source) for key, source in old.items() if new.get(key) != source]
    come = [_part(source) for key, source in new.items() if old.get(key) != source]
    return ruleset.difference(gone, come)


def _foundation(wanted: NetworkWanted) -> tuple[object, ...]:
    """What the chains are made of that a hook enters."""
    return wanted.network.mode, wanted.subnets, wanted.connections, outlets.ways(wanted)


class _Source(NamedTuple):
    """What a part is made of, and what of the network it depends on: its mode, and the groups of those it names."""

    thing: PortWanted | Group | tuple[str, ...]
    mode: NetworkMode
    known: frozenset[str]


def _sources(wanted: NetworkWanted) -> dict[Hashable, _Source]:
    """The sources of all parts but the foundation: groups, distinct sets of groups, ports."""
    mode = wanted.network.mode
    known = frozenset(group.id for group in wanted.groups)
    sets = {each.port.groups: groups.groups_of(each.port) for each in wanted.ports}
    named = {ids: known.intersection(ids) for ids in sets}
    sources: dict[Hashable, _Source] = {}
    for group in wanted.groups:
        sources[group.id] = _Source(group, mode, known.intersection(rule.group for rule in group.rules))
    for ids in sorted({*sets.values()} - {()}):
        sources[ids] = _Source(ids, mode, known.intersection(ids))
    for each in wanted.ports:
        sources[each.port.id] = _Source(each, mode, named[each.port.groups])
    return sources


def _part(source: _Source) -> Part:
    match source.thing:
        case Group() as group:
            return groups.of_group(group, source.known)
        case PortWanted() as port:
            return Part(elements=tuple(_of_port(port, source.mode, source.known)))
        case ids:
            return groups.of_groups(ids, source.known)


def _of_port(wanted: PortWanted, mode: NetworkMode, known: frozenset[str]) -> Iterator[Element]:
    yield from guards.of_port(wanted.port)
    yield from groups.of_port(wanted.port, known)
    addresses: dict[int, str] = {4: wanted.port.address, 6: wanted.port.address6}
    if mode in _HIDDEN and wanted.elastic:
        version: int = ip_address(wanted.elastic).version
        if addresses[version]:
            yield Element(TABLE, f"elastic_in{version}", wanted.elastic, addresses[version])
            yield Element(TABLE, f"elastic_out{version}", addresses[version], wanted.elastic)
            yield from outlets.of_port(TABLE, wanted, addresses)
    for forward in wanted.forwards if mode is NetworkMode.NAT else ():
        for version, address in addresses.items():
            if address:
                key = f"{forward.protocol} . {forward.host_port}"
                yield Element(TABLE, f"forwards{version}", key, f"{address} . {forward.guest_port}")


def _base(wanted: NetworkWanted, tag: str) -> Part:
    """The table with no port and no group."""
    gateways: dict[int, tuple[str, ...]] = {
        4: (*(s.gateway for s in wanted.subnets if s.gateway),),
        6: (*guards.gateways6(wanted.subnets),),
    }
    elements = (Element(TABLE, f"gateways{v}", address) for v, addresses in gateways.items() for address in addresses)
    mode = wanted.network.mode
    ends, ways = links.transit(tag, wanted.network.number), outlets.ways(wanted)
    chains = (
        Chain(TABLE, "services", _SERVICES),
        Chain(
            TABLE, "prerouting", groups.leaving(wanted.connections), _hook("filter", "prerouting", "mangle", "accept")
        ),
        Chain(TABLE, "input", tuple(_input(mode)), _hook("filter", "input", "filter", "drop")),
        Chain(TABLE, "forward", tuple(_forward(mode, ends, ways)), _hook("filter", "forward", "filter", "drop")),
        Chain(TABLE, "dstnat", tuple(_dstnat(mode, ends)), _hook("nat", "prerouting", "dstnat", "accept")),
        Chain(TABLE, "srcnat", tuple(_srcnat(mode, ends, ways)), _hook("nat", "postrouting", "srcnat", "accept")),
    )
    return Part(_STORES, chains, tuple(elements))


def _hook(kind: str, hook: str, priority: str, policy: str) -> str:
    return f"type {kind} hook {hook} priority {priority}; policy {policy};"


def _input(mode: NetworkMode) -> Iterator[str]:
    yield from _INPUT
    if mode in _HOST_IS_REACHED:
        # The host itself asks for the names of those that it reaches.
        yield f"iifname {_UP} meta l4proto {{ tcp, udp }} th dport 53 accept"


def _forward(mode: NetworkMode, ends: links.Transit, ways: Iterable[outlets.Way]) -> Iterator[str]:
    yield from (line for way in ways for line in outlets.never(way))
    yield from (groups.KNOWN, *groups.NEIGHBOURS)
    if mode is NetworkMode.PRIVATE:
        yield f"iifname {_UP} ct status & dnat != dnat drop"
        yield f"ip daddr {ends.host} drop"
        yield f"ip6 daddr {ends.host6} drop"
    yield from (line for way in ways for line in outlets.new(way))
    yield from groups.ARRIVING_HERE
    yield f"oifname {_UP} accept"
    yield from groups.THROUGH_THE_GATEWAY


def _dstnat(mode: NetworkMode, ends: links.Transit) -> Iterator[str]:
    for family, version, own in (("ip", 4, ends.network), ("ip6", 6, ends.network6)):
        if mode in _HIDDEN:
            yield f"iifname {_UP} dnat {family} to {family} daddr map @elastic_in{version}"
        if mode is NetworkMode.NAT:
            yield (
                f"iifname {_UP} {family} daddr {own} dnat {family} to meta l4proto . th dport map @forwards{version}"
            )
    if mode in _HOST_IS_REACHED:
        # Link-local gateways are left out: what is asked there stays on the link.
        for family, gateways, host in (
            ("ip", "@gateways4", ends.host),
            ("ip6", "!= fe80::/10 ip6 daddr @gateways6", ends.host6),
        ):
            yield (
                f"iifname {_BRIDGES} {family} daddr {gateways} meta l4proto {{ tcp, udp }} "
                f"th dport != {{ 53, 67, 547 }} dnat {family} to {host}"
            )


def _srcnat(mode: NetworkMode, ends: links.Transit, ways: Iterable[outlets.Way]) -> Iterator[str]:
    if mode is NetworkMode.HOST_ONLY:
        yield f"iifname {_UP} masquerade"
    if mode not in _HIDDEN:
        return
    yield f"oifname != {_UP} accept"
    if mode in _HOST_IS_REACHED:
        yield f"ip daddr {ends.host} accept"
        yield f"ip6 daddr {ends.host6} accept"
    yield from (line for way in ways for line in outlets.before_elastic(way))
    yield "snat ip to ip saddr map @elastic_out4"
    yield "snat ip6 to ip6 saddr map @elastic_out6"
    yield from (line for way in ways for line in outlets.after_elastic(way))
    yield "masquerade"
