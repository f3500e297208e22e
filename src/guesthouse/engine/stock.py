"""All that a project has, as records: what doors list that show more of a thing than its own record.

Rules
-----
1. A `Stock` is of one moment: everything in it was read in one transaction.
2. Only the nouns that were named are in it. Reading another one is a fault of the caller: `KeyError`.
3. It has what an asker of the project may see: its own, images that it may use, shared networks with their subnets.
4. What was read is kept, for the projects that asked last, until anyone commits anything: it is looked up each time
   whether that is so. What was read while somebody committed is not kept, nor put together with what was before.
   What the host has (`CAPACITY`) is looked up each time.
"""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from guesthouse.engine.intents import Asker
from guesthouse.engine.resolve import images_of
from guesthouse.model.dialect import DoorRecord
from guesthouse.model.errors import NotFound
from guesthouse.model.machine import Machine
from guesthouse.model.network import Elastic, Group, Network, Pool, Port, Subnet
from guesthouse.model.resources import Disk, Image, Key, OperationRow, Project, Share, Snapshot
from guesthouse.ports import Capacity, HostFacts, Store, Transaction

CAPACITY = "capacity"
"""Named among the nouns: what the host has."""
Records = dict[str, Any]
KEPT_PROJECTS = 8


@dataclass(frozen=True)
class Stock:
    """Records by id, by noun; `at` is the database's time. `capacity` is there where that was named as a noun.

    Who makes much of it may leave that in `kept`, by a name: it is found there as long as nothing has changed, and once
    more, in `before`, when something has.
    """

    project: Project
    at: float
    nouns: Mapping[str, Records]
    capacity: Capacity | None = None
    kept: dict[str, Any] = field(default_factory=dict)
    before: dict[str, Any] = field(default_factory=dict)

    @property
    def machines(self) -> dict[str, Machine]:
        return self.nouns["machines"]

    @property
    def disks(self) -> dict[str, Disk]:
        return self.nouns["disks"]

    @property
    def images(self) -> dict[str, Image]:
        return self.nouns["images"]

    @property
    def shares(self) -> dict[str, Share]:
        """With whom the project's own images are shared."""
        return self.nouns["shares"]

    @cached_property
    def accounts(self) -> dict[str, int]:
        """The numbers of projects by their ids: of the own one, of those whose images it uses, or that use its."""
        return {id: project.number for id, project in self.nouns["projects"].items()}

    @property
    def snapshots(self) -> dict[str, Snapshot]:
        return self.nouns["snapshots"]

    @property
    def networks(self) -> dict[str, Network]:
        return self.nouns["networks"]

    @property
    def subnets(self) -> dict[str, Subnet]:
        return self.nouns["subnets"]

    @property
    def groups(self) -> dict[str, Group]:
        return self.nouns["groups"]

    @property
    def ports(self) -> dict[str, Port]:
        return self.nouns["ports"]

    @property
    def elastics(self) -> dict[str, Elastic]:
        return self.nouns["elastics"]

    @property
    def pools(self) -> dict[str, Pool]:
        """Of the house: what matters of them to a project is whether there are any."""
        return self.nouns["pools"]

    @property
    def keys(self) -> dict[str, Key]:
        return self.nouns["keys"]

    @property
    def operations(self) -> dict[str, OperationRow]:
        """Those that have not ended."""
        return self.nouns["operations"]

    @property
    def records(self) -> dict[str, DoorRecord]:
        """What doors keep."""
        return self.nouns["door_records"]

    @cached_property
    def tags(self) -> dict[str, dict[str, str]]:
        """Names and texts by the id of what they are put on; those of machines are in their descriptions."""
        found: dict[str, dict[str, str]] = {}
        for tag in self.nouns["tags"].values():
            found.setdefault(tag.subject, {})[tag.name] = tag.text
        return found

    @cached_property
    def disks_of(self) -> dict[str, list[Disk]]:
        """The disks of each machine."""
        found: dict[str, list[Disk]] = {}
        for disk in self.disks.values():
            found.setdefault(disk.machine, []).append(disk)
        return found

    @cached_property
    def ports_of(self) -> dict[str, dict[str, Port]]:
        """The ports of each machine, by their MAC addresses."""
        found: dict[str, dict[str, Port]] = {}
        for port in self.ports.values():
            found.setdefault(port.machine, {})[port.mac] = port
        return found

    @cached_property
    def elastic_of(self) -> dict[str, Elastic]:
        """The elastic address of each port that has one."""
        return {elastic.port: elastic for elastic in self.elastics.values() if elastic.port}

    @cached_property
    def records_of(self) -> dict[str, list[DoorRecord]]:
        """What doors keep of each thing."""
        found: dict[str, list[DoorRecord]] = {}
        for record in self.records.values():
            if record.subject:
                found.setdefault(record.subject, []).append(record)
        return found


async def _own(tx: Transaction, project: str, noun: str) -> list[Any]:
    found: list[Any] = await getattr(tx, noun).select(project=project)
    return found


async def _images(tx: Transaction, project: str, noun: str) -> list[Any]:
    return await images_of(tx, project)


async def _shares(tx: Transaction, project: str, noun: str) -> list[Any]:
    own = {image.id for image in await tx.images.select(project=project)}
    return [share for share in await tx.shares.select() if share.image in own]


async def _projects(tx: Transaction, project: str, noun: str) -> list[Any]:
    known = {project, *(image.project for image in await images_of(tx, project))}
    known |= {share.project for share in await _shares(tx, project, noun)}
    return [found for id in sorted(known) if (found := await tx.projects.get(id)) is not None]


