"""Records of any noun, in a transaction: structs in, structs out.

Rules
-----
1. A filter, an expectation or a change that names no column is a fault of the caller: `TypeError`, like an
   unknown keyword argument. So is a value of another type than the field's. A user's input never gets here raw.
2. A statement is built once for each set of column names and kept; only values differ between calls.
3. `scan` reads the columns of the noun's row and no document beside them.
4. Writers come one after another (see `guesthouse.store.databases`), so what a writer looks up stays true
   until it commits: a taken name is found by looking, and the transaction goes on afterwards. The constraint
   in the database stands behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, cast

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from guesthouse.model.errors import Conflict, Failed
from guesthouse.store import failures
from guesthouse.store.schema import LITERAL, Noun, Record, Row, epoch_now, scalar_type
from guesthouse.store.uninterrupted import uninterrupted

if TYPE_CHECKING:
    from guesthouse.store.straight import Straight

_AT_ONCE = 64
"""So many statements may run before others of the loop get their turn."""
_ID = (("id", None),)
_FIXED = frozenset({"id", "created_at"})
_INSERT: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class Session:
    """A connection in a transaction. It raises the driver's errors as ours; after one, the transaction is over.

    PostgreSQL refuses what follows a failed statement; SQLite may have rolled back already and would run it
    outside of any transaction. Neither is left to chance.
    """

    def __init__(self, connection: AsyncConnection, database: str) -> None:
        self._connection = connection
        self._database = database
        self._usable = True
        self._statements = 0
        self.touched: dict[str, dict[str, bool]] = {}
        self._straight = _straight(connection)
        self.dialect = connection.dialect.name

    def touch(self, table: str, id: str, *, is_new: bool = False) -> None:
        """Note that a record was written."""
        ids = self.touched.setdefault(table, {})
        if is_new:
            ids.pop(id, None)
        ids[id] = ids.get(id, False) or is_new

    async def rows(self, statement: sa.Executable, **values: Any) -> Sequence[Sequence[Any]]:
        """Run a statement to its end; all its rows."""
        await self._take_turns()
        with self._statement():
            if self._straight is not None:
                return self._straight.rows(statement, values)
            return (await uninterrupted(self._connection.execute(statement, values))).all()

    async def read(self, struct: Any, statement: sa.Executable, **values: Any) -> list[Any]:
        """Run a statement to its end; its rows as structs."""
        if self._straight is None:
            return decode(struct, await self.rows(statement, **values), {})
        await self._take_turns()
        seen: dict[str, str] = {}
        with self._statement():
            parts = self._straight.parts(statement, values)
            return [record for part in parts for record in decode(struct, part, seen)]

    async def count(self, statement: sa.Executable, **values: Any) -> int:
        """Run a statement to its end; how many rows it changed."""
        await self._take_turns()
        with self._statement():
            if self._straight is not None:
                return self._straight.count(statement, values)
            return (await uninterrupted(self._connection.execute(statement, values))).rowcount

    async def value(self, statement: sa.Executable, **values: Any) -> Any:
        """Run a statement to its end; the first value of its first row, None where it has none."""
        rows = await self.rows(statement, **values)
        return rows[0][0] if rows else None

    async def commit(self) -> None:
        """Keep what was done."""
        with self._statement():
            await uninterrupted(self._connection.commit())

    async def _take_turns(self) -> None:
        """Let others of this loop go on, where many statements have not done so by themselves."""
        self._statements += 1
        if self._straight is not None and self._statements % _AT_ONCE == 0:
            await asyncio.sleep(0)

    @contextmanager
    def _statement(self) -> Iterator[None]:
        if not self._usable:
            raise RuntimeError("a statement of this transaction failed, or still runs: its block must be left")
        self._usable = False
        with failures.named(self._database):
            yield
        self._usable = True


def _straight(connection: AsyncConnection) -> Straight | None:
    """The straight way, where there is one. Its module, and SQLite's driver, are loaded with the first connection."""
    if connection.dialect.name != "sqlite":
        return None
    from guesthouse.store.straight import Straight

    assert connection.sync_connection is not None
    driver: Any = connection.sync_connection.connection.driver_connection
    return Straight(driver)


