"""The networks of a house on this box, as long as a daemon has them open.

Closing them ends none: they work on, and the next daemon finds them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple

from guesthouse.formats import dnsmasq, links, netfilter
from guesthouse.formats.dnsmasq import Lease
from guesthouse.host.feed import Feed
from guesthouse.host.networks import findings, nameserver, own, record, selftest, taps
from guesthouse.host.networks.hostside import HostSide
from guesthouse.host.networks.limits import limited
from guesthouse.host.networks.metadata import Listening
from guesthouse.host.networks.namespace import HOST, Ground, Namespace
from guesthouse.host.networks.site import Site
from guesthouse.host.networks.watch import Watch
from guesthouse.model.errors import Conflict, GuesthouseError, NoCapacity
from guesthouse.model.house import House
from guesthouse.model.network import Network, NetworkMode, NetworkWanted, Port
from guesthouse.ports import Finding, MetadataDoor

_LOG = logging.getLogger(__name__)
_LOOK_AT_LOGS_S = 10.0


class Seat(NamedTuple):
    """Where a machine is: the namespace of a network, and its address there."""

    namespace: Namespace
    address: str


class LocalNetworks:
    """Implements `ports.NetworkHost`. Where they are `refused`, nothing is changed for them."""

    def __init__(
        self,
        house: House,
        reached: Callable[[str], None],
        metadata: MetadataDoor | None = None,
        *,
        ground: Ground = HOST,
        refused: Finding | None = None,
    ) -> None:
        self.refused = refused
        tag = links.tag_of(house.home.resolve())
        self.host = HostSide(tag, netfilter.table_of(house.home.resolve()), self._known, ground)
        self._house, self._reached = house, reached
        self._sites: dict[str, Site] = {}
        self._news = Feed()
        self._judges = selftest.Judges(ground)
        self._hints: dict[str, bool] = {}
        self._hinted = asyncio.Event()
        self._metadata = Listening(metadata)
        self.watch: Watch | None = None

    async def apply(self, wanted: NetworkWanted) -> None:
        """Have the network as it is wanted, whatever there was; what is there already is left, and so are connections.

        Raises `NoCapacity`, `Conflict` or `Failed` where this box cannot have it, before anything has changed.
        """
        self._refuse_unless_allowed()
        _refuse_cable(wanted, self.host.ground)
        wanted = limited(wanted)
        if dnsmasq.is_served(wanted.network):
            nameserver.refuse_where_none_can_run()
        site = self._site(wanted.network)
        async with site.lock:
            if site.record is not None and site.record.wanted.network.generation > wanted.network.generation:
                return  # somebody knows more of it already
            if wanted.groups:
                await self._judges.require()
            _refuse_groups(wanted)
            await site.apply(wanted)
            await self._metadata.begin(wanted.network, site.namespace)
            if self.watch is not None:
                self.watch.attend(wanted.network.id, site.link, site.namespace, site.server.process)

    async def differs(self, wanted: NetworkWanted) -> Sequence[str]:
        """What of the network is not as it is wanted, in words; nothing when it is."""
        site = self._site(wanted.network)
        async with site.lock:
            return await site.differs(limited(wanted))

    async def remove(self, network: Network) -> None:
        """Have no such network any more; there is none is as good."""
        self._refuse_unless_allowed()
        site = self._site(network)
        async with site.lock:
            if self.watch is not None:
                self.watch.leave(network.id)
            await self._metadata.end(network)
            await site.remove(network)
        self._sites.pop(network.id, None)

    def generation(self, network: Network) -> int:
        """The generation of the network that this host has; 0 where it has none."""
        kept = self._site(network).record
        return kept.wanted.network.generation if kept is not None and kept.generation >= 0 else 0

    async def attach(self, wanted: NetworkWanted, port: Port) -> int:
        """A descriptor of the port's TAP, see `open_tap`, on a network that is as it is wanted; raises as `apply`."""
        site = self._site(wanted.network)
        if site.suspect or site.record is None or site.record.wanted.network.generation < wanted.network.generation:
            await self.apply(wanted)
        return await self.open_tap(wanted, port)

    async def open_tap(self, wanted: NetworkWanted, port: Port) -> int:
        """A descriptor of the port's TAP for QEMU to inherit; the caller closes his own. See `taps`."""
        site = self._site(wanted.network)
        return taps.open_tap(site.namespace, site.place(wanted, port))

    def leases(self, network: Network) -> list[Lease]:
        """The addresses that machines of the network have asked for."""
        return self._site(network).server.leases()

    def namespace(self, network: Network) -> Namespace:
        """Where the network is: sockets that are opened by `Namespace.enter` are its own."""
        return self._site(network).namespace

    def seats(self, machine: str) -> list[Seat]:
        """Where a machine, by its id, has addresses of ours, as far as it was applied here."""
        return [
            Seat(site.namespace, each.port.address)
            for site in self._sites.values()
            if site.record is not None
            for each in site.record.wanted.ports
            if each.port.machine == machine and each.port.address
        ]

    def follow(self) -> AsyncIterator[str]:
        """Ids of networks that are no longer as they were applied, from this call on."""
        return self._news.follow()

    def hint(self, network: str, rules_alone: bool) -> None:
        """Somebody may have changed a network, or its rules alone; with no id, the house's table on the host."""
        self._hints[network] = rules_alone and self._hints.get(network, True)
        self._hinted.set()

    async def heed(self) -> None:
        """Look at whatever there are hints about, and tell the followers of what is true of them; without end."""
        while True:
            await self._hinted.wait()
            self._hinted.clear()
            hints, self._hints = self._hints, {}
            for network, rules_alone in hints.items():
                try:
                    await (self._look_again(network, rules_alone) if network else self._guard_again())
                except GuesthouseError as error:
                    _LOG.warning("a network may not be as it was applied: %s", error)

    async def _look_again(self, network: str, rules_alone: bool) -> None:
        site = self._sites.get(network)
        if site is None:
            return
        async with site.lock:
            kept = site.record
            if kept is None or kept.generation < 0 or (rules_alone and site.has_its_rules()):
                return
            found = await site.differs(kept.wanted)
        if found:
            _LOG.warning("network %s is not as it was applied: %s", kept.wanted.network.name, "; ".join(found))
            self._news.tell(network)

    async def _guard_again(self) -> None:
        """The table on the host is the house's: it is put up again at once, for whatever network."""
        if self._known() and not await self.host.is_guarded():
            await self.host.guard()
            _LOG.warning("the table %s was removed by another program; it is there again", self.host.table)

    def adopt(self) -> None:
        """Know the networks that an earlier daemon has made."""
        for kept in record.read_all(self._house):
            self._site(kept.wanted.network).adopt(kept)

    def is_empty(self) -> bool:
        """Whether there are none."""
        return not self._known()

    def sites(self) -> dict[str, Site]:
        """The networks that are known, by id."""
        return dict(self._sites)

    def _refuse_unless_allowed(self) -> None:
        if self.refused is not None:
            reason = f"this house has no networks on this host: {self.refused.found}"
            raise NoCapacity(reason, field="network", hint=self.refused.fix)
        self.host.ground.require()

    def _site(self, network: Network) -> Site:
        site = self._sites.get(network.id)
        if site is None:
            site = self._sites[network.id] = Site(self._house, self.host, network, self._reached)
        return site

    def _known(self) -> list[NetworkWanted]:
        """The networks that are on the host, or are just being put there."""
        return [site.record.wanted for site in self._sites.values() if site.record is not None]


