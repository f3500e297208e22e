"""The ways out of a private network's subnets: who has one, by which address.

Rules
-----
1. A subnet that has no way for somebody has none at once: what was begun before ends there. Only what came in by an
   elastic address before those led nowhere goes on until it ends.
2. Whom an elastic address leads to goes out by that, unless all of his subnet go out by a shared one. That is the one
   of the subnet's gate, or the network's own, its end of the transit link. A gate without an address leads nowhere.
3. Who is in which subnet is judged by the bridge that he comes from; by which address he goes out, by his own.
4. The address that a gate shares leads to nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from guesthouse.formats import links
from guesthouse.formats.netfilter.ruleset import Element, Store
from guesthouse.model.network import NetworkMode, NetworkWanted, Outlet, PortWanted, Subnet

_UP = f'"{links.UPLINK}"'
_BY_ELASTIC = (Outlet.ALL, Outlet.ELASTIC)
_BY_SHARED = (Outlet.ALL, Outlet.SHARED)


@dataclass(frozen=True)
class Way:
    """How a subnet goes out; `shared` is the elastic address of its gate, None where it has no gate."""

    subnet: Subnet
    shared: str | None = None

    @property
    def bridge(self) -> str:
        return f'"{links.bridge(self.subnet.number)}"'

    @property
    def is_shared(self) -> bool:
        """Whether machines without an elastic address have a way."""
        return self.subnet.outlet in _BY_SHARED and self.shared != ""

    @property
    def is_elastic(self) -> bool:
        """Whether elastic addresses lead there and back."""
        return self.subnet.outlet in _BY_ELASTIC


def stores(table: str) -> tuple[Store, ...]:
    """The sets of those whom an elastic address leads to."""
    return tuple(Store(table, "set", f"led{version}", f"type ipv{version}_addr") for version in (4, 6))


def ways(wanted: NetworkWanted) -> tuple[Way, ...]:
    """Those of the subnets, of a private network that has some which are not open to all by the network's address."""
    if wanted.network.mode is not NetworkMode.PRIVATE:
        return ()
    elastics = {each.port.id: each.elastic for each in wanted.ports}
    found = (Way(subnet, elastics.get(subnet.gate, "") if subnet.gate else None) for subnet in wanted.subnets)
    return tuple(way for way in found if way.subnet.outlet is not Outlet.ALL or way.shared is not None)


def of_port(table: str, wanted: PortWanted, addresses: dict[int, str]) -> Iterator[Element]:
    """That an elastic address leads to a port."""
    version = ip_address(wanted.elastic).version
    yield Element(table, f"led{version}", addresses[version])


def never(way: Way) -> Iterator[str]:
    """What has no way out of a subnet, or back into it, whenever it was begun."""
    if not way.is_shared and not way.is_elastic:
        yield f"iifname {way.bridge} oifname {_UP} drop"
        yield f"iifname {_UP} oifname {way.bridge} drop"
    elif not way.is_shared:
        yield f"iifname {way.bridge} oifname {_UP} ip saddr != @led4 drop"
        yield f"iifname {way.bridge} oifname {_UP} ip6 saddr != @led6 drop"


def new(way: Way) -> Iterator[str]:
    """What is not begun from outside."""
    if not way.is_elastic:
        yield f"iifname {_UP} oifname {way.bridge} drop"


def before_elastic(way: Way) -> Iterator[str]:
    """The address of those who go out by a shared one whatever leads to them."""
    if not way.is_elastic and way.is_shared:
        yield from _shared(way)


def after_elastic(way: Way) -> Iterator[str]:
    """The address of those who have none of their own."""
    if way.is_elastic and way.is_shared and way.shared:
        yield from _shared(way)


def _shared(way: Way) -> Iterator[str]:
    yield f"ip saddr {way.subnet.cidr} {f'snat ip to {way.shared}' if way.shared else 'masquerade'}"
    if way.subnet.cidr6:
        yield f"ip6 saddr {way.subnet.cidr6} masquerade"