class RecordTable(Generic[Record, Row]):
    """A noun's records: `ports.Table` on a database."""

    def __init__(self, noun: Noun[Record, Row], session: Session) -> None:
        self._noun = noun
        self._session = session

    async def get(self, id: str) -> Record | None:
        """The record with this id, None where there is none."""
        records = await self.select(id=id)
        return records[0] if records else None

    async def select(self, **equal: object) -> list[Record]:
        """Whole records for which every column equals its value, oldest first."""
        return await self._load(self._noun.record, equal)

    async def scan(self, **equal: object) -> list[Row]:
        """The same as rows: what lists show, without reading documents."""
        return await self._load(self._noun.row, equal)

    async def insert(self, record: Record) -> Record:
        """Add a record, return it with the database's time; raises `Conflict` where a unique value is taken."""
        values = {name: _encode(self._noun, name, getattr(record, name)) for name in record.__struct_fields__}
        del values["created_at"]
        created_at = await self._session.value(_insert(self._noun, self._session.dialect), **values)
        if created_at is None:
            await self._refuse_taken(self._noun.unique, values, but_by="")
            raise Conflict(f"the {self._noun.word} has a value that may be there once only", subject=self._noun.word)
        self._session.touch(self._noun.table.name, values["id"], is_new=True)
        return msgspec.structs.replace(record, created_at=created_at)

    async def update(self, id: str, expect: Mapping[str, object], **changes: object) -> bool:
        """Change fields of a record in which all of `expect` holds, at once; False where it does not hold.

        Raises `Conflict` where a change would take another record's unique value.
        """
        if not changes or _FIXED & changes.keys():
            raise TypeError(f"a change of a {self._noun.word} names no field, or one that is fixed: {sorted(changes)}")
        equal = _filters(self._noun, {**expect, "id": id})
        values = {name: _encode(self._noun, name, value) for name, value in changes.items()}
        if touched := [columns for columns in self._noun.unique if values.keys() & set(columns)]:
            current = await self._session.rows(_select(self._noun, self._noun.record, _ID), is_id=id)
            for row in current:
                there = dict(zip(_fields(self._noun.record), row, strict=True))
                await self._refuse_taken(touched, {**there, **values}, but_by=id)
        statement = _update(self._noun, _equalities(equal), tuple(sorted(values)))
        parameters = _parameters(equal) | {f"to_{name}": value for name, value in values.items()}
        changed = await self._session.count(statement, **parameters) == 1
        if changed:
            self._session.touch(self._noun.table.name, id)
        return changed

    async def delete(self, id: str) -> None:
        """Remove a record; it may be gone already."""
        if await self._session.count(_delete(self._noun), is_id=id):
            self._session.touch(self._noun.table.name, id)

    async def _load(self, struct: Any, equal: Mapping[str, object]) -> list[Any]:
        values = _filters(self._noun, equal)
        statement = _select(self._noun, struct, _equalities(values))
        return await self._session.read(struct, statement, **_parameters(values))

    async def _refuse_taken(self, unique: Iterable[tuple[str, ...]], values: Mapping[str, Any], *, but_by: str) -> None:
        for columns in unique:
            equal = {name: values[name] for name in columns}
            statement = _select(self._noun, _Holder, _equalities(equal))
            found = await self._session.rows(statement, **_parameters(equal))
            if any(holder != but_by for (holder,) in found):
                raise _taken(self._noun.word, columns[-1], values)


class _Holder(msgspec.Struct):
    """Who has a unique value."""

    id: str


def _taken(word: str, field: str, values: Mapping[str, Any]) -> Conflict:
    return Conflict(
        f"{word} {field} {values[field]!r} is taken",
        subject=f"{word} {values.get('name') or values['id']}",
        field=field,
        value=values[field],
        hint=f"take another {field}, or delete the {word} that has it",
    )


# --- between structs and columns -------------------------------------------------------------------------------


# Fields in which thousands of records name the same few things.
_SHARED = frozenset({"project", "host", "image", "template", "network", "subnet", "door", "kind"})
# SQLite has numbers for truths.
_TRUTHS: Mapping[Any, bool] = {False: False, True: True}


class _Field(NamedTuple):
    """How a field is kept: its annotation, and what reads it where a column does not have it as it is."""

    annotation: Any
    read: Callable[[Any], Any] | None
    is_document: bool


@cache
def _fields(struct: Any) -> dict[str, _Field]:
    found = {}
    for field in msgspec.structs.fields(struct):
        is_document = scalar_type(field.type) is None
        truth = _TRUTHS.__getitem__ if field.type is bool else None
        found[field.name] = _Field(
            field.type, msgspec.json.Decoder(field.type).decode if is_document else truth, is_document
        )
    return found


