"""What goes wrong with a database is said so that a person can mend it, and loses nothing."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.patience import PATIENCE_S
from tests.postgres import Server, serve
from tests.store import making
from tests.store.other import other, told

from guesthouse.model.errors import Failed, GuesthouseError, Invalid, NoCapacity, TimedOut
from guesthouse.store import SqlStore, open_store


async def test_a_lock_of_another_process_is_waited_for_and_then_named(url: str, store: SqlStore) -> None:
    async with other("hold", url) as process:
        assert await told(process) == "held"
        async with open_store(url, lock_timeout_s=0.2) as impatient, asyncio.timeout(PATIENCE_S):
            with pytest.raises(TimedOut, match="another process kept the database locked") as raised:
                await making.fill(impatient)
            assert raised.value.hint
            async with impatient.read() as transaction:
                assert await transaction.projects.scan() == []
        waiting = asyncio.create_task(making.fill(store))
        assert process.stdin
        process.stdin.write(b"\n")
        await waiting
    async with store.read() as transaction:
        assert len(await transaction.projects.scan()) == 2


async def test_a_writer_killed_inside_a_transaction_leaves_nothing_of_it(url: str, store: SqlStore) -> None:
    home = await making.fill(store)
    async with other("hold", url) as process:
        assert await told(process) == "held"
        process.kill()
        await process.wait()
    after = await making.fill(store)
    async with store.read() as transaction:
        assert await transaction.projects.select() == [home, after]
        assert await transaction.machines.scan() == []
        assert await transaction.events.last() == 0


@pytest.mark.parametrize("commits", [1, 7, 23])
async def test_a_writer_killed_anywhere_leaves_whole_transactions(url: str, store: SqlStore, commits: int) -> None:
    async with other("fill", url) as process:
        for _ in range(commits):
            number = int(await told(process))
        process.kill()
    async with store.write() as transaction:
        projects = [row.number for row in await transaction.projects.scan()]
        machines = await transaction.machines.select()
        events = await transaction.events.after(0, None, 1000)
    assert projects == list(range(1, len(projects) + 1))
    assert len(projects) >= number
    assert len(machines) == len(events) == len(projects)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://host/house", "'mysql'"),
        ("postgresql+psycopg://host/house", "'postgresql.psycopg'"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("house.db", "not a URL"),
    ],
)
async def test_a_url_that_we_do_not_speak_is_refused(url: str, message: str) -> None:
    with pytest.raises(Invalid, match=message) as raised:
        async with open_store(url):
            pass
    assert "sqlite:///" in raised.value.hint


async def refused(url: str) -> GuesthouseError:
    with pytest.raises(GuesthouseError) as raised:
        async with open_store(url):
            pass
    assert raised.value.hint
    return raised.value


class TestFile:
    """SQLite's file and the disk under it."""

    async def test_it_is_for_its_owner_only(self, tmp_path: Path) -> None:
        async with open_store(f"sqlite:///{tmp_path / 'house.db'}") as store:
            await making.fill(store)
            modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
        assert modes == {"house.db": 0o600, "house.db-wal": 0o600, "house.db-shm": 0o600}

    async def test_one_that_is_no_database_is_left_alone(self, tmp_path: Path) -> None:
        file = tmp_path / "house.db"
        file.write_text("notes of mine\n" * 100)
        error = await refused(f"sqlite:///{file}")
        assert isinstance(error, Failed)
        assert f"is not a database: {file}" in error.message
        assert file.read_text() == "notes of mine\n" * 100

    async def test_a_folder_or_a_missing_folder_is_named(self, tmp_path: Path) -> None:
        assert f"cannot be opened: {tmp_path}" in (await refused(f"sqlite:///{tmp_path}")).message
        missing = tmp_path / "missing" / "house.db"
        assert f"cannot be reached: {missing}" in (await refused(f"sqlite:///{missing}")).message

    async def test_a_damaged_page_is_named_when_it_is_read(self, tmp_path: Path) -> None:
        file = tmp_path / "house.db"
        async with open_store(f"sqlite:///{file}") as store:
            home = await making.fill(store)
            async with store.write() as transaction:
                for number in range(50):
                    await transaction.machines.insert(making.machine(home.id, f"m{number}"))
        page = root_page(file, "machines")
        with file.open("r+b") as database:
            database.seek((page - 1) * 4096)
            database.write(b"\xff" * 4096)
        async with open_store(f"sqlite:///{file}") as store:
            with pytest.raises(Failed, match="the database is damaged") as raised:
                async with store.read() as transaction:
                    await transaction.machines.scan()
        assert "backup" in raised.value.hint

    async def test_a_record_that_does_not_fit_is_named(self, tmp_path: Path) -> None:
        file = tmp_path / "house.db"
        async with open_store(f"sqlite:///{file}") as store:
            home = await making.fill(store)
            async with store.write() as transaction:
                web = await transaction.machines.insert(making.machine(home.id, "web"))
            with sqlite3.connect(file) as connection:
                connection.execute("UPDATE machines SET spec = '{\"name\": 5}'")
            async with store.read() as transaction:
                assert [row.name for row in await transaction.machines.scan()] == ["web"]
                with pytest.raises(Failed, match=r"a stored Machine cannot be read: .*name"):
                    await transaction.machines.get(web.id)

    async def test_a_full_disk_is_named_and_keeps_what_was_there(self, tmp_path: Path) -> None:
        folder = tmp_path / "small"
        folder.mkdir()
        script = f'mount -t tmpfs -o size=1m tmpfs {folder} && exec "$@"'
        async with other("fill", f"sqlite:///{folder}/house.db", *IN_OWN_MOUNTS, script, "sh") as process:
            lines = [line async for line in words(process)]
        assert len(lines) > 5
        assert [int(line) for line in lines[:-1]] == list(range(1, len(lines)))
        assert lines[-1].startswith("NoCapacity no space is left for the database")

    async def test_a_read_only_disk_is_named(self, tmp_path: Path) -> None:
        file = tmp_path / "house.db"
        async with open_store(f"sqlite:///{file}") as store:
            await making.fill(store)
        script = f'mount --bind {tmp_path} {tmp_path} && mount -o remount,bind,ro {tmp_path} && exec "$@"'
        for url in (f"sqlite:///{file}", f"sqlite:///{tmp_path}/new.db"):
            async with other("fill", url, *IN_OWN_MOUNTS, script, "sh") as process:
                (line,) = [line async for line in words(process)]
            assert line.startswith("Failed the database cannot be")
            assert str(tmp_path) in line


