"""A house's records, moved to another database: how a house on SQLite goes to PostgreSQL.

Rules
-----
1. Nobody writes to either database meanwhile: who asks holds the house's lock, and the target is nobody's yet.
2. All of it is written in one transaction. Who was killed before its end finds an empty target; who was killed after it
   finds the very same records there, and is done.
3. A target that has anything else is refused: two houses do not become one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from guesthouse.model.errors import Conflict
from guesthouse.store import failures
from guesthouse.store.databases import Place, locate
from guesthouse.store.schema import COMMITS, EVENTS, METADATA
from guesthouse.store.versions import bring_up_to_date

_AT_ONCE = 500
_LAST = "last event"
Say = Callable[[str, int], None]


async def move(source: str, target: str, say: Say) -> int:
    """Copy all records from one URL's database to the other's and return how many; `say` is told table and rows.

    Raises `Conflict` where the target has other records, and what opening a store does.
    """
    here, there = locate(source), locate(target)
    for place in (here, there):
        await bring_up_to_date(place)
    reader, writer = here.starter(), there.starter()
    try:
        with failures.named(there.name):
            async with reader.connect() as reading, writer.begin() as writing:
                await writing.exec_driver_sql(there.database.writer.on_begin)
                found, wanted = await _counts(writing), await _counts(reading)
                if any(found.values()):
                    _refuse_others(there, found, wanted)
                    return _records(wanted)
                for table in METADATA.sorted_tables:
                    await _copy(table, reading, writing)
                    if table is not COMMITS:
                        say(table.name, wanted[table.name])
                return _records(wanted)
    finally:
        await reader.dispose()
        await writer.dispose()


async def _counts(connection: AsyncConnection) -> dict[str, int]:
    """How many rows each table has, and the number of the last event."""
    counts = {
        table.name: int((await connection.execute(sa.select(sa.func.count()).select_from(table))).scalar_one())
        for table in METADATA.sorted_tables
    }
    last = (await connection.execute(sa.select(sa.func.max(EVENTS.c.number)))).scalar()
    return {**counts, _LAST: int(last or 0)}


def _records(counts: dict[str, int]) -> int:
    return sum(count for name, count in counts.items() if name not in (_LAST, COMMITS.name))


def _refuse_others(there: Place, found: dict[str, int], wanted: dict[str, int]) -> None:
    if found == wanted:
        return
    raise Conflict(
        f"database {there.name} holds {_records(found)} records already",
        subject=f"database {there.name}",
        field="to",
        value=there.name,
        hint="make an empty database for this house (`createdb NAME`), and name that",
    )


async def _copy(table: sa.Table, reading: AsyncConnection, writing: AsyncConnection) -> None:
    (key,) = table.primary_key.columns
    result = await reading.stream(sa.select(table).order_by(key))
    async for rows in result.mappings().partitions(_AT_ONCE):
        await writing.execute(sa.insert(table), [dict(row) for row in rows])
    if writing.dialect.name == "postgresql":
        # What is added from now on is numbered from there.
        numbering: Any = sa.func.pg_get_serial_sequence(table.name, key.name)
        last = sa.select(sa.func.max(key)).scalar_subquery()
        await writing.execute(sa.select(sa.func.setval(numbering, sa.func.coalesce(last, 1), last.is_not(None))))
