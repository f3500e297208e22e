"""Tables are made, brought up to date, and left alone where they are newer than we."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from alembic import command as alembic
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from tests.store import making
from tests.store.other import ROOT, other, told

from guesthouse.model.errors import Failed
from guesthouse.store import open_store, versions
from guesthouse.store.databases import locate
from guesthouse.store.migrations.run import upgrade
from guesthouse.store.schema import METADATA


async def run(url: str, function: Any, *arguments: Any) -> Any:
    """Call a function with a connection beside the store's, in a transaction."""
    engine = locate(url).starter()
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(function, *arguments)
    finally:
        await engine.dispose()


def shape(connection: sa.Connection) -> dict[str, Any]:
    """All that the database itself says of its tables, but the order of columns."""
    inspector = sa.inspect(connection)
    looks = (
        inspector.get_columns,
        inspector.get_foreign_keys,
        inspector.get_unique_constraints,
        inspector.get_indexes,
    )
    return {
        table: [inspector.get_pk_constraint(table), *(sorted(map(words, look(table))) for look in looks)]
        for table in sorted(inspector.get_table_names())
    }


def words(found: Any) -> str:
    """One thing that an inspector found, with the text of the conditions in it."""
    options = {name: str(value) for name, value in found.get("dialect_options", {}).items()}
    return repr({**found, "dialect_options": options})


async def test_migrations_lead_to_exactly_the_schema(url: str) -> None:
    await run(url, upgrade, versions.MIGRATIONS)
    options = {"compare_type": True, "compare_server_default": True}
    assert await run(url, lambda c: compare_metadata(MigrationContext.configure(c, opts=options), METADATA)) == []


async def test_a_new_database_is_what_migrations_lead_to(url: str) -> None:
    await run(url, upgrade, versions.MIGRATIONS)
    migrated = await run(url, shape)
    await run(url, METADATA.drop_all)
    await run(url, versions.VERSION.drop)
    async with open_store(url):
        pass
    assert await run(url, shape) == migrated


def contents(connection: sa.Connection) -> dict[str, list[dict[str, Any]]]:
    """The rows of all tables, without the numbers that the database gave them."""
    return {
        table.name: [{name: value for name, value in row._mapping.items() if name != "seq"} for row in rows]
        for table in METADATA.sorted_tables
        if (rows := connection.execute(sa.select(table)).all())
    }


def begin_with(connection: sa.Connection, version: str, rows: dict[str, list[dict[str, Any]]]) -> None:
    """Make the tables of a version, and put into them what they have tables and columns for."""
    config = Config()
    config.set_main_option("script_location", str(versions.MIGRATIONS))
    config.attributes["connection"] = connection
    alembic.upgrade(config, version)
    tables = sa.MetaData()
    tables.reflect(connection)
    for name, records in rows.items():
        if (table := tables.tables.get(name)) is None:
            continue
        connection.execute(table.insert(), [{key: row[key] for key in row if key in table.columns} for row in records])


async def test_machines_and_disks_from_before_templates_were_forked_from_none(url: str) -> None:
    async with open_store(url) as store:
        home = await making.fill(store)
        async with store.write() as transaction:
            boot = msgspec.structs.replace(making.full_machine(home.id), template="")
            machine = await transaction.machines.insert(boot)
            disk = await transaction.disks.insert(making.disk(home.id, "web-root", machine=machine.id))
    new, rows = await run(url, shape), await run(url, contents)
    await run(url, METADATA.drop_all)
    await run(url, versions.VERSION.drop)
    await run(url, begin_with, "0001", rows)
    assert "templates" not in await run(url, shape)
    async with open_store(url) as store:
        async with store.read() as transaction:
            assert await transaction.machines.select() == [machine]
            assert await transaction.disks.select() == [disk]
        async with store.write() as transaction:
            template = await transaction.templates.insert(making.template(home.id, "small"))
            fork = await transaction.machines.insert(making.machine(home.id, "fork", template=template.id))
            assert await transaction.machines.scan(template=template.id) == [making.row_of(fork)]
    assert await run(url, shape) == new


def test_versions_are_one_line() -> None:
    config = Config()
    config.set_main_option("script_location", str(versions.MIGRATIONS))
    line = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert line[::-1] == versions.known_versions()


LATER = """
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{before}"


def upgrade():
    with op.batch_alter_table("projects") as table:
        table.add_column(sa.Column("colour", sa.Text(), nullable=False, server_default="green"))
        table.alter_column("name", new_column_name="title")
    {then}
"""


@pytest.fixture
def later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make the program one version newer than it is."""

    def make(then: str) -> None:
        folder = tmp_path / "migrations"
        shutil.copytree(versions.MIGRATIONS, folder)
        text = LATER.format(before=versions.known_versions()[-1], then=then)
        (folder / "versions" / "9999_later.py").write_text(text)
        monkeypatch.setattr(versions, "MIGRATIONS", folder)

    return make


async def test_an_older_database_is_migrated_and_keeps_its_records(url: str, later: Any) -> None:
    async with open_store(url) as store:
        home = await making.fill(store)
        async with store.write() as transaction:
            web = await transaction.machines.insert(making.machine(home.id, "web"))
    later("pass")
    await asyncio.gather(*(versions.bring_up_to_date(locate(url)) for _ in range(3)))
    found = await run(url, lambda c: c.execute(sa.text("SELECT title, colour FROM projects")).all())
    assert found == [(home.name, "green")]
    async with open_store(url) as store, store.read() as transaction:
        assert await transaction.machines.get(web.id) == web


async def test_a_migration_that_fails_leaves_what_was_there(url: str, later: Any) -> None:
    async with open_store(url) as store:
        home = await making.fill(store)
    before = await run(url, shape)
    later("raise ZeroDivisionError")
    with pytest.raises(ZeroDivisionError):
        await versions.bring_up_to_date(locate(url))
    assert await run(url, shape) == before
    assert await run(url, lambda c: c.execute(sa.text("SELECT name FROM projects")).scalars().all()) == [home.name]


async def test_a_newer_database_is_refused(url: str) -> None:
    async with open_store(url):
        pass
    await run(url, lambda c: c.execute(sa.update(versions.VERSION).values(version_num="9999")))
    before = await run(url, shape)
    with pytest.raises(Failed, match=r"version 9999; this program knows them up to \d{4}") as raised:
        async with open_store(url):
            pass
    assert "newer Guesthouse" in raised.value.hint
    assert await run(url, shape) == before


async def test_starts_at_the_same_time_make_the_tables_once(url: str) -> None:
    async def start() -> None:
        async with open_store(url) as store:
            await making.fill(store)

    async with other("weigh", url) as one, other("weigh", url) as two:
        await asyncio.gather(*(start() for _ in range(5)))
        for process in (one, two):
            assert (await told(process)).endswith("False")
    async with open_store(url) as store, store.read() as transaction:
        assert len(await transaction.projects.scan()) == 5


async def test_a_start_is_light_and_knows_no_alembic(url: str) -> None:
    for _ in ("new", "known"):
        async with other("weigh", url) as process:
            mib, alembic = (await told(process)).split()
        assert alembic == "False"
        assert float(mib) < 35


@pytest.mark.parametrize("command", [("upgrade", "head"), ("check",)])
async def test_a_developer_can_use_alembic_by_hand(url: str, command: tuple[str, ...]) -> None:
    if command == ("check",):
        async with open_store(url):
            pass
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "alembic.config", "-c", str(versions.MIGRATIONS / "alembic.ini"), "-x", f"url={url}"),
        *command,
        env={"PYTHONPATH": str(ROOT / "src")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    async with open_store(url) as store:
        await making.fill(store)
