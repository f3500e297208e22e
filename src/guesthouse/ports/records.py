"""What is remembered: records in transactions, what was written, who is there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from guesthouse.model.dialect import AccessKey, DoorRecord, Tag
from guesthouse.model.hosts import HostRecord, Load
from guesthouse.model.machine import Machine, MachineRow
from guesthouse.model.network import Elastic, Group, Network, Pool, Port, Subnet
from guesthouse.model.resources import (
    Disk,
    Event,
    Image,
    Key,
    Operation,
    OperationRow,
    Project,
    Share,
    Snapshot,
    SnapshotRow,
    Template,
    TemplateRow,
    Token,
)

Record = TypeVar("Record")
Row = TypeVar("Row")


class Reader(Protocol[Record, Row]):
    """Read records of one noun. Filters are equalities on scalar columns."""

    async def get(self, id: str) -> Record | None: ...

    async def select(self, **equal: object) -> list[Record]:
        """Whole records, oldest first."""

    async def scan(self, **equal: object) -> list[Row]:
        """Scalar columns only, oldest first: what lists use. No document is read."""


class Writer(Protocol[Record]):
    """Write records of one noun."""

    async def insert(self, record: Record) -> Record:
        """Add it and return it as stored, with the database's time; a taken name raises `Conflict`."""

    async def update(self, id: str, expect: Mapping[str, object], **changes: object) -> bool:
        """Change some fields if all of `expect` still hold; False when they do not."""

    async def delete(self, id: str) -> None: ...


class Table(Reader[Record, Row], Writer[Record], Protocol[Record, Row]):
    """A noun's records, inside a transaction."""


class Transaction(Protocol):
    """All tables, as of one transaction."""

    @property
    def hosts(self) -> Table[HostRecord, HostRecord]: ...
    @property
    def projects(self) -> Table[Project, Project]: ...
    @property
    def tokens(self) -> Table[Token, Token]: ...
    @property
    def keys(self) -> Table[Key, Key]: ...
    @property
    def images(self) -> Table[Image, Image]: ...
    @property
    def disks(self) -> Table[Disk, Disk]: ...
    @property
    def templates(self) -> Table[Template, TemplateRow]: ...
    @property
    def machines(self) -> Table[Machine, MachineRow]: ...
    @property
    def snapshots(self) -> Table[Snapshot, SnapshotRow]: ...
    @property
    def networks(self) -> Table[Network, Network]: ...
    @property
    def subnets(self) -> Table[Subnet, Subnet]: ...
    @property
    def groups(self) -> Table[Group, Group]: ...
    @property
    def ports(self) -> Table[Port, Port]: ...
    @property
    def elastics(self) -> Table[Elastic, Elastic]: ...
    @property
    def pools(self) -> Table[Pool, Pool]: ...
    @property
    def access_keys(self) -> Table[AccessKey, AccessKey]: ...
    @property
    def door_records(self) -> Table[DoorRecord, DoorRecord]: ...
    @property
    def tags(self) -> Table[Tag, Tag]: ...
    @property
    def shares(self) -> Table[Share, Share]: ...
    @property
    def operations(self) -> Table[Operation, OperationRow]: ...
    @property
    def events(self) -> EventLog: ...

    async def moment(self) -> Moment:
        """The state that this transaction reads."""

    async def now(self) -> float:
        """Seconds since the epoch by the database's clock."""

    async def promised(self) -> dict[str, int]:
        """Memory in MiB of machines that are to run and have not been seen to, by host."""

    async def loads(self) -> dict[str, Load]:
        """What is placed on each host that has machines."""


class EventLog(Protocol):
    """What happened, in order."""

    async def append(self, event: Event) -> None: ...

    async def after(self, number: int, project: str | None, limit: int) -> list[Event]: ...

    async def last(self) -> int: ...


@dataclass(frozen=True)
class Moment:
    """A state of the store. Where two have the same `number`, no record was written between them.

    `at` is the database's time.
    """

    number: int
    at: float


Touched = Mapping[str, Mapping[str, bool]]
"""Ids of records that were written, by table, in the order of writing; True for new ones."""


class Store(Protocol):
    """Where state is kept. A transaction commits when its block ends well, else it rolls back."""

    def read(self) -> AbstractAsyncContextManager[Transaction]: ...

    def write(self) -> AbstractAsyncContextManager[Transaction]:
        """One writer at a time; serialisable against other writers."""

    async def now(self) -> float:
        """Seconds since the epoch by the database's clock."""


class Journal(Protocol):
    """What has been written, for those who keep what they have read."""

    def touched(self, after: int, until: int) -> Touched | None:
        """What was written between two moments, by their numbers; None where that is not known."""


class JournaledStore(Store, Journal, Protocol):
    """A store that tells what has been written."""


class Leases(Protocol):
    """Who says that it is there."""

    async def renew(self, host: str, instance: str, **facts: object) -> bool:
        """Note what a host has, at the database's time; False where another daemon is that host now.

        Waits for no writer, and is no hint to anybody.
        """


class Changes(Protocol):
    """Who follows what the store keeps."""

    def watch(self) -> AsyncIterator[None]:
        """An item at once, then one whenever something may have been committed: a hint to look, nothing more."""


class Database(JournaledStore, Leases, Changes, Protocol):
    """All that a database does for an engine."""
