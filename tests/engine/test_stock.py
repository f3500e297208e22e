"""What a project has: kept while nothing changes, and never a moment longer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest
from tests.hosts import FakeFacts

from guesthouse.engine.intents import Asker
from guesthouse.engine.stock import KEPT_PROJECTS, Stocktaking
from guesthouse.model.dialect import DoorRecord
from guesthouse.model.names import make_id
from guesthouse.model.resources import Key, Project, Role
from guesthouse.store import SqlStore, open_store

NUMBERS = Random(11)
ASKER = Asker("p", Role.ADMIN)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    async with open_store(f"sqlite:///{tmp_path / 'house.db'}") as store:
        await a_project(store, "p", 1)
        yield store


async def a_project(store: SqlStore, id: str, number: int) -> None:
    async with store.write() as tx:
        await tx.projects.insert(Project(id=id, name=f"project-{number}", number=number))


async def add(store: SqlStore) -> Key:
    id = make_id(NUMBERS)
    key = Key(id=id, project="p", name=id, public=f"ssh-ed25519 {id}", fingerprint=id)
    async with store.write() as tx:
        await tx.keys.insert(key)
    return key


async def test_it_is_kept_until_something_changes(store: SqlStore) -> None:
    take = Stocktaking(store, FakeFacts())
    first = await take(ASKER, ("keys", "tags"))
    first.kept["made"] = "much"
    again = await take(ASKER, ("tags", "keys"))
    assert (again.kept, again.keys is first.keys, again.at >= first.at) == ({"made": "much"}, True, True)
    more = await take(ASKER, ("keys", "disks"))
    assert (more.keys is first.keys, more.kept) == (True, {})
    key = await add(store)
    changed = await take(ASKER, ("keys", "tags"))
    assert (list(changed.keys), changed.kept) == ([key.id], {})
    assert list(first.keys) == []


async def test_only_what_was_named_is_there(store: SqlStore) -> None:
    take = Stocktaking(store, FakeFacts())
    await take(ASKER, ("keys", "tags"))
    stock = await take(ASKER, ("keys",))
    with pytest.raises(KeyError):
        _ = stock.tags


async def test_every_write_is_seen_by_the_next_request(store: SqlStore, tmp_path: Path) -> None:
    """Many write and look at the same time, in two daemons, each with what it keeps."""
    async with open_store(f"sqlite:///{tmp_path / 'house.db'}") as other:
        takes = [Stocktaking(store, FakeFacts()), Stocktaking(other, FakeFacts())]

        async def writer(mine: SqlStore, seed: int) -> None:
            random = Random(seed)
            for _ in range(20):
                key = await add(mine)
                for take in random.sample(takes, 2):
                    nouns = random.choice([("keys",), ("keys", "tags"), ("keys", "disks", "tags")])
                    assert key.id in (await take(ASKER, nouns)).keys
                if random.random() < 0.3:
                    async with mine.write() as tx:
                        await tx.keys.delete(key.id)
                    for take in takes:
                        assert key.id not in (await take(ASKER, ("keys",))).keys

        async with asyncio.TaskGroup() as tasks:
            for seed in range(6):
                tasks.create_task(writer((store, other)[seed % 2], seed))
        async with store.read() as tx:
            there = {key.id for key in await tx.keys.select()}
        assert {key for take in takes for key in (await take(ASKER, ("keys",))).keys} == there


async def test_few_projects_are_kept_and_none_sees_another(store: SqlStore) -> None:
    take, random = Stocktaking(store, FakeFacts()), Random(3)
    await add(store)
    for number in range(KEPT_PROJECTS + 2):
        id = make_id(random)
        await a_project(store, id, 10 + number)
        assert (await take(Asker(id, Role.VIEWER), ("keys",))).keys == {}
    assert len((await take(ASKER, ("keys",))).keys) == 1
    assert len(take._shelves) == KEPT_PROJECTS


async def test_what_some_machines_have(store: SqlStore) -> None:
    take, records = Stocktaking(store, FakeFacts()), []
    async with store.write() as tx:
        for subject in ("one", "two", ""):
            record = DoorRecord(id=make_id(NUMBERS), project="p", door="ec2", kind="k", name=subject, subject=subject)
            records.append((await tx.door_records.insert(record)).id)
    one, _, alone = records
    stock = await take.of(ASKER, ["one"], ("door_records", "keys", "machines"))
    assert (list(stock.records), stock.machines) == ([one, alone], {})
    assert list((await take(ASKER, ("door_records",))).records) == records
