"""SQLite in the event loop's own thread, but for what may wait.

aiosqlite hands every call to a thread and back: four times for a statement that takes 30 microseconds. Each handing
over waits for Python's lock and for a processor, and a machine's start has some eighty statements. In WAL mode a
reader never waits, and a writer only where it becomes one and where it commits. These, what changes tables, and the
beginning and the end of a connection stay with the thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from threading import Thread
from typing import Any

import aiosqlite
from aiosqlite.core import _connection_worker_thread

_ROWS_AT_ONCE = 64
_KEPT_STATEMENTS = 512
_NEVER_WAIT = ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")


class InPlace(aiosqlite.Connection):
    """A connection for one task at a time, as a pool lends it."""

    def __init__(self, connector: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connector, _ROWS_AT_ONCE)
        # As SQLAlchemy has it: a forgotten connection keeps no process alive.
        self._thread = Thread(target=_work, args=(self._tx,), daemon=True)

    @property
    def driver(self) -> sqlite3.Connection:
        """The connection itself, for `store.straight`."""
        return self._conn

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Where aiosqlite hands a call to its thread."""
        if _may_wait(fn, args) or self._connection is None or not self._running:
            return await super()._execute(fn, *args, **kwargs)  # type: ignore[no-untyped-call]
        return fn(*args, **kwargs)


def _work(asked: Any) -> None:
    """aiosqlite's thread. A loop that ended while it worked is told nothing more, which is no error."""
    while True:
        try:
            _connection_worker_thread(asked)
        except RuntimeError:
            if not asked.empty():
                continue
        return


def _may_wait(fn: Callable[..., Any], args: tuple[Any, ...]) -> bool:
    """Whether a call of `sqlite3` takes a lock, waits for a disk, or is none of those that we know."""
    if isinstance(getattr(fn, "__self__", None), sqlite3.Cursor):
        return fn.__name__ == "execute" and args[0] != "BEGIN" and not args[0].startswith(_NEVER_WAIT)
    return fn.__name__ not in ("cursor", "rollback")


async def connect(database: str, **options: Any) -> InPlace:
    """Open a database file: ``async_creator_fn`` of SQLAlchemy's aiosqlite."""
    ours = options | {"check_same_thread": False, "cached_statements": _KEPT_STATEMENTS}
    connection = InPlace(lambda: sqlite3.connect(database, **ours))
    await connection
    return connection
