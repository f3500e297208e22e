"""One network on this box: what it takes to have it as it is wanted, and to have it no more.

Rules
-----
1. `POINTS` lie between the steps of making one, `REMOVAL_POINTS` between those of removing one; a test ends the daemon
   at each of them.
2. Where nothing but ports and groups differs from what was applied last, and nobody has told of a change by others,
   only rules and files are written: a NIC must not cost a look at a thousand others. Where nothing differs at all
   somebody else has just had it applied, and nothing is done.
3. Elastic addresses are no longer answered for before the route to them goes: by the route we know that they are ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import msgspec

from guesthouse.formats import dnsmasq, iproute, links, netfilter
from guesthouse.formats.iproute import Link, Seen
from guesthouse.host.networks import bridged, cable, layout, record, rules
from guesthouse.host.networks.hostside import HostSide, behind, refuse_overlaps
from guesthouse.host.networks.nameserver import NameServer
from guesthouse.host.networks.namespace import Namespace, read_sysctl, write_sysctl
from guesthouse.host.networks.record import Record
from guesthouse.host.networks.resolver import tell_the_host
from guesthouse.host.networks.taps import Place
from guesthouse.model.house import House
from guesthouse.model.network import Network, NetworkMode, NetworkState, NetworkWanted, Port

POINTS = ("named", "recorded", "settled", "guarded", "let out", "linked", "routed", "served", "remembered")
REMOVAL_POINTS = ("silenced", "unrouted", "cut off", "emptied", "unnamed", "forgotten")
_MTU = 1500  # where the host has no way out to take it from


@dataclass(frozen=True)
class View:
    """What was seen of the host and of the namespace, and what follows from it for a network."""

    host: Seen
    inside: Seen
    mtu: int
    cable: cable.Cable | None


class Site:
    """A network on this box; it may not be there."""

    def __init__(self, house: House, host: HostSide, network: Network, reached: Callable[[str], None]) -> None:
        self.namespace = Namespace(links.namespace(host.tag, network.number), host.ground)
        self.link = links.link(host.tag, network.number)
        self.server = NameServer(record.folder_of(house, network.id), self.namespace, network.number)
        self.lock = asyncio.Lock()
        self.record: Record | None = None
        self.suspect = True
        """Whether it may be other than it was applied."""
        self._house, self._host, self._reached = house, host, reached
        self._mtu = _MTU

    def adopt(self, kept: Record) -> None:
        """Know what an earlier daemon made."""
        self.record, self._mtu = kept, kept.mtu

    # --- having it ---

    async def apply(self, wanted: NetworkWanted) -> None:
        """Have it as it is wanted. The caller holds `lock`."""
        if self._stands(wanted):
            return
        before, generation = (self.record.wanted, self.record.generation) if self.record else (None, -1)
        if not self.suspect and before is not None and _only_ports_differ(before, wanted):
            await self._change_ports(before, wanted)
            return
        view = await self.look(wanted)
        refuse_overlaps(wanted, self._host.tag, view.host)
        await self.namespace.make(None if self.namespace.is_there() else await self.server.pid())
        self._reached("named")
        self._remember(Record(wanted, self._mtu))
        self._reached("recorded")
        self.namespace.enter(partial(_settle, tuple(layout.inside_settings(wanted))))
        self._reached("settled")
        generation = await self._guard(before, wanted, generation)
        self._reached("guarded")
        await self._host.guard()
        self._reached("let out")
        await self._link(wanted, view)
        self._reached("linked")
        self._host.ground.visit(partial(_settle, tuple(layout.outside_settings(wanted, self._host.tag))))
        await self._host.change(self._host_lines(wanted, await self._host.look()))
        self._reached("routed")
        await self._serve(wanted)
        if not self._host.ground.is_own:
            await tell_the_host(wanted, self.link)
        self._reached("served")
        self._remember(Record(wanted, self._mtu, generation))
        self.suspect = False
        self._reached("remembered")

    def _stands(self, wanted: NetworkWanted) -> bool:
        """Whether just this was applied, whole, and nobody has told of a change since."""
        kept = self.record
        if self.suspect or kept is None or kept.generation < 0:
            return False
        same = kept.wanted.network.generation == wanted.network.generation and _is_same(kept.wanted, wanted)
        return same and (self.server.runs() or not dnsmasq.is_served(wanted.network))

    async def differs(self, wanted: NetworkWanted) -> list[str]:
        """What is not as it is wanted, in words. The caller holds `lock`."""
        self.suspect = True
        if not self.namespace.is_there():
            return [f"there is no network namespace {self.namespace.name}"]
        found: list[str] = []
        if self.record is None or not _is_same(self.record.wanted, wanted):
            found.append("it is not what was last applied")
        elif not self.has_its_rules():
            found.append(f"the rules in {self.namespace.name} were changed by another program")
        view = await self.look(wanted)
        first, inside = self._link_lines(wanted, view)
        found += [f"missing: ip {line}" for line in (*first, *self._host_lines(wanted, view.host))]
        found += [f"missing in {self.namespace.name}: ip {line}" for line in inside]
        settings = self.namespace.enter(partial(_unsettled, tuple(layout.inside_settings(wanted))))
        found += [f"in {self.namespace.name} {name} is not {value}" for name, value in settings]
        if not first:
            outside = tuple(layout.outside_settings(wanted, self._host.tag))
            settings = self._host.ground.visit(partial(_unsettled, outside))
            found += [f"{name} is not {value}" for name, value in settings]
        if not await self._host.is_guarded():
            found.append(f"the table {self._host.table} was changed by another program")
        if dnsmasq.is_served(wanted.network) and not self.server.runs():
            found.append("its name server does not run")
        self.suspect = bool(found)
        return found

    def has_its_rules(self) -> bool:
        """Whether nobody has changed the rules inside since they were applied."""
        kept = self.record
        return (
            kept is not None and self.namespace.is_there() and kept.generation == self.namespace.enter(rules.generation)
        )

    async def look(self, wanted: NetworkWanted) -> View:
        """See what there is; raises `Conflict` where the host cannot have the network."""
        network = wanted.network
        host = await self._host.look()
        plugged = cable.plug(network, self._host.tag, host.links) if network.mode is NetworkMode.BRIDGE else None
        out = host.links.get(layout.way_out(host.routes))
        self._mtu = plugged.mtu if plugged else network.mtu or (out.mtu if out else _MTU)
        return View(host, await self._look_inside(), self._mtu, plugged)

    async def _look_inside(self) -> Seen:
        if not self.namespace.is_there():
            return Seen({})
        seen = await self.namespace.run(*iproute.SHOW_LINKS)
        routes = [await self.namespace.run(*words) for words in iproute.SHOW_ROUTES]
        return Seen(iproute.read_links(seen), tuple(route for text in routes for route in iproute.read_routes(text)))

    def place(self, wanted: NetworkWanted, port: Port) -> Place:
        """Where the TAP of a port goes."""
        return Place(links.tap(port.number), layout.bridge_of(wanted, port.subnet), self._mtu)

    async def _change_ports(self, before: NetworkWanted, wanted: NetworkWanted) -> None:
        """The short way, see rule 2. Cut off in the middle, the generation that is kept is no longer the kernel's."""
        text = _change(before, wanted, self._host.tag)
        generation = await rules.load(self.namespace, text) if text else self.namespace.enter(rules.generation)
        await self._serve(wanted)
        self._remember(Record(wanted, self._mtu, generation))

    async def _guard(self, before: NetworkWanted | None, wanted: NetworkWanted, generation: int) -> int:
        """Have the rules inside; their generation."""
        now = self.namespace.enter(rules.generation)
        if before is None or generation != now:
            return await rules.load(self.namespace, _inside(wanted, self._host.tag))
        text = _change(before, wanted, self._host.tag)
        return await rules.load(self.namespace, text) if text else now

    async def _link(self, wanted: NetworkWanted, view: View) -> None:
        first, inside = self._link_lines(wanted, View(view.host, await self._look_inside(), view.mtu, view.cable))
        await self._host.change(first)
        if inside:
            await self.namespace.run(*iproute.BATCH, stdin=iproute.batch(inside))

    def _link_lines(self, wanted: NetworkWanted, view: View) -> tuple[list[str], list[str]]:
        """The lines for links, on the host and inside. A transit link that lost its other end goes, and comes again."""
        tag, host, inside = self._host.tag, dict(view.host.links), dict(view.inside.links)
        first: list[str] = []
        if self.link in host and links.UPLINK not in inside:
            first.append(f"link delete {self.link}")
            del host[self.link]
        if self.link not in host:
            inside[links.UPLINK] = Link(links.UPLINK)
        made = view.cable.links if view.cable else ()
        end = layout.outside_link(wanted, tag, view.mtu, view.cable.bridge if view.cable else "")
        first += iproute.mend_links((*made, end), host)
        own = links.own_bridge(tag, wanted.network.number)
        if own in host and own not in {link.name for link in made}:
            first.append(f"link delete {own}")
        wanted_inside = list(layout.inside_links(wanted, tag, view.mtu))
        lines = [*layout.surplus(wanted_inside, inside), *iproute.mend_links(wanted_inside, inside)]
        lines += iproute.mend_routes(layout.inside_routes(wanted, tag), view.inside.routes, {links.UPLINK})
        return first, lines

    def _host_lines(self, wanted: NetworkWanted, seen: Seen) -> list[str]:
        """The lines for the host's routes and neighbours."""
        proxies = list(layout.outside_proxies(wanted, seen.links))
        routes = layout.outside_routes(wanted, self._host.tag)
        gone_first = list(iproute.mend_proxies(proxies, seen.proxies, behind(self.link, seen)))
        return [*gone_first, *iproute.mend_routes(routes, seen.routes, {self.link})]

    async def _serve(self, wanted: NetworkWanted) -> None:
        if not dnsmasq.is_served(wanted.network):
            return
        bridges = {subnet.number: links.bridge(subnet.number) for subnet in wanted.subnets}
        folder = str(record.folder_of(self._house, wanted.network.id))
        argv = dnsmasq.command(wanted, folder, self._host.ground.resolver(), bridges, links.UPLINK, self._mtu)
        files = {links.tap(number): files for number, files in dnsmasq.port_files(wanted).items()}
        await self.server.have(argv, files)

    def _remember(self, kept: Record) -> None:
        record.write(self._house, kept)
        self.record = kept

    # --- having it no more ---

    async def remove(self, network: Network) -> None:
        """Have none of it. The caller holds `lock`."""
        await self.server.stop()
        self._reached("silenced")
        seen = await self._host.look()
        await self._host.change(list(iproute.mend_proxies((), seen.proxies, behind(self.link, seen))))
        self._reached("unrouted")
        own = links.own_bridge(self._host.tag, network.number)
        await self._host.change([f"link delete {name}" for name in (self.link, own) if name in seen.links])
        self._reached("cut off")
        await self._empty()
        self._reached("emptied")
        await self.namespace.remove()
        self.record, self.suspect = None, True
        await self._host.guard()
        self._reached("unnamed")
        record.remove(self._house, network.id)
        self._reached("forgotten")

    async def _empty(self) -> None:
        """Delete bridges and TAPs: what QEMU has open would keep them, and the namespace, for as long as it runs."""
        inside = (await self._look_inside()).links.values()
        lines = [f"link delete {link.ifname}" for link in inside if link.linkinfo.info_kind in ("bridge", "tun")]
        if lines:
            await self.namespace.run(*iproute.BATCH, stdin=iproute.batch(lines))


