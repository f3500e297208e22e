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

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Generic, NamedTuple, cast

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from guesthouse.model.errors import Conflict, Failed
from guesthouse.store import failures
from guesthouse.store.schema import LITERAL, Noun, Record, Row, epoch_now, scalar_type
from guesthouse.store.uninterrupted import uninterrupted

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
        self.dialect = connection.dialect.name

    @property
    def token(self) -> object:
        """The same for all transactions of one connection."""
        return self._connection.info.setdefault("token", object())

    async def execute(self, statement: sa.Executable, values: Mapping[str, Any] | None = None) -> sa.CursorResult[Any]:
        """Run a statement to its end."""
        with self._statement():
            return await uninterrupted(self._connection.execute(statement, values))

    async def commit(self) -> None:
        """Keep what was done."""
        with self._statement():
            await uninterrupted(self._connection.commit())

    @contextmanager
    def _statement(self) -> Iterator[None]:
        if not self._usable:
            raise RuntimeError("a statement of this transaction failed, or still runs: its block must be left")
        self._usable = False
        with failures.named(self._database):
            yield
        self._usable = True


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
        result = await self._session.execute(_insert(self._noun, self._session.dialect), values)
        created_at = result.scalar()
        if created_at is None:
            await self._refuse_taken(self._noun.unique, values, but_by="")
            raise Conflict(f"the {self._noun.word} has a value that may be there once only", subject=self._noun.word)
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
            current = await self._session.execute(_select(self._noun, self._noun.record, ("id",)), {"is_id": id})
            for row in current.mappings():
                await self._refuse_taken(touched, {**row, **values}, but_by=id)
        statement = _update(self._noun, tuple(sorted(equal)), tuple(sorted(values)))
        parameters = _parameters(equal) | {f"to_{name}": value for name, value in values.items()}
        return (await self._session.execute(statement, parameters)).rowcount == 1

    async def delete(self, id: str) -> None:
        """Remove a record; it may be gone already."""
        await self._session.execute(_delete(self._noun), {"is_id": id})

    async def _load(self, struct: Any, equal: Mapping[str, object]) -> list[Any]:
        values = _filters(self._noun, equal)
        statement = _select(self._noun, struct, tuple(sorted(values)))
        result = await self._session.execute(statement, _parameters(values))
        return decode(struct, result.all())

    async def _refuse_taken(self, unique: Iterable[tuple[str, ...]], values: Mapping[str, Any], *, but_by: str) -> None:
        for columns in unique:
            parameters = _parameters({name: values[name] for name in columns})
            found = await self._session.execute(_select(self._noun, _Holder, tuple(sorted(columns))), parameters)
            if any(holder != but_by for holder in found.scalars()):
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


class _Field(NamedTuple):
    """How a field is kept: its annotation, and the decoder of its document where it is one."""

    annotation: Any
    document: msgspec.json.Decoder[Any] | None


@cache
def _fields(struct: Any) -> dict[str, _Field]:
    return {
        field.name: _Field(field.type, msgspec.json.Decoder(field.type) if scalar_type(field.type) is None else None)
        for field in msgspec.structs.fields(struct)
    }


def decode(struct: Any, rows: Sequence[Sequence[Any]]) -> list[Any]:
    """Rows with the struct's fields as columns, in its order, as structs; raises `Failed` where they do not fit."""
    fields = _fields(struct)
    documents = [(name, field.document) for name, field in fields.items() if field.document]
    try:
        records = [dict(zip(fields, row, strict=True)) for row in rows]
        for name, document in documents:
            for record in records:
                record[name] = document.decode(record[name])
        return msgspec.convert(records, list[struct])
    except msgspec.DecodeError as error:
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
    return msgspec.json.encode(checked).decode() if field.document else msgspec.to_builtins(checked)


def _encode(noun: Noun[Any, Any], name: str, value: object) -> Any:
    return encode(noun.record, name, value)


def _filters(noun: Noun[Any, Any], equal: Mapping[str, object]) -> dict[str, Any]:
    record: Any = noun.record
    for name in equal:
        if (field := _fields(record).get(name)) and field.document:
            raise TypeError(f"{name!r} of a {noun.record.__name__} is a document; only scalars can be compared")
    return {name: _encode(noun, name, value) for name, value in equal.items()}


def _parameters(equal: Mapping[str, Any]) -> dict[str, Any]:
    return {f"is_{name}": value for name, value in equal.items()}


# --- statements ------------------------------------------------------------------------------------------------


def _is(noun: Noun[Any, Any], name: str) -> sa.ColumnElement[bool]:
    column = noun.table.c[name]
    value = sa.bindparam(f"is_{name}", type_=column.type, literal_execute=name in LITERAL)
    return column.is_not_distinct_from(value) if column.nullable else column == value


@cache
def _select(noun: Noun[Any, Any], struct: Any, equal: tuple[str, ...]) -> sa.Select[Any]:
    columns = [noun.table.c[name] for name in _fields(struct)]
    return sa.select(*columns).where(*(_is(noun, name) for name in equal)).order_by(noun.table.c.seq)


@cache
def _insert(noun: Noun[Any, Any], dialect: str) -> sa.Executable:
    names = [column.name for column in noun.table.c if column.name not in ("seq", "created_at")]
    values = {name: sa.bindparam(name, type_=noun.table.c[name].type) for name in names}
    statement = _INSERT[dialect](noun.table).values(**values, created_at=epoch_now())
    return cast(sa.Executable, statement.on_conflict_do_nothing().returning(noun.table.c.created_at))


@cache
def _update(noun: Noun[Any, Any], equal: tuple[str, ...], changed: tuple[str, ...]) -> sa.Update:
    values = {name: sa.bindparam(f"to_{name}", type_=noun.table.c[name].type) for name in changed}
    return sa.update(noun.table).where(*(_is(noun, name) for name in equal)).values(values)


@cache
def _delete(noun: Noun[Any, Any]) -> sa.Delete:
    return sa.delete(noun.table).where(_is(noun, "id"))
