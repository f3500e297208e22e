"""Keeping the networks of this host as they are wanted, and the one that is there from the start.

Rules
-----
1. What changed is applied by the operation that changed it: of the network (`engine.works`), or of a machine that runs,
   by a step of its own. Here it is noted that it was, and here is what nobody asked for: another program took something
   away, the host was started anew, a machine came or went. Whoever is second finds that all is done.
2. A network is looked at when the daemon starts, and whenever the host tells that it may be other than it was applied.
3. What cannot be mended now is tried again after a while; why not is told once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from guesthouse.engine.accept import Accept
from guesthouse.engine.accept.tenants import DEFAULT_PROJECT
from guesthouse.engine.access import Access
from guesthouse.engine.network_intents import NetworkCreate
from guesthouse.engine.owners import RETRY_S
from guesthouse.engine.wanted import load_wanted, note_applied
from guesthouse.model.errors import GuesthouseError
from guesthouse.model.network import NetworkMode, NetworkState, NetworkWanted
from guesthouse.ports import NetworkFacts, NetworkHost, Store

log = logging.getLogger(__name__)

DEFAULT_NETWORK = "default"


@dataclass
class Networks:
    """A part of the work of a network's owner, beside its operations."""

    store: Store
    host: NetworkHost
    facts: NetworkFacts
    here: str
    wake: Callable[[str], None]
    _to_look_at: set[str] = field(default_factory=set)
    _told: dict[str, str] = field(default_factory=dict)

    def look(self, network: str) -> None:
        """Have its owner see whether the host still has a network as it is wanted."""
        self._to_look_at.add(network)
        self.wake(network)

    async def here_now(self) -> list[str]:
        """The ids of this host's networks; none where it can have none any more."""
        if await self.facts.refusal() is not None:
            return []
        async with self.store.read() as tx:
            return [network.id for network in await tx.networks.scan(host=self.here)]

    async def follow(self) -> None:
        """Look at what the host says may have changed; without end."""
        async for network in self.host.follow():
            self.look(network)

    async def __call__(self, subject: str) -> None:
        """Have this network as it is wanted; of another subject there is nothing to do."""
        is_to_look = subject in self._to_look_at
        self._to_look_at.discard(subject)
        wanted = await self._load(subject)
        if wanted is None:
            return
        try:
            await self._keep(wanted, is_to_look=is_to_look)
            self._told.pop(subject, None)
        except (GuesthouseError, OSError) as error:
            if self._told.get(subject) != str(error):
                log.warning("network.repair of %s: %s", wanted.network.name, error)
            self._told[subject] = str(error)
            asyncio.get_running_loop().call_later(RETRY_S, self.look, subject)

    async def _load(self, subject: str) -> NetworkWanted | None:
        async with self.store.read() as tx:
            network = await tx.networks.get(subject)
            if network is None or network.host != self.here or network.state is not NetworkState.READY:
                return None
            return await load_wanted(tx, network)

    async def _keep(self, wanted: NetworkWanted, *, is_to_look: bool) -> None:
        network = wanted.network
        is_behind = network.observed_generation < network.generation
        found = await self.host.differs(wanted) if is_to_look and not is_behind else ()
        if not found and not is_behind:
            return
        if found:
            log.warning("network.repair of %s: %s", network.name, "; ".join(found))
        await self.host.apply(wanted)
        async with self.store.write() as tx:
            await note_applied(tx, network.id, network.generation)


async def make_default_network(store: Store, facts: NetworkFacts, access: Access, accept: Accept) -> None:
    """Give a house that has no network one for everybody, where its host can have networks."""
    async with store.read() as tx:
        if await tx.networks.scan():
            return
    if (refused := await facts.refusal()) is not None:
        log.info("no network is made: %s", refused.found)
        return
    try:
        wanted = NetworkCreate(name=DEFAULT_NETWORK, mode=NetworkMode.NAT, shared=True)
        await accept(await access.local(DEFAULT_PROJECT), wanted)
    except GuesthouseError as error:
        log.warning("no network is made: %s", error)
