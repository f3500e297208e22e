"""Statements on SQLite, run straight on the driver's connection.

SQLAlchemy writes every statement, once; it runs none of them here. What it does around a statement of microseconds (a
task, a greenlet, a cursor of its own, a context, a result) takes several times as long, and a launch has some eighty.

Rules
-----
1. A statement is written once and kept, so it must be one that is kept too (`store.records` has a cache of them).
2. A statement never waits (`store.in_place`), so it needs no task: it cannot be cancelled half-way.
3. Values go in and come out as the driver has them: a truth comes out as a number.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import lru_cache
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from guesthouse.store.in_place import InPlace

_KEPT_STATEMENTS = 1024
_ROWS_AT_ONCE = 256
_DIALECT = sqlite.dialect()


class Straight:
    """The way to one connection's statements."""

    def __init__(self, connection: InPlace) -> None:
        self._driver = connection.driver

    def rows(self, statement: sa.Executable, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """Run a statement, return all its rows; raises SQLAlchemy's `DBAPIError`."""
        return [row for part in self.parts(statement, values) for row in part]

    def parts(self, statement: sa.Executable, values: Mapping[str, Any]) -> Iterator[Sequence[Sequence[Any]]]:
        """The same, some rows at a time: thousands of them with their documents are never there at once."""
        with closing(run(self._driver, *_written(statement, values))) as cursor:
            while part := cursor.fetchmany(_ROWS_AT_ONCE):
                yield part

    def count(self, statement: sa.Executable, values: Mapping[str, Any]) -> int:
        """Run a statement, return how many rows it changed; raises SQLAlchemy's `DBAPIError`."""
        with closing(run(self._driver, *_written(statement, values))) as cursor:
            return cursor.rowcount


def run(driver: sqlite3.Connection, sql: str, parameters: tuple[Any, ...]) -> sqlite3.Cursor:
    """Have SQLite run this; raises SQLAlchemy's `DBAPIError`."""
    try:
        return driver.execute(sql, parameters)
    except sqlite3.Error as error:
        raise sa.exc.DBAPIError.instance(sql, parameters, error, sqlite3.Error) from error


def _written(statement: sa.Executable, values: Mapping[str, Any]) -> tuple[str, tuple[Any, ...]]:
    sql, names, own = _compiled(statement)
    return sql, tuple([values[name] if name in values else own[name] for name in names])


class _Compiled(NamedTuple):
    """A statement as SQL, the names of its parameters in their order, and those that have a value of its own."""

    sql: str
    names: tuple[str, ...]
    own: Mapping[str, Any]


@lru_cache(maxsize=_KEPT_STATEMENTS)
def _compiled(statement: Any) -> _Compiled:
    compiled = statement.compile(dialect=_DIALECT)
    own = {name: value for name, value in compiled.params.items() if value is not None}
    return _Compiled(str(compiled), tuple(compiled.positiontup or ()), own)
