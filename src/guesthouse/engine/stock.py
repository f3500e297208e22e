"""All that a project has, as records: what doors list that show more of a thing than its own record.

Rules
-----
1. A `Stock` is of one moment: everything in it was read in one transaction.
2. Only the nouns that were named are in it. Reading another one is a fault of the caller: `KeyError`.
3. It has what an asker of the project may see: its own, images that it may use, shared networks with their subnets.
4. What was read is kept, for the projects that asked last. Each time the number of the last commit is looked up; what
   was written since is read, or all where that is not known. What was handed out before stays as it is.
   What the host has (`CAPACITY`) is looked up each time.
5. Who writes but by the store is not noticed.
"""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from guesthouse.engine.intents import Asker
from guesthouse.engine.resolve import images_of
from guesthouse.model.dialect import DoorRecord
from guesthouse.model.errors import NotFound
from guesthouse.model.machine import Machine
from guesthouse.model.network import Elastic, Group, Network, Pool, Port, Subnet
from guesthouse.model.resources import Disk, Image, Key, OperationRow, Project, Share, Snapshot
from guesthouse.ports import Capacity, HostFacts, Journal, Moment, Store, Touched, Transaction

CAPACITY = "capacity"
"""Named among the nouns: what the host has."""
Records = dict[str, Any]
T = TypeVar("T")
KEPT_PROJECTS = 8
NEVER = -1
MANY = 500
"""So many written records of a noun are read one by one; where there are more, all are read at once."""


@dataclass(frozen=True)
class Stock:
    """Records by id, by noun, as of the commit of that `number`; `at` is the database's time.

    `capacity` is there where that was named as a noun.

    Who makes much of it may leave that in `kept`, by a name: it is found there as long as nothing has changed, and once
    more, in `before`, when something has.
    """

    project: Project
    at: float
    nouns: Mapping[str, Records]
    number: int = 0
    capacity: Capacity | None = None
    kept: dict[str, Any] = field(default_factory=dict)
    before: dict[str, Any] = field(default_factory=dict)
    _looked_up: dict[str, Any] = field(default_factory=dict)

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

    @property
    def accounts(self) -> dict[str, int]:
        """The numbers of projects by their ids: of the own one, of those whose images it uses, or that use its."""
        return self._once("accounts", lambda: {id: each.number for id, each in self.nouns["projects"].items()})

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

    @property
    def tags(self) -> dict[str, dict[str, str]]:
        """Names and texts by the id of what they are put on; those of machines are in their descriptions."""
        return self._once("tags", self._tags)

    @property
    def ports_of(self) -> dict[str, dict[str, Port]]:
        """The ports of each machine, by their MAC addresses."""
        return self._once("ports", self._ports_of)

    @property
    def elastic_of(self) -> dict[str, Elastic]:
        """The elastic address of each port that has one."""
        return self._once("elastics", lambda: {each.port: each for each in self.elastics.values() if each.port})

    @property
    def records_of(self) -> dict[str, list[DoorRecord]]:
        """What doors keep of each thing."""
        return self._once("records", self._records_of)

    def _once(self, name: str, make: Callable[[], dict[str, T]]) -> dict[str, T]:
        """What is looked up in the records in another way, made when it is first needed."""
        if name not in self._looked_up:
            self._looked_up[name] = make()
        found: dict[str, T] = self._looked_up[name]
        return found

    def _tags(self) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        for tag in self.nouns["tags"].values():
            found.setdefault(tag.subject, {})[tag.name] = tag.text
        return found

    def _ports_of(self) -> dict[str, dict[str, Port]]:
        found: dict[str, dict[str, Port]] = {}
        for port in self.ports.values():
            found.setdefault(port.machine, {})[port.mac] = port
        return found

    def _records_of(self) -> dict[str, list[DoorRecord]]:
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


_FOLLOWS: dict[str, frozenset[str]] = {
    "images": frozenset({"images", "shares", "projects"}),
    "shares": frozenset({"images", "shares", "projects"}),
    "projects": frozenset({"images", "shares", "projects"}),
    "networks": frozenset({"networks"}),
    "subnets": frozenset({"networks", "subnets"}),
    "operations": frozenset({"operations"}),
    "pools": frozenset({"pools"}),
}
"""The tables that those nouns are made of: they are read anew when one of these was written."""


