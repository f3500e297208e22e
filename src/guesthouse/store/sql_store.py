"""The store: transactions on a database, opened ready for use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from guesthouse.store import failures, schema
from guesthouse.store.changes import Bell, Line
from guesthouse.store.databases import POSTGRESQL, Place, locate
from guesthouse.store.events import SqlEventLog
from guesthouse.store.records import RecordTable, Session
from guesthouse.store.versions import bring_up_to_date


class SqlTransaction:
    """All tables, in one transaction: `ports.Transaction`."""

    def __init__(self, session: Session) -> None:
        self.projects = RecordTable(schema.PROJECTS, session)
        self.tokens = RecordTable(schema.TOKENS, session)
        self.keys = RecordTable(schema.KEYS, session)
        self.images = RecordTable(schema.IMAGES, session)
        self.disks = RecordTable(schema.DISKS, session)
        self.machines = RecordTable(schema.MACHINES, session)
        self.operations = RecordTable(schema.OPERATIONS, session)
        self.events = SqlEventLog(session)
        self._session = session

    async def now(self) -> float:
        """Seconds since the epoch by the database's clock; it goes on while the transaction runs."""
        return float((await self._session.execute(_NOW)).scalar_one())


class SqlStore:
    """State on SQLite or PostgreSQL: `ports.Store` and `ports.Changes`.

    Tasks of this process write in the order in which they asked. A block that asks for a second `write`
    inside its own would wait for itself: that is refused as the fault it is.
    """

    def __init__(self, place: Place, reader: AsyncEngine, writer: AsyncEngine, bell: Bell, line: Line | None) -> None:
        self._place = place
        self._reader = reader
        self._writer = writer
        self._bell = bell
        self._line = line
        self._writing = asyncio.Lock()
        self._writing_task: asyncio.Task[object] | None = None

    @asynccontextmanager
    async def read(self) -> AsyncIterator[SqlTransaction]:
        """Look at one state of everything; it stays while the block runs, whatever is written meanwhile."""
        async with self._begin(self._reader) as connection:
            yield SqlTransaction(Session(connection, self._place.name))

    @asynccontextmanager
    async def write(self) -> AsyncIterator[SqlTransaction]:
        """Change state, alone: commits durably when the block ends well, undoes all of it when it raises.

        Raises `TimedOut` where another process keeps the database, `NoCapacity` where its disk is full.
        """
        if self._writing_task is asyncio.current_task():
            raise RuntimeError("a write inside a write of the same task would wait for itself")
        async with self._writing:
            self._writing_task = asyncio.current_task()
            try:
                async with self._begin(self._writer) as connection:
                    yield SqlTransaction(Session(connection, self._place.name))
                    with failures.named(self._place.name):
                        await connection.commit()
            finally:
                self._writing_task = None
        self._bell.ring()

    async def now(self) -> float:
        """Seconds since the epoch by the database's clock."""
        async with self.read() as transaction:
            return await transaction.now()

    def watch(self) -> AsyncIterator[None]:
        """One hint at once, then one whenever something may have been committed."""
        return self._bell.watch(self._line, self._place.database.poll_s)

    @asynccontextmanager
    async def _begin(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        async with AsyncExitStack() as stack:
            with failures.named(self._place.name):
                connection = await stack.enter_async_context(engine.connect())
                await connection.begin()
            # Leaving closes the connection, which takes back what was not committed, cancelled or not.
            yield connection


_NOW = sa.select(schema.epoch_now())


@asynccontextmanager
async def open_store(url: str) -> AsyncIterator[SqlStore]:
    """Open the store of a house, made or brought up to date where needed.

    `url` is ``sqlite:///PATH`` or ``postgresql://USER@HOST/NAME``. Raises `Invalid` for another URL, `Failed`
    for a database that cannot be opened, is damaged, or was written by a newer version.
    """
    place = locate(url)
    await bring_up_to_date(place)
    bell = Bell()
    reader, writer = place.reader(), place.writer()
    line = Line(reader, bell) if place.database is POSTGRESQL else None
    try:
        yield SqlStore(place, reader, writer, bell, line)
    finally:
        if line:
            await line.close()
        await reader.dispose()
        await writer.dispose()
