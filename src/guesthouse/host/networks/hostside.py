"""What networks are on the host itself: links, routes, neighbours for whom it answers, and the house's one table."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_interface, ip_network

from guesthouse.formats import iproute, links, netfilter
from guesthouse.formats.iproute import PROTOCOL, Seen
from guesthouse.host.networks.layout import ROUTED
from guesthouse.host.networks.namespace import HOST, Ground
from guesthouse.model.errors import Conflict, GuesthouseError
from guesthouse.model.network import NetworkMode, NetworkWanted
from guesthouse.ports import HostAddresses

_NFT = ("nft", "-f", "-")
# A route to this many addresses or more is a way to somewhere, not a place: a network may lie inside it.
_WIDE = {4: 8, 6: 16}


class HostSide:
    """The host's own part of the networks of one house."""

    def __init__(
        self, tag: str, table: str, networks: Callable[[], Iterable[NetworkWanted]], ground: Ground = HOST
    ) -> None:
        """`networks` are those that there are, whenever it is called: several may be made at a time."""
        self.tag = tag
        self.table = table
        self.ground = ground
        self._networks = networks
        self._text = self._listed = ""
        self._loading = asyncio.Lock()

    async def look(self) -> Seen:
        """What the host has of links, routes and neighbours."""
        async with asyncio.TaskGroup() as tasks:
            shown = [
                tasks.create_task(self.ground.run(*words))
                for words in (iproute.SHOW_LINKS, *iproute.SHOW_ROUTES, iproute.SHOW_PROXIES)
            ]
        seen, *routes, proxies = (each.result() for each in shown)
        return Seen(
            iproute.read_links(seen),
            tuple(route for text in routes for route in iproute.read_routes(text)),
            iproute.read_proxies(proxies),
        )

    async def numbers(self) -> set[int]:
        """The numbers of the house's networks, by what has their names: namespaces, links."""
        names = (*(path.name for path in self.ground.names.glob("*")), *(await self.look()).links)
        found = (re.fullmatch(rf"gh{self.tag}[-b](\d+)", name) for name in names)
        return {int(match[1]) for match in found if match}

    async def change(self, lines: Sequence[str]) -> None:
        """Run lines of `iproute` on the host."""
        if lines:
            await self.ground.run(*iproute.BATCH, stdin=iproute.batch(lines))

    async def guard(self) -> None:
        """Have the table for the networks that there are now; none for no networks."""
        async with self._loading:
            text = self._write()
            if text == self._text and self._listed == await self._list():
                return
            await self.ground.run(*_NFT, stdin=text)
            await self.ground.lead(_forwards(self._networks()))
            self._text, self._listed = text, await self._list()

    async def is_guarded(self) -> bool:
        """Whether the table is there, and as it is for the networks that there are now."""
        async with self._loading:
            return self._text == self._write() and self._listed == await self._list()

    async def has_table(self) -> bool:
        """Whether the table is there, whoever made it."""
        return bool(await self._list())

    def _write(self) -> str:
        networks = sorted(self._networks(), key=lambda each: each.network.number)
        if not networks:
            return netfilter.without((self.table,))
        return netfilter.outside(self.table, self.tag, networks)

    async def _list(self) -> str:
        """The table as the kernel has it; "" where there is none, or nobody can tell."""
        try:
            return await self.ground.run("nft", "--stateless", "list", "table", *self.table.split())
        except GuesthouseError:
            return ""


def refuse_overlaps(wanted: NetworkWanted, tag: str, seen: Seen) -> None:
    """Raise `Conflict` where the host has the network's addresses already, or knows another way to them."""
    network = wanted.network
    own = {links.link(tag, network.number), links.own_bridge(tag, network.number)}
    transit = links.transit(tag, network.number)
    for link in seen.links.values():
        if link.ifname not in own and transit.host in {each.partition("/")[0] for each in link.addresses}:
            raise Conflict(
                f"{link.ifname} of this host has {transit.host}, which leads to the network",
                subject=f"network {network.name}",
                hint="another house has it: move this one to another folder, or delete and create the network again",
            )
    if network.mode not in ROUTED:
        return
    for subnet in wanted.subnets:
        for cidr in filter(None, (subnet.cidr, subnet.cidr6)):
            if (holder := _holder(cidr, own, seen)) is not None:
                raise Conflict(
                    f"this host has another way to addresses of {cidr}: {holder}",
                    subject=f"network {network.name}",
                    field="cidr",
                    value=cidr,
                    hint="take other addresses; `ip route` lists those that are taken",
                )


def _holder(cidr: str, own: set[str], seen: Seen) -> str | None:
    ours = ip_network(cidr)
    for route in seen.routes:
        if route.dst == "default" or route.dev in own:
            continue
        other = ip_network(route.dst, strict=False)
        if other.version == ours.version and other.prefixlen >= _WIDE[other.version] and other.overlaps(ours):
            return f"{route.dst} by {route.dev}"
    for link in seen.links.values():
        for address in link.addresses if link.ifname not in own else ():
            if ip_interface(address).ip in ours:
                return f"{address} of {link.ifname}"
    return None


def elsewhere(tag: str, seen: Seen) -> HostAddresses:
    """What the host has and reaches without the networks of this house."""
    ours = {name for name in seen.links if name.startswith(f"gh{tag}")}
    theirs = (link for link in seen.links.values() if link.ifname not in ours)
    own = {str(ip_interface(address).ip) for link in theirs for address in link.addresses}
    blocks = {route.dst for route in seen.routes if route.dst != "default" and route.dev not in ours}
    return HostAddresses(own=tuple(sorted(own)), reached=tuple(sorted(dst for dst in blocks if _is_a_place(dst))))


def _is_a_place(dst: str) -> bool:
    block = ip_network(dst, strict=False)
    return block.prefixlen >= _WIDE[block.version]


def behind(link: str, seen: Seen) -> set[str]:
    """The single addresses that the host routes to a link for us: elastic ones."""
    return {
        route.dst for route in seen.routes if route.dev == link and route.protocol == PROTOCOL and "/" not in route.dst
    }


def _forwards(networks: Iterable[NetworkWanted]) -> frozenset[tuple[str, int]]:
    """The ports of the host that lead to machines, by protocol and number."""
    return frozenset(
        (forward.protocol, forward.host_port)
        for wanted in networks
        if wanted.network.mode is NetworkMode.NAT
        for each in wanted.ports
        for forward in each.port.forwards
    )
