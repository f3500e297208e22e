"""Alembic's entry: the store hands it a connection, a developer the URL of a database (``-x url=``)."""

from __future__ import annotations

import asyncio

import sqlalchemy as sa
from alembic import context

from guesthouse.store.databases import locate
from guesthouse.store.schema import METADATA


def migrate(connection: sa.Connection) -> None:
    """Run what Alembic was asked for, in the connection's transaction; SQLite's tables change by being rebuilt."""
    context.configure(connection=connection, target_metadata=METADATA, render_as_batch=True, transactional_ddl=True)
    context.run_migrations()


async def migrate_by_hand(url: str) -> None:
    """The same on a connection of its own."""
    engine = locate(url).starter()
    try:
        async with engine.begin() as connection:
            await connection.run_sync(migrate)
    finally:
        await engine.dispose()


if (given := context.config.attributes.get("connection")) is not None:
    migrate(given)
else:
    asyncio.run(migrate_by_hand(context.get_x_argument(as_dictionary=True)["url"]))
