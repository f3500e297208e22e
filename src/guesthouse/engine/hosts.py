"""This host among the hosts of its house: it comes in, and says again and again that it is there.

Rules
-----
1. A host's record is made when its daemon first comes in, and brought up to date each time. What an operator said of it
   stays.
2. One daemon at a time is a host: another seat is refused while the host is not away. The same seat may come in at
   once, for its lock file says that nobody else is there.
3. A host that others reach renews its lease until its daemon ends. Who finds that another one has come in as the same
   host ends, before it changes anything more.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

import msgspec

from guesthouse import __version__
from guesthouse.catalog.places import REGION, ZONE
from guesthouse.model.errors import Conflict, Failed, GuesthouseError, NoCapacity, NotFound, TimedOut
from guesthouse.model.hosts import LEASE_S, RENEW_S, HostRecord
from guesthouse.ports import HostFacts, Leases, Store, TemplateHost, Transaction

log = logging.getLogger(__name__)

HERE = "here"
"""How an asker means the host that answers."""


@dataclass(frozen=True)
class Identity:
    """Who this daemon is: its host's id and name, the host's present boot, the box and folder, and this very run.

    `address` is where other hosts reach it (HOST:PORT); empty in an embedded house.
    """

    host: str
    boot_id: str
    name: str = ""
    seat: str = ""
    instance: str = ""
    address: str = ""


@dataclass(frozen=True)
class Presence:
    """This host's place in its house."""

    store: Store
    leases: Leases
    facts: HostFacts
    templates: TemplateHost
    identity: Identity

    async def enter(self) -> None:
        """Be this host from now on; raises `Conflict` while another daemon is."""
        me = self.identity
        now_said: dict[str, Any] = {
            "address": me.address,
            "seat": me.seat,
            "instance": me.instance,
            "boot_id": me.boot_id,
            "version": __version__,
        }
        async with self.store.write() as tx:
            now = await tx.now()
            known = await tx.hosts.get(me.host)
            if known is None:
                name = await _free_name(tx, me.name or me.host)
                record = HostRecord(id=me.host, name=name, zone=ZONE, region=REGION, seen_at=now, **now_said)
                await tx.hosts.insert(record)
                return
            _refuse_second(known, me, now)
            await tx.hosts.update(me.host, {}, seen_at=now, **now_said)

    async def keep(self) -> None:
        """Tell what the host is and has; where others reach it, again and again.

        Raises `Conflict` when another daemon has come in as this host.
        """
        known: dict[str, Any] = {"frozen_by": await self._frozen_by()}
        while True:
            try:
                await self._renew(**known, **await self._has())
            except (Failed, TimedOut, NoCapacity) as error:
                # The database is away: machines run on, and whoever looks finds that we have not renewed.
                log.warning("host.renew: %s", error)
            if not self.identity.address:
                return
            await asyncio.sleep(RENEW_S)

    async def _renew(self, **has: Any) -> None:
        me = self.identity
        if not await self.leases.renew(me.host, me.instance, **has):
            raise Conflict(
                f"another daemon is the host {me.name or me.host} now",
                subject=f"host {me.host}",
                hint="end one of the two: a host has one daemon",
            )

    async def _has(self) -> dict[str, Any]:
        capacity = await self.facts.capacity()
        return {name: getattr(capacity, name) for name in capacity.__dataclass_fields__}

    async def _frozen_by(self) -> str:
        try:
            return await self.templates.frozen_by()
        except GuesthouseError as error:
            log.warning("no templates can be made here: %s", error)
            return ""


def _refuse_second(known: HostRecord, me: Identity, now: float) -> None:
    # An embedded house may be moved to another folder or box: its lock file goes with it.
    if not known.address or known.seat in ("", me.seat) or known.is_away(now):
        return
    raise Conflict(
        f"host {known.name} has a daemon already, at {known.address}",
        subject=f"host {known.name}",
        field="host",
        value=known.id,
        hint=f"end that one; {LEASE_S:.0f} s after it has said nothing more this one can be it",
    )


async def _free_name(tx: Transaction, name: str) -> str:
    taken = {host.name for host in await tx.hosts.select()}
    others = (f"{name}-{number}" for number in range(2, len(taken) + 3))
    return next(each for each in (name, *others) if each not in taken)


async def as_known(tx: Transaction, facts: HostFacts, here: str) -> list[HostRecord]:
    """All hosts; what this one has is as it is now."""
    capacity = await facts.capacity()
    now = {name: getattr(capacity, name) for name in capacity.__dataclass_fields__}
    return [msgspec.structs.replace(host, **now) if host.id == here else host for host in await tx.hosts.select()]


async def find_host(tx: Transaction, ref: str, here: str) -> HostRecord:
    """The host of that name or id; ``here`` is this one. Raises `NotFound`."""
    hosts = await tx.hosts.select()
    wanted = here if ref == HERE else ref
    for host in hosts:
        if wanted in (host.id, host.name):
            return host
    raise NotFound(
        f"there is no host {ref!r}", subject=f"host {ref}", field="host", value=ref,
        hint=f"one of {', '.join(host.name for host in hosts)}",
    )  # fmt: skip
