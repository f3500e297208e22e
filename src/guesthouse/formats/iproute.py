"""What ``ip -json`` tells of links and routes, and the lines for ``ip -batch`` that make them as they are wanted.

Rules
-----
1. A link is told apart by its name alone; what it is made of is not changed later: a wrong one goes and comes again.
2. Lines are only for what differs: after they were run there are none.
3. Routes and neighbours that we add carry `PROTOCOL`, so that those we no longer want are told from other people's.

Source: ip-link(8), ip-address(8), ip-route(8), ip-neighbour(8); the JSON is of iproute2's print_linkinfo and its like.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

PROTOCOL = "103"
"""Who made a route: 103 is nobody's in rtnetlink's list."""
SHOW_LINKS = ("ip", "-json", "-details", "address", "show")
SHOW_ROUTES = (("ip", "-json", "-4", "route", "show", "table", "main"), ("ip", "-json", "-6", "route", "show"))
SHOW_PROXIES = ("ip", "-json", "neighbour", "show", "proxy")
BATCH = ("ip", "-batch", "-")
_BRIDGE = "type bridge stp_state 0 forward_delay 0 mcast_snooping 0"


class Address(msgspec.Struct, frozen=True):
    """An address of a link."""

    local: str = ""
    prefixlen: int = 0
    scope: str = ""


class Kind(msgspec.Struct, frozen=True):
    info_kind: str = ""


class Link(msgspec.Struct, frozen=True):
    """A link as it is seen."""

    ifname: str
    flags: tuple[str, ...] = ()
    mtu: int = 0
    master: str = ""
    address: str = ""
    link_type: str = ""
    linkinfo: Kind = Kind()
    addr_info: tuple[Address, ...] = ()

    @property
    def is_up(self) -> bool:
        return "UP" in self.flags

    @property
    def addresses(self) -> frozenset[str]:
        """All but link-local ones, with their prefix lengths."""
        return frozenset(f"{each.local}/{each.prefixlen}" for each in self.addr_info if each.scope != "link")


class Route(msgspec.Struct, frozen=True):
    """A route as it is seen; `dst` is ``default`` for that of all the rest."""

    dst: str
    dev: str = ""
    gateway: str = ""
    protocol: str = ""


class Proxy(msgspec.Struct, frozen=True):
    """An address for which the host answers on a link, as if it were its own."""

    dst: str
    dev: str
    protocol: str = ""


class LinkWanted(msgspec.Struct, frozen=True, kw_only=True):
    """A link as it is to be. `make` is the batch line that makes it; empty where it is not ours to make."""

    name: str
    mtu: int
    make: str = ""
    mac: str = ""
    master: str = ""
    addresses: tuple[str, ...] = ()


class Seen(msgspec.Struct, frozen=True):
    """The links by name, and the routes, of one network namespace."""

    links: Mapping[str, Link]
    routes: tuple[Route, ...] = ()
    proxies: tuple[Proxy, ...] = ()


def read_links(text: str) -> dict[str, Link]:
    """The links in what `SHOW_LINKS` prints, by name."""
    return {link.ifname: link for link in _decode(text, list[Link])}


def read_routes(text: str) -> tuple[Route, ...]:
    """The routes in what one of `SHOW_ROUTES` prints."""
    return tuple(_decode(text, list[Route]))


def read_proxies(text: str) -> tuple[Proxy, ...]:
    """The entries in what `SHOW_PROXIES` prints."""
    return tuple(_decode(text, list[Proxy]))


def _decode(text: str, kind: type[Any]) -> Any:
    """Without anything to show, ip prints nothing; of what has no data, an empty object."""
    rows = msgspec.json.decode(text or "[]", type=list[dict[str, Any]])
    return msgspec.convert([row for row in rows if row], kind)


def bridge(name: str, mac: str) -> str:
    """The line that makes a bridge; with no MAC address given it takes one of its ports'."""
    return f"link add {name} {f'address {mac} ' if mac else ''}{_BRIDGE}"


def veth(name: str, peer: str, namespace: str) -> str:
    """The line that makes a pair of links, the other one in a namespace."""
    return f"link add {name} type veth peer name {peer} netns {namespace}"


def mend_links(wanted: Iterable[LinkWanted], seen: Mapping[str, Link]) -> Iterator[str]:
    """What makes the wanted links out of those that are seen; others are left alone."""
    for link in wanted:
        yield from _mend_link(link, seen.get(link.name))


def _mend_link(wanted: LinkWanted, seen: Link | None) -> Iterator[str]:
    name = wanted.name
    if seen is None:
        if not wanted.make:
            return
        yield wanted.make
    found = seen or Link(name)
    if wanted.mac and seen is not None and found.address != wanted.mac:
        yield f"link set {name} address {wanted.mac}"
    if found.mtu != wanted.mtu:
        yield f"link set {name} mtu {wanted.mtu}"
    if found.master != wanted.master:
        yield f"link set {name} master {wanted.master}" if wanted.master else f"link set {name} nomaster"
    for address in sorted(found.addresses - set(wanted.addresses)):
        yield f"address delete {address} dev {name}"
    for address in wanted.addresses:
        if address not in found.addresses:
            # Nobody else can have it: to look for others would only take its time.
            yield f"address add {address} dev {name}{' nodad' if ':' in address else ''}"
    if not found.is_up:
        yield f"link set {name} up"


def mend_routes(wanted: Sequence[Route], seen: Iterable[Route], links: Iterable[str]) -> Iterator[str]:
    """What makes the wanted routes; of those through `links`, ours that nobody wants any more go."""
    ours = {(route.dst, route.gateway, route.dev): route for route in seen if route.protocol == PROTOCOL}
    kept = {(route.dst, route.gateway, route.dev) for route in wanted}
    for key, route in ours.items():
        if route.dev in links and key not in kept:
            yield f"route delete {route.dst} via {route.gateway} dev {route.dev} protocol {PROTOCOL}"
    for route in wanted:
        if (route.dst, route.gateway, route.dev) not in ours:
            yield f"route add {route.dst} via {route.gateway} dev {route.dev} protocol {PROTOCOL}"


def mend_proxies(wanted: Iterable[Proxy], seen: Iterable[Proxy], ours: Container[str]) -> Iterator[str]:
    """What makes the wanted entries; of those for the addresses `ours`, any that nobody wants any more go."""
    kept, there = {(proxy.dst, proxy.dev) for proxy in wanted}, set[tuple[str, str]]()
    for proxy in seen:
        if proxy.protocol == PROTOCOL and proxy.dst in ours and (proxy.dst, proxy.dev) not in kept:
            yield f"neighbour delete proxy {proxy.dst} dev {proxy.dev}"
        there.add((proxy.dst, proxy.dev))
    for dst, dev in sorted(kept - there):
        yield f"neighbour add proxy {dst} dev {dev} protocol {PROTOCOL}"


def batch(lines: Iterable[str]) -> str:
    """The lines as a text for `BATCH`; empty when there are none."""
    return "".join(f"{line}\n" for line in lines)