async def _networks(tx: Transaction, project: str, noun: str) -> list[Any]:
    return [*await tx.networks.select(project=project), *await tx.networks.select(shared=True)]


async def _subnets(tx: Transaction, project: str, noun: str) -> list[Any]:
    networks = dict.fromkeys(network.id for network in await _networks(tx, project, noun))
    return [subnet for subnet in await tx.subnets.select() if subnet.network in networks]


async def _pools(tx: Transaction, project: str, noun: str) -> list[Any]:
    return await tx.pools.select()


async def _operations(tx: Transaction, project: str, noun: str) -> list[Any]:
    return await tx.operations.scan(project=project, ended_at=0.0)


_LOAD: dict[str, Callable[[Transaction, str, str], Awaitable[list[Any]]]] = {
    "images": _images,
    "shares": _shares,
    "projects": _projects,
    "networks": _networks,
    "subnets": _subnets,
    "operations": _operations,
    "pools": _pools,
}
"""Nouns of which a project sees more, or less, than its own."""


_RECORDS = "door_records"
_OF_MACHINES = {"machines": "id", "disks": "machine", "ports": "machine", _RECORDS: "subject"}
"""Nouns of which each machine has its own, and by what they are found."""


async def _of_machines(
    tx: Transaction, project: str, noun: str, machines: Sequence[str], there: Mapping[str, Records]
) -> list[Any]:
    """What these machines have of a noun. Doors keep something of their ports, too, and of all groups."""
    wanted = list(machines)
    if noun == _RECORDS:
        wanted += ["", *there.get("ports", ()), *there.get("groups", ())]
    table, column = getattr(tx, noun), _OF_MACHINES[noun]
    return [record for id in wanted for record in await table.select(project=project, **{column: id})]


@dataclass
class _Shelf:
    """What is kept of one project: stocks by their nouns, all of one stamp; and what was `made` of the ones before."""

    stamp: object
    stocks: dict[frozenset[str], Stock] = field(default_factory=dict)
    made: dict[frozenset[str], dict[str, Any]] = field(default_factory=dict)

    def records(self, noun: str) -> Records | None:
        """What is kept of a noun."""
        return next((stock.nouns[noun] for nouns, stock in self.stocks.items() if noun in nouns), None)

    def all_made(self) -> dict[frozenset[str], dict[str, Any]]:
        """What was made of the stocks, here or before."""
        return self.made | {nouns: stock.before | stock.kept for nouns, stock in self.stocks.items()}


@dataclass(frozen=True)
class Stocktaking:
    """Takes stock: `await stocktaking(asker, ("machines", "disks"))`."""

    store: Store
    facts: HostFacts
    _shelves: dict[str, _Shelf] = field(default_factory=dict)

    async def __call__(self, asker: Asker, nouns: Iterable[str]) -> Stock:
        """What the asker's project has of these nouns, which are names of tables, or `CAPACITY`."""
        wanted = frozenset(nouns)
        stock = await self._stock(asker, wanted - {CAPACITY})
        return replace(stock, capacity=await self.facts.capacity()) if CAPACITY in wanted else stock

    async def _stock(self, asker: Asker, wanted: frozenset[str]) -> Stock:
        moment = await self.store.moment()
        shelf = self._shelf(asker.project, moment.stamp)
        if (kept := shelf.stocks.get(wanted)) is not None:
            return replace(kept, at=moment.at)
        there = {noun: records for noun in wanted if (records := shelf.records(noun)) is not None}
        stock = await self._read(asker, wanted, there)
        if (await self.store.moment()).stamp == moment.stamp:
            stock.before.update(shelf.made.pop(wanted, {}))
            shelf.stocks[wanted] = stock
            return stock
        return await self._read(asker, wanted, {}) if there else stock

    async def of(self, asker: Asker, machines: Sequence[str], nouns: Iterable[str]) -> Stock:
        """The same, but of what each machine has of its own only what these machines have. It is not kept.

        Records that doors keep of nothing else, or of groups, are all in it.
        """
        return await self._read(asker, nouns, {}, machines)

    def _shelf(self, project: str, stamp: object) -> _Shelf:
        """The project's, emptied where anything has changed; it becomes the last one to be given up."""
        shelf = self._shelves.pop(project, None)
        if shelf is None or shelf.stamp != stamp:
            made = shelf.all_made() if shelf else {}
            shelf = _Shelf(stamp, made=made)
        self._shelves[project] = shelf
        while len(self._shelves) > KEPT_PROJECTS:
            del self._shelves[next(iter(self._shelves))]
        return shelf

    async def _read(
        self, asker: Asker, nouns: Iterable[str], there: Mapping[str, Records], machines: Sequence[str] | None = None
    ) -> Stock:
        """Read, in one transaction, what is not there."""
        async with self.store.read() as tx:
            project = await tx.projects.get(asker.project)
            if project is None:
                raise NotFound("the project is gone", subject="project", value=asker.project)
            found = dict(there)
            with _uncollected():
                for noun in sorted(nouns, key=lambda noun: noun == _RECORDS):
                    if noun not in found:
                        if machines is not None and noun in _OF_MACHINES:
                            records = await _of_machines(tx, project.id, noun, machines, found)
                        else:
                            records = await _LOAD.get(noun, _own)(tx, project.id, noun)
                        found[noun] = {record.id: record for record in records}
            return Stock(project, await tx.now(), found)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without a look for garbage: thousands of records are made that stay, and looking through them takes as long."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