def _refuse_groups(wanted: NetworkWanted) -> None:
    if wanted.network.mode is NetworkMode.BRIDGE and any(each.port.groups for each in wanted.ports):
        raise Conflict(
            "a network in mode bridge has no groups: whose the addresses are, others decide",
            subject=f"network {wanted.network.name}",
            hint="take the groups from its ports, or take a network in mode private",
        )


def _refuse_cable(wanted: NetworkWanted, ground: Ground) -> None:
    if ground.is_own and wanted.network.mode is NetworkMode.BRIDGE:
        raise Conflict(
            "links of the host are root's: the daemon runs as a user, whose networks stand apart",
            subject=f"network {wanted.network.name}",
            field="link",
            value=wanted.network.link,
            hint="take mode nat, or run the daemon as root",
        )


def _nothing(point: str) -> None:
    """Nobody tests this daemon."""


@contextlib.asynccontextmanager
async def open_networks(
    house: House,
    *,
    metadata: MetadataDoor | None = None,
    reached: Callable[[str], None] = _nothing,
    allowed: bool = True,
) -> AsyncIterator[LocalNetworks]:
    """The networks of a house, watched as long as the block lasts. Whoever calls holds the house's lock.

    `metadata` answers machines on each of them, for as long. `reached` is called between the steps of `site.POINTS` and
    `site.REMOVAL_POINTS`. Unless they are `allowed` they are left as they are.
    """
    _open_folder(house)
    ground, refused = await _ground(house) if allowed else (HOST, findings.SWITCHED_OFF)
    networks = LocalNetworks(house, reached, metadata, ground=ground, refused=refused)
    networks.adopt()
    if refused is not None:
        yield networks
        return
    async with asyncio.TaskGroup() as tasks:
        networks.watch = watch = Watch(tasks, networks.hint, ground)
        watch.attend_host()
        background = [tasks.create_task(each) for each in (networks.heed(), _look_at_logs(networks), ground.keep())]
        try:
            yield networks
        finally:
            for task in background:
                task.cancel()
            await asyncio.wait(background)
            watch.close()
            for site in networks.sites().values():
                site.server.forget()
            if networks.is_empty():
                await ground.end()
            else:
                ground.forget()


