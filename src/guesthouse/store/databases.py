"""SQLite and PostgreSQL, a row each: everything in which the two differ but SQL that SQLAlchemy writes.

Rules
-----
1. Writers come one after another, in the whole database: SQLite by ``BEGIN IMMEDIATE``, PostgreSQL by an
   advisory lock that the transaction takes first, under READ COMMITTED, so that everything it reads after
   that is the latest. What a writer checks (a quota, a name) is true until it commits, and no transaction
   is ever refused for having run beside another: there is nothing to try again.
2. Readers see one state of everything for the whole transaction and cannot write. They never wait for the
   writer, nor it for them (WAL; MVCC), and have connections of their own.
3. A commit is on the disk when it returns. In WAL mode that takes ``synchronous=FULL``: with NORMAL, a power
   cut takes back commits whose users had been answered and whose files had been deleted.
4. Nobody is waited for without end, and nobody who hangs keeps the others waiting.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.util import LRUCache

from guesthouse.model.errors import Invalid
from guesthouse.store import failures

# A read takes a millisecond of one processor: more at once would only be more threads, or server processes.
_READERS = 6
# A server of ours that is there answers at once. What stops in a transaction would keep all writers waiting.
_CONNECT_TIMEOUT_S, _COMMAND_TIMEOUT_S, _IDLE_TIMEOUT_S = 10, 20, 30
# "guesthou" read as a number: the advisory lock of writers, and what they tell on commit.
_LOCK = 0x6775657374686F75
CHANNEL = "guesthouse"
_WAL = "PRAGMA journal_mode=WAL"


class Compiled(MutableMapping[Any, Any]):
    """SQL that was compiled, for all engines that speak with one driver: each would do it again for itself.

    SQLAlchemy asks by a tuple that begins with the engine's own dialect; those of one driver are alike.
    """

    def __init__(self) -> None:
        self._known: MutableMapping[Any, Any] = LRUCache(1000)

    def __getitem__(self, key: Any) -> Any:
        return self._known[key[1:]]

    def __setitem__(self, key: Any, compiled: Any) -> None:
        self._known[key[1:]] = compiled

    def __delitem__(self, key: Any) -> None:
        del self._known[key[1:]]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


_COMPILED: Mapping[str, Compiled] = defaultdict(Compiled)


@dataclass(frozen=True)
class Side:
    """How readers, or writers, use a database: options of the engine, statements on connect and on begin."""

    options: Mapping[str, Any] = field(default_factory=dict)
    on_connect: tuple[str, ...] = ()
    on_begin: str = ""


@dataclass(frozen=True)
class Database:
    """One kind of database. `poll_s` is how often followers look by themselves, None where hints are never lost.

    `starter` is for a start, which looks at the tables as such and may change them; it begins as a writer by hand.
    `renewer` writes a lease, beside all writers where the database can.
    """

    driver: str
    reader: Side
    writer: Side
    starter: Side
    renewer: Side
    poll_s: float | None


async def _connect(*arguments: Any, **options: Any) -> Any:
    """Open an SQLite file; its driver is loaded where it is used."""
    from guesthouse.store.in_place import connect

    return await connect(*arguments, **options)


def _sqlite(lock_timeout_s: float) -> Database:
    # Python is to begin no transactions by itself: it would begin none for a reader.
    options = {"connect_args": {"timeout": lock_timeout_s, "isolation_level": None, "async_creator_fn": _connect}}
    durable = "PRAGMA synchronous=FULL"
    return Database(
        driver="sqlite+aiosqlite",
        reader=Side(options, ("PRAGMA query_only=ON",), "BEGIN"),
        writer=Side(
            options, (durable, "PRAGMA foreign_keys=ON", "PRAGMA journal_size_limit=4194304"), "BEGIN IMMEDIATE"
        ),
        # No foreign keys: a migration rebuilds tables, SQLite's only way to change them, which would set them off.
        starter=Side(options, (_WAL, durable)),
        renewer=Side(options, (durable,), "BEGIN IMMEDIATE"),
        poll_s=None,
    )


def _postgresql(lock_timeout_s: float) -> Database:
    settings = {
        "application_name": "guesthouse",
        "lock_timeout": f"{lock_timeout_s * 1000:.0f}",
        "idle_in_transaction_session_timeout": f"{_IDLE_TIMEOUT_S * 1000:.0f}",
        "jit": "off",
    }
    common = {
        "pool_pre_ping": True,  # a server that was restarted meanwhile is no error to anyone
        "connect_args": {
            "timeout": _CONNECT_TIMEOUT_S,
            "command_timeout": lock_timeout_s + _COMMAND_TIMEOUT_S,
            "server_settings": settings,
        },
    }
    snapshot = {"isolation_level": "REPEATABLE READ", "execution_options": {"postgresql_readonly": True}}
    latest = {"isolation_level": "READ COMMITTED"}
    return Database(
        driver="postgresql+asyncpg",
        reader=Side(common | snapshot),
        # One way to the server for both: what is told now is heard when the transaction commits.
        writer=Side(common | latest, on_begin=f"SELECT pg_advisory_xact_lock({_LOCK}), pg_notify('{CHANNEL}', '')"),
        starter=Side(common | latest),
        renewer=Side(common | latest),
        poll_s=5.0,
    )


_DATABASES = {
    "sqlite": _sqlite,
    "sqlite+aiosqlite": _sqlite,
    "postgres": _postgresql,
    "postgresql": _postgresql,
    "postgresql+asyncpg": _postgresql,
}
_FORMS = "write it like sqlite:////var/lib/guesthouse/guesthouse.db or postgresql://user:password@host/name"


@dataclass(frozen=True)
class Place:
    """A database that a URL means; `name` is how messages call it, without its password."""

    database: Database
    url: sa.URL
    name: str

    def reader(self) -> AsyncEngine:
        """Connections for readers, opened as they are wanted and then kept; who finds none free waits."""
        return self._engine(self.database.reader, pool_size=_READERS, max_overflow=0)

    def renewer(self) -> AsyncEngine:
        """The one connection that renews a lease: no writer keeps it waiting but in an SQLite file."""
        return self._engine(self.database.renewer, pool_size=1, max_overflow=0)

    def writer(self) -> AsyncEngine:
        """The one connection that writes."""
        return self._engine(self.database.writer, pool_size=1, max_overflow=0)

    def starter(self) -> AsyncEngine:
        """Connections for a start; none is kept."""
        return self._engine(self.database.starter, poolclass=NullPool)

    def _engine(self, side: Side, **pool: Any) -> AsyncEngine:
        engine = create_async_engine(self.url, **side.options, **pool)
        engine.sync_engine.update_execution_options(compiled_cache=_COMPILED[self.database.driver])

        def connected(connection: Any, _record: Any) -> None:
            cursor = connection.cursor()
            for statement in side.on_connect:
                cursor.execute(statement)
            cursor.close()

        def begun(connection: sa.Connection) -> None:
            connection.exec_driver_sql(side.on_begin)

        if side.on_connect:
            sa.event.listen(engine.sync_engine, "connect", connected)
        if side.on_begin:
            sa.event.listen(engine.sync_engine, "begin", begun)
        return engine

    def create_file(self) -> None:
        """Make an SQLite file that is not there yet, in WAL mode, for its owner only (SQLite would use the umask).

        Starts at the same time take turns: SQLite refuses at once, instead of waiting, who changes the mode of a file
        that another one uses. An existing file is not opened: closing it again would drop the locks that this process
        has on it (sqlite.org/howtocorrupt.html, 2.2).
        """
        if self.url.get_backend_name() != "sqlite":
            return
        path = Path(self.url.database or "")
        with failures.named(self.name), _turn_in(path.parent):
            if not path.exists() or path.stat().st_size == 0:
                os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
                _begin_file(path)


@contextlib.contextmanager
def _turn_in(folder: Path) -> Iterator[None]:
    """While nobody else has a turn there; that of a process that was killed is over."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _begin_file(path: Path) -> None:
    import sqlite3  # a house on PostgreSQL has no use for it

    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute(_WAL)
    except sqlite3.Error as error:
        raise OperationalError(_WAL, None, error) from error


def locate(url: str, lock_timeout_s: float = 10.0) -> Place:
    """The database that a URL means; raises `Invalid` for one that we do not speak."""
    try:
        parsed = sa.make_url(url)
    except ArgumentError:
        raise Invalid("database URL is not a URL", field="database", hint=_FORMS) from None
    if parsed.drivername not in _DATABASES:
        name = parsed.drivername
        raise Invalid(f"database URL names {name!r}, which we do not speak", field="database", value=name, hint=_FORMS)
    database = _DATABASES[parsed.drivername](lock_timeout_s)
    parsed = parsed.set(drivername=database.driver)
    if parsed.get_backend_name() != "sqlite":
        return Place(database, parsed, f"{parsed.database} on {parsed.host or parsed.query.get('host', 'localhost')}")
    if (parsed.database or ":memory:") == ":memory:":
        raise Invalid("database URL names no file: nothing would last", field="database", value=url, hint=_FORMS)
    return Place(database, parsed, str(parsed.database))