def _inside(wanted: NetworkWanted, tag: str) -> str:
    return bridged.inside(wanted) if wanted.network.mode is NetworkMode.BRIDGE else netfilter.inside(wanted, tag)


def _change(before: NetworkWanted, wanted: NetworkWanted, tag: str) -> str:
    if wanted.network.mode is not NetworkMode.BRIDGE:
        return netfilter.change(before, wanted, tag)
    text = bridged.inside(wanted)
    return "" if text == bridged.inside(before) else text


def _essence(network: Network) -> Network:
    """What of a network the host is to know."""
    return msgspec.structs.replace(
        network, name="", state=NetworkState.READY, generation=0, observed_generation=0, created_at=0.0
    )


def _is_same(one: NetworkWanted, other: NetworkWanted) -> bool:
    return _essence(one.network) == _essence(other.network) and _rest(one) == _rest(other)


def _rest(wanted: NetworkWanted) -> tuple[object, ...]:
    return wanted.subnets, wanted.ports, wanted.groups, wanted.connections


def _only_ports_differ(before: NetworkWanted, wanted: NetworkWanted) -> bool:
    """Whether nothing differs but ports and groups, and nothing of them that the host itself has."""
    same = _essence(before.network) == _essence(wanted.network) and before.subnets == wanted.subnets
    return same and before.connections == wanted.connections and _outer(before) == _outer(wanted)


def _outer(wanted: NetworkWanted) -> list[tuple[object, ...]]:
    """What of the ports the host itself has."""
    return [
        (each.port.address, each.port.address6, each.forwards, each.elastic)
        for each in wanted.ports
        if each.forwards or each.elastic
    ]


def _settle(settings: Iterable[tuple[str, str]]) -> None:
    for name, value in settings:
        if read_sysctl(name) is not None:
            write_sysctl(name, value)


def _unsettled(settings: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in settings if read_sysctl(name) not in (None, value)]