def _open_folder(house: House) -> None:
    house.networks.mkdir(parents=True, exist_ok=True)
    house.networks.chmod(0o711)  # name servers pass through it


async def _ground(house: House) -> tuple[Ground, Finding | None]:
    """Where the networks of a house stand, and why it can have none."""
    if own.has_rights():
        return HOST, None
    if (lacking := findings.what_lacks()) is not None:
        return HOST, lacking
    try:
        return await own.open_own(house), None
    except GuesthouseError as error:
        return HOST, findings.none_at_all(str(error), error.hint)


async def clean(house: House) -> list[str]:
    """Remove every network of a house, whatever is known of them, and name what was there; nobody has them open.

    What is found by its name alone, of a house whose folder was lost, goes too.
    """
    _open_folder(house)
    ground, refused = await _ground(house)
    if refused is not None:
        return []
    networks = LocalNetworks(house, _nothing, ground=ground)
    networks.adopt()
    known = {kept.wanted.network.number: kept.wanted.network for kept in record.read_all(house)}
    numbers = sorted({*known, *await networks.host.numbers()})
    for number in numbers:
        network = known.get(
            number, Network(id=f"number-{number}", project="", name="", mode=NetworkMode.NAT, number=number)
        )
        await networks.remove(network)
    if await networks.host.has_table():
        await networks.host.guard()
    await ground.end()
    return [_named(known.get(number), links.namespace(networks.host.tag, number)) for number in numbers]


def _named(network: Network | None, namespace: str) -> str:
    """A network by its name, where that is known, and by what `ip netns` showed of it."""
    return f"{network.name} ({namespace})" if network is not None else namespace


async def _look_at_logs(networks: LocalNetworks) -> None:
    """Guests may have name servers write for ever; their logs keep the end."""
    while True:
        for site in networks.sites().values():
            _try(site.server.shorten_log)
        _try(networks.host.ground.shorten_log)
        await asyncio.sleep(_LOOK_AT_LOGS_S)


def _try(shorten: Callable[[], None]) -> None:
    try:
        shorten()
    except OSError as error:
        _LOG.warning("a log cannot be shortened: %s", error)
