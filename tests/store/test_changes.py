"""Who watches learns that something was committed, here or elsewhere."""

from __future__ import annotations

import asyncio

import pytest
from tests.patience import PATIENCE_S
from tests.postgres import Server
from tests.store import making

from guesthouse.store import SqlStore, open_store
from guesthouse.store.changes import Bell, Watch
from guesthouse.store.sql_store import SqlTransaction


def without_polling(store: SqlStore) -> Watch:
    """A watch that learns of commits by being told alone."""
    watch = store.watch()
    assert isinstance(watch, Watch)
    watch._poll_s = None
    return watch


async def names(store: SqlStore) -> list[str]:
    async with store.read() as transaction:
        return [row.name for row in await transaction.projects.scan()]


async def add(store: SqlStore, name: str) -> None:
    async with store.write() as transaction:
        await transaction.projects.insert(making.project(name=name))


async def test_the_first_hint_comes_at_once_and_others_on_commit(store: SqlStore) -> None:
    async with asyncio.timeout(PATIENCE_S):
        watch = store.watch()
        await anext(watch)
        waiting = asyncio.ensure_future(anext(watch))
        await add(store, "a")
        await waiting
        assert await names(store) == ["a"]


async def test_every_follower_sees_the_last_commit(store: SqlStore) -> None:
    async def follow() -> list[str]:
        async for _ in store.watch():
            if len(seen := await names(store)) == 20:
                return seen
        raise AssertionError("the hints came to an end")

    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        followers = [group.create_task(follow()) for _ in range(3)]
        for number in range(20):
            await add(store, f"p{number}")
    assert [len(follower.result()) for follower in followers] == [20] * 3


async def test_a_block_that_was_undone_is_no_change(store: SqlStore) -> None:
    async with asyncio.timeout(PATIENCE_S):
        watch = store.watch()
        await anext(watch)
        waiting = asyncio.ensure_future(anext(watch))
        with pytest.raises(ZeroDivisionError):
            async with store.write() as transaction:
                await fail(transaction)
        assert not waiting.done()
        await add(store, "a")
        await waiting
        assert await names(store) == ["a"]


async def fail(transaction: SqlTransaction) -> None:
    await transaction.projects.insert(making.project())
    raise ZeroDivisionError


async def test_commits_of_another_process_are_heard(postgres: Server, postgres_database: str) -> None:
    url = postgres.url(postgres_database)
    async with open_store(url) as here, open_store(url) as there:
        watch = without_polling(here)
        await anext(watch)
        waiting = asyncio.ensure_future(anext(watch))
        await add(there, "a")
        async with asyncio.timeout(PATIENCE_S):
            await waiting
        assert await names(here) == ["a"]


async def test_a_broken_line_is_opened_again(postgres: Server, postgres_database: str) -> None:
    url = postgres.url(postgres_database)
    async with open_store(url) as here, open_store(url) as there:
        watch = without_polling(here)
        await anext(watch)
        waiting = asyncio.ensure_future(anext(watch))
        await postgres.end_connections(postgres_database)
        async with asyncio.timeout(PATIENCE_S):
            await waiting
            await anext(watch)
        waiting = asyncio.ensure_future(anext(watch))
        await add(there, "b")
        async with asyncio.timeout(PATIENCE_S):
            await waiting
        assert await names(here) == ["b"]


async def test_who_hears_nothing_looks_by_itself() -> None:
    watch = Bell().watch(None, poll_s=0.01)
    async with asyncio.timeout(PATIENCE_S):
        for _ in range(3):
            await anext(watch)
