"""A transaction happens as a whole or not at all, and writers do not run beside each other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from tests.patience import PATIENCE_S
from tests.store import making

from guesthouse.model.errors import Conflict, Failed, GuesthouseError
from guesthouse.model.resources import Project
from guesthouse.store import SqlStore, open_store


@pytest.fixture
async def second(url: str, store: SqlStore) -> AsyncIterator[SqlStore]:
    """Another store on the same database, as another process has it."""
    async with open_store(url, lock_timeout_s=PATIENCE_S) as second:
        yield second


async def test_an_error_undoes_everything_of_its_block(store: SqlStore) -> None:
    home = await making.fill(store)
    with pytest.raises(ZeroDivisionError):
        async with store.write() as transaction:
            await transaction.machines.insert(making.machine(home.id, "web"))
            await transaction.projects.update(home.id, {}, name="renamed")
            await transaction.events.append(making.event(home.id, "web"))
            raise ZeroDivisionError
    async with store.read() as transaction:
        assert await transaction.machines.scan() == []
        assert await transaction.projects.select() == [home]
        assert await transaction.events.last() == 0


async def test_cancelling_undoes_too_and_leaves_the_store_usable(store: SqlStore) -> None:
    inside = asyncio.Event()

    async def write_and_wait() -> None:
        async with store.write() as transaction:
            await transaction.projects.insert(making.project())
            inside.set()
            await asyncio.Event().wait()

    for _ in range(10):
        inside.clear()
        task = asyncio.create_task(write_and_wait())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    home = await making.fill(store)
    async with store.read() as transaction:
        assert await transaction.projects.select() == [home]


async def test_cancelling_at_any_time_leaves_nothing_half_and_nothing_locked(url: str) -> None:
    kept = []  # what was raised is kept, and with it all that the tracebacks refer to
    for step in range(60):
        async with open_store(url) as store:
            home = making.project()

            async def write(store: SqlStore = store, home: Project = home) -> None:
                async with store.write() as transaction:
                    await transaction.projects.insert(home)
                    await transaction.machines.insert(making.machine(home.id, "web"))

            task = asyncio.create_task(write())
            until = time.perf_counter() + step * 0.0001
            while time.perf_counter() < until:
                await asyncio.sleep(0)
            task.cancel()
            kept += await asyncio.gather(task, return_exceptions=True)
            async with asyncio.timeout(PATIENCE_S), store.write() as transaction:
                projects = await transaction.projects.scan(id=home.id)
                machines = await transaction.machines.scan(project=home.id)
                assert len(projects) == len(machines)
    assert {type(error) for error in kept} <= {asyncio.CancelledError, type(None)}
    assert any(kept)


async def test_a_reader_neither_waits_for_the_writer_nor_sees_its_work(store: SqlStore, second: SqlStore) -> None:
    async with store.write() as transaction:
        await transaction.projects.insert(making.project())
        for reader in (store, second):
            async with asyncio.timeout(PATIENCE_S), reader.read() as looking:
                assert await looking.projects.scan() == []
    async with second.read() as looking:
        assert len(await looking.projects.scan()) == 1


async def test_a_reader_sees_one_state_throughout(store: SqlStore, second: SqlStore) -> None:
    home = await making.fill(store)
    async with store.read() as looking:
        assert await looking.machines.scan() == []
        async with second.write() as transaction:
            await transaction.machines.insert(making.machine(home.id, "web"))
            await transaction.projects.update(home.id, {}, name="renamed")
        assert await looking.machines.scan() == []
        assert await looking.projects.select() == [home]
    async with store.read() as looking:
        assert len(await looking.machines.scan()) == 1


async def test_a_reader_cannot_write(store: SqlStore) -> None:
    with pytest.raises(Failed, match="cannot be written"):
        async with store.read() as transaction:
            await transaction.projects.insert(making.project())
    async with store.read() as transaction:
        assert await transaction.projects.scan() == []


async def test_one_alone_wins_a_compare_and_set(store: SqlStore, second: SqlStore) -> None:
    home = await making.fill(store)
    async with store.write() as transaction:
        web = await transaction.machines.insert(making.machine(home.id, "web"))

    async def take(by: SqlStore) -> bool:
        async with by.write() as transaction:
            return await transaction.machines.update(web.id, {"generation": 1}, generation=2)

    won = await asyncio.gather(*(take(by) for by in (store, second) * 10))
    assert sorted(won) == [False] * 19 + [True]


async def test_no_update_is_lost_among_writers(store: SqlStore, second: SqlStore) -> None:
    home = await making.fill(store)
    async with store.write() as transaction:
        web = await transaction.machines.insert(making.machine(home.id, "web", generation=0))

    async def add(by: SqlStore) -> None:
        async with by.write() as transaction:
            (row,) = await transaction.machines.scan(id=web.id)
            await asyncio.sleep(0)
            assert await transaction.machines.update(web.id, {}, generation=row.generation + 1)

    await asyncio.gather(*(add(by) for by in (store, second) * 20))
    async with store.read() as transaction:
        assert [row.generation for row in await transaction.machines.scan()] == [40]


async def test_a_quota_holds_against_writers_at_the_same_time(store: SqlStore, second: SqlStore) -> None:
    home = await making.fill(store)

    async def launch(by: SqlStore, name: str) -> None:
        async with by.write() as transaction:
            if len(await transaction.machines.scan(project=home.id)) < 5:
                await transaction.machines.insert(making.machine(home.id, name))

    await asyncio.gather(*(launch(by, f"m{n}{b}") for n in range(10) for b, by in enumerate((store, second))))
    async with store.read() as transaction:
        assert len(await transaction.machines.scan()) == 5


async def test_one_alone_gets_a_name(store: SqlStore, second: SqlStore) -> None:
    home = await making.fill(store)

    async def launch(by: SqlStore) -> None:
        async with by.write() as transaction:
            await transaction.machines.insert(making.machine(home.id, "web"))

    results = await asyncio.gather(*(launch(by) for by in (store, second) * 5), return_exceptions=True)
    assert [type(result) for result in results].count(Conflict) == 9
    assert results.count(None) == 1


async def test_after_a_failed_statement_nothing_more_is_done_or_kept(store: SqlStore) -> None:
    with pytest.raises(RuntimeError, match="block must be left"):
        async with store.write() as transaction:
            await transaction.projects.insert(making.project())
            with pytest.raises(GuesthouseError):
                await transaction.machines.insert(making.machine("nowhere", "web"))
    with pytest.raises(RuntimeError, match="block must be left"):
        async with store.write() as transaction:
            with pytest.raises(GuesthouseError):
                await transaction.machines.insert(making.machine("nowhere", "web"))
            await transaction.projects.insert(making.project())
    async with store.read() as transaction:
        assert await transaction.projects.scan() == []


async def test_nesting_that_would_wait_for_itself_is_refused(store: SqlStore) -> None:
    for outer, inner in ((store.write, store.write), (store.read, store.write), (store.read, store.read)):
        async with outer():
            with pytest.raises(RuntimeError, match="wait for itself"):
                async with inner():
                    pass
    home = await making.fill(store)
    async with store.write() as transaction:
        await transaction.projects.update(home.id, {}, name="renamed")
        async with store.read() as looking:
            assert await looking.projects.select() == [home]


async def test_many_readers_at_once_are_served(store: SqlStore) -> None:
    home = await making.fill(store)

    async def look() -> str:
        async with store.read() as transaction:
            return (await transaction.projects.scan())[0].id

    assert await asyncio.gather(*(look() for _ in range(100))) == [home.id] * 100
