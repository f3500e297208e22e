"""The version of a database's tables: found by plain SQL, brought up to date by Alembic where it is behind.

Rules
-----
1. Versions are the files of ``migrations/versions``: ``0001_tables.py`` makes ``0001``. There are no branches.
2. A new database is made from the schema as it is and marked with the newest version; a test proves that the
   migrations lead to the very same. A start that finds that version reads one row. Neither imports Alembic.
3. A start that has something to make or to migrate does it in one transaction, as a writer: starts at the same
   time wait for each other, and a killed one leaves what was there.
4. A version that we do not know was made by a newer Guesthouse: we refuse, since we would damage it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from guesthouse.model.errors import Failed
from guesthouse.store import failures
from guesthouse.store.databases import Place
from guesthouse.store.schema import METADATA

MIGRATIONS = Path(__file__).parent / "migrations"
# Alembic keeps what it works on in global variables.
_MIGRATING = asyncio.Lock()

VERSION = sa.Table(
    "alembic_version",
    sa.MetaData(),
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


def known_versions() -> list[str]:
    """All versions that this program can make, oldest first."""
    return sorted(file.name.split("_")[0] for file in (MIGRATIONS / "versions").glob("[0-9]*.py"))


async def bring_up_to_date(place: Place) -> None:
    """Make the tables, or change them to what this version of the program needs; raises `Failed`."""
    place.create_file()
    newest = known_versions()[-1]
    engine = place.starter()
    try:
        with failures.named(place.name):
            async with engine.connect() as connection:
                found = await _version(connection, place)
            if found != newest:
                async with engine.begin() as connection:
                    await connection.exec_driver_sql(place.database.writer.on_begin)
                    await _change(connection, await _version(connection, place), newest)
    finally:
        await engine.dispose()


async def _version(connection: AsyncConnection, place: Place) -> str:
    """The database's version, "" where it has no tables yet."""
    if not await connection.run_sync(lambda sync: sa.inspect(sync).has_table("alembic_version")):
        return ""
    found = str((await connection.execute(sa.select(VERSION))).scalar() or "")
    known = known_versions()
    if found and found not in known:
        raise Failed(
            f"database {place.name} has tables of version {found}; this program knows them up to {known[-1]}",
            subject=f"database {place.name}",
            value=found,
            hint="a newer Guesthouse has used it: install that version again, or restore an older backup",
        )
    return found


async def _change(connection: AsyncConnection, found: str, newest: str) -> None:
    if not found:
        await connection.run_sync(_make, newest)
    elif found != newest:
        # Imported here: it costs half as much memory and time as all the rest of the store.
        from guesthouse.store.migrations.run import upgrade

        async with _MIGRATING:
            await connection.run_sync(upgrade, MIGRATIONS)


def _make(connection: sa.Connection, newest: str) -> None:
    METADATA.create_all(connection, checkfirst=False)
    VERSION.create(connection, checkfirst=False)
    connection.execute(sa.insert(VERSION).values(version_num=newest))