def decode(struct: Any, rows: Sequence[Sequence[Any]], seen: dict[str, str]) -> list[Any]:
    """Rows with the struct's fields as columns, in its order, as structs; raises `Failed` where they do not fit.

    What many of them name (`_SHARED`) they have in common, as it was `seen` first.
    """
    fields = _fields(struct)
    readers = [(name, field.read) for name, field in fields.items() if field.read]
    try:
        records = [dict(zip(fields, row, strict=True)) for row in rows]
        for name in _SHARED.intersection(fields):
            for record in records:
                record[name] = seen.setdefault(record[name], record[name])
        for name, read in readers:
            for record in records:
                record[name] = read(record[name])
        return msgspec.convert(records, list[struct])
    except (msgspec.DecodeError, KeyError) as error:
        raise Failed(
            f"a stored {struct.__name__} cannot be read: {error}",
            subject="database",
            hint="another version of Guesthouse, or another program, wrote it: restore a backup or upgrade",
        ) from error


def encode(struct: Any, name: str, value: object) -> Any:
    """A field's value as its column keeps it; raises `TypeError` for another type than the field's."""
    field = _fields(struct).get(name)
    if field is None:
        raise TypeError(f"a {struct.__name__} has no field {name!r}")
    try:
        checked = msgspec.convert(value, field.annotation)
    except msgspec.ValidationError as error:
        raise TypeError(f"{name}={value!r} is no value of {struct.__name__}.{name}: {error}") from error
    return msgspec.json.encode(checked).decode() if field.is_document else msgspec.to_builtins(checked)


def _encode(noun: Noun[Any, Any], name: str, value: object) -> Any:
    return encode(noun.record, name, value)


def _filters(noun: Noun[Any, Any], equal: Mapping[str, object]) -> dict[str, Any]:
    record: Any = noun.record
    for name in equal:
        if (field := _fields(record).get(name)) and field.is_document:
            raise TypeError(f"{name!r} of a {noun.record.__name__} is a document; only scalars can be compared")
    return {name: _encode(noun, name, value) for name, value in equal.items()}


def _parameters(equal: Mapping[str, Any]) -> dict[str, Any]:
    return {f"is_{name}": value for name, value in equal.items()}


# --- statements ------------------------------------------------------------------------------------------------


def _equalities(equal: Mapping[str, Any]) -> tuple[tuple[str, float | None], ...]:
    """The columns that are compared, in their order, with the values of those that are written into the statement."""
    return tuple((name, equal[name] if name in LITERAL else None) for name in sorted(equal))


def _is(noun: Noun[Any, Any], name: str, literal: float | None = None) -> sa.ColumnElement[bool]:
    column = noun.table.c[name]
    if literal is not None:
        return column == sa.literal_column(repr(float(literal)))
    value = sa.bindparam(f"is_{name}", type_=column.type)
    return column.is_not_distinct_from(value) if column.nullable else column == value


@cache
def _select(noun: Noun[Any, Any], struct: Any, equal: tuple[tuple[str, float | None], ...]) -> sa.Select[Any]:
    columns = [noun.table.c[name] for name in _fields(struct)]
    return sa.select(*columns).where(*(_is(noun, *each) for each in equal)).order_by(noun.table.c.seq)


@cache
def _insert(noun: Noun[Any, Any], dialect: str) -> sa.Executable:
    names = [column.name for column in noun.table.c if column.name not in ("seq", "created_at")]
    values = {name: sa.bindparam(name, type_=noun.table.c[name].type) for name in names}
    statement = _INSERT[dialect](noun.table).values(**values, created_at=epoch_now())
    return cast(sa.Executable, statement.on_conflict_do_nothing().returning(noun.table.c.created_at))


@cache
def _update(noun: Noun[Any, Any], equal: tuple[tuple[str, float | None], ...], changed: tuple[str, ...]) -> sa.Update:
    values = {name: sa.bindparam(f"to_{name}", type_=noun.table.c[name].type) for name in changed}
    return sa.update(noun.table).where(*(_is(noun, *each) for each in equal)).values(values)


@cache
def _delete(noun: Noun[Any, Any]) -> sa.Delete:
    return sa.delete(noun.table).where(_is(noun, "id"))
