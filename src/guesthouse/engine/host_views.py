"""What operators see of hosts."""

from __future__ import annotations

from dataclasses import dataclass

from guesthouse.engine.hosts import as_known, find_host
from guesthouse.model.hosts import HostRecord, Load
from guesthouse.ports import HostFacts, Store, Transaction


@dataclass(frozen=True)
class HostView:
    """A host, what is placed there, and whether it is away."""

    host: HostRecord
    load: Load
    away: bool


@dataclass(frozen=True)
class HostViews:
    """The hosts of the house, as this one of them sees them."""

    store: Store
    facts: HostFacts
    here: str

    async def hosts(self) -> list[HostView]:
        """All hosts, in the order in which they came in."""
        async with self.store.read() as tx:
            return await self._views(tx, await as_known(tx, self.facts, self.here))

    async def host(self, ref: str) -> HostView:
        """The host of that name or id; ``here`` is this one. Raises `NotFound`."""
        async with self.store.read() as tx:
            id = (await find_host(tx, ref, self.here)).id
            known = await as_known(tx, self.facts, self.here)
            return (await self._views(tx, [host for host in known if host.id == id]))[0]

    async def _views(self, tx: Transaction, hosts: list[HostRecord]) -> list[HostView]:
        loads, now = await tx.loads(), await tx.now()
        return [
            HostView(host, loads.get(host.id, Load()), host.id != self.here and host.is_away(now)) for host in hosts
        ]
