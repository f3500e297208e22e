"""SQLite in the event loop's own thread, but for what may wait.

aiosqlite hands every call to a thread and back: four times for a statement that takes 30 microseconds. Each handing
over waits for Python's lock and for a processor, and a machine's start has some eighty statements. In WAL mode a
reader never waits, and a writer only where it becomes one and where it commits. These, what changes tables, and the
beginning and the end of a connection stay with the thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import aiosqlite

_ROWS_AT_ONCE = 64
_NEVER_WAIT = ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")


class InPlace(aiosqlite.Connection):
    """A connection for one task at a time, as a pool lends it."""

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Where aiosqlite hands a call to its thread."""
        if _may_wait(fn, args) or self._connection is None or not self._running:
            return await super()._execute(fn, *args, **kwargs)  # type: ignore[no-untyped-call]
        return fn(*args, **kwargs)


def _may_wait(fn: Callable[..., Any], args: tuple[Any, ...]) -> bool:
    """Whether a call of `sqlite3` takes a lock, waits for a disk, or is none of those that we know."""
    if isinstance(getattr(fn, "__self__", None), sqlite3.Cursor):
        return fn.__name__ == "execute" and args[0] != "BEGIN" and not args[0].startswith(_NEVER_WAIT)
    return fn.__name__ not in ("cursor", "rollback")


async def connect(database: str, **options: Any) -> InPlace:
    """Open a database file: ``async_creator_fn`` of SQLAlchemy's aiosqlite."""
    any_thread = options | {"check_same_thread": False}
    connection = InPlace(lambda: sqlite3.connect(database, **any_thread), _ROWS_AT_ONCE)
    connection._thread.daemon = True  # as SQLAlchemy has it: a forgotten connection keeps no process alive
    await connection
    return connection
