"""The store: transactions on a database, opened ready for use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from guesthouse.model.hosts import Load
from guesthouse.ports import Moment, Touched
from guesthouse.store import failures, hosts, schema
from guesthouse.store.changes import Bell, Line
from guesthouse.store.databases import Place, locate
from guesthouse.store.events import SqlEventLog
from guesthouse.store.journal import MOMENT, NEXT, Journal
from guesthouse.store.records import RecordTable, Session
from guesthouse.store.uninterrupted import uninterrupted
from guesthouse.store.versions import bring_up_to_date


class SqlTransaction:
    """All tables, in one transaction: `ports.Transaction`."""

    def __init__(self, session: Session) -> None:
        self.hosts = RecordTable(schema.HOSTS, session)
        self.projects = RecordTable(schema.PROJECTS, session)
        self.tokens = RecordTable(schema.TOKENS, session)
        self.keys = RecordTable(schema.KEYS, session)
        self.images = RecordTable(schema.IMAGES, session)
        self.templates = RecordTable(schema.TEMPLATES, session)
        self.snapshots = RecordTable(schema.SNAPSHOTS, session)
        self.disks = RecordTable(schema.DISKS, session)
        self.machines = RecordTable(schema.MACHINES, session)
        self.networks = RecordTable(schema.NETWORKS, session)
        self.subnets = RecordTable(schema.SUBNETS, session)
        self.groups = RecordTable(schema.GROUPS, session)
        self.ports = RecordTable(schema.PORTS, session)
        self.elastics = RecordTable(schema.ELASTICS, session)
        self.pools = RecordTable(schema.POOLS, session)
        self.access_keys = RecordTable(schema.ACCESS_KEYS, session)
        self.door_records = RecordTable(schema.DOOR_RECORDS, session)
        self.tags = RecordTable(schema.TAGS, session)
        self.shares = RecordTable(schema.SHARES, session)
        self.operations = RecordTable(schema.OPERATIONS, session)
        self.events = SqlEventLog(session)
        self._session = session

    async def moment(self) -> Moment:
        """The state that this transaction reads, and the time."""
        ((number, at),) = await self._session.rows(MOMENT)
        return Moment(int(number), float(at))

    async def now(self) -> float:
        """Seconds since the epoch by the database's clock; it goes on while the transaction runs."""
        return float(await self._session.value(_NOW))

    async def promised(self) -> dict[str, int]:
        """Memory in MiB of machines that are to run and have not been seen to, by host."""
        return await hosts.promised(self._session)

    async def loads(self) -> dict[str, Load]:
        """What is placed on each host that has machines."""
        return await hosts.loads(self._session)


class SqlStore:
    """State on SQLite or PostgreSQL: `ports.Database`.

    Tasks of this process write in the order in which they asked. Inside a `write` a task may begin a `read`,
    which sees the state before it; any other nesting would wait for itself sooner or later, and is refused.
    """

    def __init__(
        self,
        place: Place,
        reader: AsyncEngine,
        writer: AsyncEngine,
        renewer: AsyncEngine,
        bell: Bell,
        line: Line | None,
    ) -> None:
        self._place = place
        self._reader = reader
        self._writer = writer
        self._renewer = renewer
        self._journal = Journal()
        self._bell = bell
        self._line = line
        self._turn = asyncio.Lock()
        self._readers: set[object] = set()
        self._writers: set[object] = set()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[SqlTransaction]:
        """Look at one state of everything; it stays while the block runs, whatever is written meanwhile."""
        with _once_a_task(self._readers, not_inside=self._readers):
            async with self._begin(self._reader) as session:
                yield SqlTransaction(session)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[SqlTransaction]:
        """Change state, alone: commits durably when the block ends well, undoes all of it when it raises.

        Raises `TimedOut` where another process keeps the database, `NoCapacity` where its disk is full.
        """
        with _once_a_task(self._writers, not_inside=self._readers | self._writers):
            async with self._turn, self._begin(self._writer) as session:
                yield SqlTransaction(session)
                await self._commit(session)
        self._bell.ring()

    async def _commit(self, session: Session) -> None:
        if not session.touched:
            await session.commit()
            return
        number = int(await session.value(NEXT[session.dialect]))
        self._journal.note(number, session.touched)
        try:
            await session.commit()
        except BaseException:
            self._journal.forget(number)
            raise

    async def now(self) -> float:
        """Seconds since the epoch by the database's clock."""
        async with self.read() as transaction:
            return await transaction.now()

    def touched(self, after: int, until: int) -> Touched | None:
        """What was written between two moments, by their numbers; None where that is not known."""
        return self._journal.between(after, until)

    async def renew(self, host: str, instance: str, **facts: object) -> bool:
        """Note what a host has, at the database's time; False where another daemon is that host now."""
        async with self._begin(self._renewer) as session:
            renewed = await hosts.renew(session, host, instance, facts)
            await session.commit()
        return renewed

    def watch(self) -> AsyncIterator[None]:
        """One hint at once, then one whenever something may have been committed."""
        return self._bell.watch(self._line, self._place.database.poll_s)

    @asynccontextmanager
    async def _begin(self, engine: AsyncEngine) -> AsyncIterator[Session]:
        connection = engine.connect()
        try:
            with failures.named(self._place.name):
                await uninterrupted(_started(connection))
            yield Session(connection, self._place.name)
        finally:
            # Takes back what was not committed.
            if connection.sync_connection:
                await uninterrupted(connection.close())


async def _started(connection: AsyncConnection) -> None:
    await connection.start()
    await connection.begin()


@contextmanager
def _once_a_task(inside: set[object], not_inside: set[object]) -> Iterator[None]:
    task = asyncio.current_task()
    if task in not_inside:
        raise RuntimeError("a transaction inside a transaction of the same task would wait for itself")
    inside.add(task)
    try:
        yield
    finally:
        inside.discard(task)


_NOW = sa.select(schema.epoch_now())


@asynccontextmanager
async def open_store(url: str, lock_timeout_s: float = 10.0) -> AsyncIterator[SqlStore]:
    """Open the store of a house, made or brought up to date where needed.

    `url` is ``sqlite:///PATH`` or ``postgresql://USER@HOST/NAME``; `lock_timeout_s` is how long a write waits for
    other processes. Raises `Invalid` for another URL, `Failed` for a database that cannot be opened, is damaged,
    or was written by a newer version.
    """
    place = locate(url, lock_timeout_s)
    await uninterrupted(bring_up_to_date(place))
    async with AsyncExitStack() as stack:
        engines = [place.reader(), place.writer(), place.renewer(), place.starter()]
        for engine in engines:
            stack.push_async_callback(lambda engine: uninterrupted(engine.dispose()), engine)
        reader, writer, renewer, listener = engines
        bell = Bell()
        line = Line(listener, bell) if place.database.poll_s else None
        if line:
            stack.push_async_callback(line.close)
        yield SqlStore(place, reader, writer, renewer, bell, line)