@dataclass
class _Shelf:
    """What is kept of one project.

    `records` are nouns, each as of a moment's number; `stocks` are made of them; `made` is what was left in stocks that
    are no more.
    """

    records: dict[str, tuple[int, Records]] = field(default_factory=dict)
    stocks: dict[frozenset[str], Stock] = field(default_factory=dict)
    made: dict[frozenset[str], dict[str, Any]] = field(default_factory=dict)

    def put(self, wanted: frozenset[str], stock: Stock) -> None:
        """Keep a stock, and of those of other moments only what was made of them."""
        for nouns, old in list(self.stocks.items()):
            if old.number != stock.number:
                self.made[nouns] = old.before | old.kept
                del self.stocks[nouns]
        stock.before.update(self.made.pop(wanted, {}))
        self.stocks[wanted] = stock


@dataclass(frozen=True)
class Stocktaking:
    """Takes stock: `await stocktaking(asker, ("machines", "disks"))`."""

    store: Store
    journal: Journal
    facts: HostFacts
    _shelves: dict[str, _Shelf] = field(default_factory=dict)

    async def __call__(self, asker: Asker, nouns: Iterable[str]) -> Stock:
        """What the asker's project has of these nouns, which are names of tables, or `CAPACITY`."""
        wanted = frozenset(nouns)
        stock = await self._stock(asker, wanted - {CAPACITY})
        return replace(stock, capacity=await self.facts.capacity()) if CAPACITY in wanted else stock

    async def _stock(self, asker: Asker, wanted: frozenset[str]) -> Stock:
        shelf = self._shelf(asker.project)
        async with self.store.read() as tx:
            moment = await tx.moment()
            kept = shelf.stocks.get(wanted)
            if kept is not None and kept.number == moment.number:
                return replace(kept, at=moment.at)
            stock = await self._read(tx, moment, asker.project, wanted, shelf)
        shelf.put(wanted, stock)
        return stock

    def _shelf(self, project: str) -> _Shelf:
        """The project's; it becomes the last one to be given up."""
        shelf = self._shelves.pop(project) if project in self._shelves else _Shelf()
        self._shelves[project] = shelf
        while len(self._shelves) > KEPT_PROJECTS:
            del self._shelves[next(iter(self._shelves))]
        return shelf

    async def _read(self, tx: Transaction, moment: Moment, id: str, wanted: Iterable[str], shelf: _Shelf) -> Stock:
        """Read what was written since it was read before, or all where that is not known."""
        project = await tx.projects.get(id)
        if project is None:
            raise NotFound("the project is gone", subject="project", value=id)
        found, since = {}, dict[int, Touched | None]({NEVER: None})
        with uncollected():
            for noun in wanted:
                number, there = shelf.records.get(noun, (NEVER, {}))
                if number not in since:
                    since[number] = self.journal.touched(number, moment.number)
                found[noun] = await _brought_up(tx, id, noun, there, since[number])
                shelf.records[noun] = (moment.number, found[noun])
        return Stock(project, moment.at, found, moment.number)


async def _brought_up(tx: Transaction, project: str, noun: str, there: Records, touched: Touched | None) -> Records:
    """The records of a noun as they are now, those before unchanged."""
    if touched is not None and touched.keys().isdisjoint(_FOLLOWS.get(noun, {noun})):
        return there
    if touched is None or noun in _FOLLOWS or len(touched[noun]) > MANY:
        return {record.id: record for record in await _LOAD.get(noun, _own)(tx, project, noun)}
    found = dict(there)
    for id, is_new in touched[noun].items():
        record = await getattr(tx, noun).get(id)
        if is_new or record is None or record.project != project:
            found.pop(id, None)
        if record is not None and record.project == project:
            found[id] = record
    return found


@contextmanager
def uncollected() -> Iterator[None]:
    """Without a look for garbage: thousands of records are made that stay, and looking through them takes as long."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
