"""Owners: one at a time for a subject, no wake is lost, and one that fails is started again."""

from __future__ import annotations

import asyncio

import pytest
from tests.engine.house import at_work, do, launch, with_image
from tests.hosts import FakeHost
from tests.patience import PATIENCE_S

from guesthouse.engine import owners as owners_module
from guesthouse.engine.history import forget_ended
from guesthouse.engine.owners import Owners, Wakes
from guesthouse.ports import Store


async def test_wakes_while_it_works_are_one_more_look() -> None:
    looks: list[str] = []
    busy, done = asyncio.Event(), asyncio.Event()

    async def work(subject: str, wakes: Wakes) -> None:
        looks.append(subject)
        busy.set()
        await done.wait()

    async with asyncio.TaskGroup() as tasks:
        owners = Owners(tasks, work)
        owners.wake("a")
        await busy.wait()
        for _ in range(5):
            owners.wake("a")
        owners.wake("b")
        done.set()
    assert sorted(looks) == ["a", "a", "b"]


async def test_an_owner_that_fails_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owners_module, "RETRY_S", 0)
    tries = 0
    worked = asyncio.Event()

    async def work(subject: str, wakes: Wakes) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise OSError("the database is away")
        worked.set()

    async with asyncio.TaskGroup() as tasks:
        owners = Owners(tasks, work)
        owners.wake("a")
        async with asyncio.timeout(PATIENCE_S):
            await worked.wait()
    assert tries == 3


async def test_old_operations_are_forgotten(store: Store) -> None:
    async with at_work(store, FakeHost()) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch())
        assert await forget_ended(store, kept_s=3600) == 0
        assert await forget_ended(store, kept_s=-60) == 2
        assert await engine.views.operations(asker, all=True) == []