# The mounts of a test are its own, made in namespaces (unshare(1)), as root or not.
IN_OWN_MOUNTS = ("unshare", "--mount", *(() if os.geteuid() == 0 else ("--user", "--map-root-user")), "sh", "-c")


async def words(process: asyncio.subprocess.Process) -> AsyncIterator[str]:
    while line := await told(process):
        yield line


def root_page(file: Path, table: str) -> int:
    """The number of a table's first page (sqlite.org/fileformat2.html), counted from 1."""
    connection = sqlite3.connect(file)
    try:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
        return int(page)
    finally:
        connection.close()


class TestServer:
    """The PostgreSQL server."""

    async def test_one_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        error = await refused(f"postgresql://postgres@/house?host={tmp_path}")
        assert f"cannot be reached: house on {tmp_path}" in error.message

    async def test_a_wrong_name_or_user_is_named_and_no_password_told(self, postgres: Server) -> None:
        assert "no such database: nowhere" in (await refused(postgres.url("nowhere"))).message
        error = await refused(postgres.url("postgres").replace("postgres@", "nobody:secret@"))
        assert "refuses the login" in error.message
        assert "secret" not in repr(error.as_dict())

    async def test_a_restart_is_no_error_to_those_who_come_after(
        self, postgres: Server, postgres_database: str
    ) -> None:
        async with open_store(postgres.url(postgres_database)) as store:
            home = await making.fill(store)
            with pytest.raises(Failed, match=r"ended the connection|cannot be reached"):
                async with store.write() as transaction:
                    await transaction.projects.update(home.id, {}, name="lost")
                    await postgres.end_connections(postgres_database)
                    await transaction.projects.get(home.id)
            async with store.read() as transaction:
                assert await transaction.projects.select() == [home]
            await making.fill(store)

    async def test_one_that_went_away_is_named(self) -> None:
        async with AsyncExitStack() as stack:
            with serve() as server:
                store = await stack.enter_async_context(open_store(server.url("postgres")))
                home = await making.fill(store)
                async with store.read() as transaction:
                    assert await transaction.projects.select() == [home]
            for begin in (store.read, store.write):
                with pytest.raises(Failed, match="cannot be reached"):
                    async with begin():
                        pass
            async with asyncio.timeout(PATIENCE_S):
                await anext(store.watch())

    @pytest.mark.parametrize(
        ("code", "kind", "message"),
        [
            ("53100", NoCapacity, "no space is left"),
            ("53300", NoCapacity, "no connections or memory left"),
            ("25006", Failed, "cannot be written"),
            ("XX001", Failed, "is damaged"),
        ],
    )
    async def test_its_own_troubles_are_named(
        self, postgres: Server, postgres_database: str, code: str, kind: type[GuesthouseError], message: str
    ) -> None:
        async with open_store(postgres.url(postgres_database)) as store:
            connection = await postgres.connect(postgres_database)
            await connection.execute(
                f"CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS"
                f" $$ BEGIN RAISE EXCEPTION 'trouble' USING ERRCODE = '{code}'; END $$;"
                f"CREATE TRIGGER trouble BEFORE INSERT ON projects EXECUTE FUNCTION trouble()"
            )
            await connection.close()
            with pytest.raises(kind, match=message):
                await making.fill(store)
