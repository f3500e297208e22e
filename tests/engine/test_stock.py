"""What a project has: kept while nothing changes, and never a moment longer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.hosts import FakeFacts

from guesthouse.engine.intents import Asker
from guesthouse.engine.stock import KEPT_PROJECTS, Stocktaking
from guesthouse.model.dialect import DoorRecord, Tag
from guesthouse.model.machine import Machine, MachineSpec
from guesthouse.model.names import make_id
from guesthouse.model.resources import Disk, Image, Key, Project, Role, Share
from guesthouse.ports import Transaction
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
    take = Stocktaking(store, store, FakeFacts())
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
    take = Stocktaking(store, store, FakeFacts())
    await take(ASKER, ("keys", "tags"))
    stock = await take(ASKER, ("keys",))
    with pytest.raises(KeyError):
        _ = stock.tags


async def test_every_write_is_seen_by_the_next_request(store: SqlStore, tmp_path: Path) -> None:
    """Many write and look at the same time, in two daemons, each with what it keeps."""
    async with open_store(f"sqlite:///{tmp_path / 'house.db'}") as other:
        takes = [Stocktaking(store, store, FakeFacts()), Stocktaking(other, other, FakeFacts())]

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
    take, random = Stocktaking(store, store, FakeFacts()), Random(3)
    await add(store)
    for number in range(KEPT_PROJECTS + 2):
        id = make_id(random)
        await a_project(store, id, 10 + number)
        assert (await take(Asker(id, Role.VIEWER), ("keys",))).keys == {}
    assert len((await take(ASKER, ("keys",))).keys) == 1
    assert len(take._shelves) == KEPT_PROJECTS


NOUNS = ("disks", "door_records", "images", "keys", "machines", "networks", "ports", "shares", "subnets", "tags")


class Changes:
    """Random changes of what two projects have, one transaction each."""

    def __init__(self, store: SqlStore, seed: int) -> None:
        self._store, self._random = store, Random(seed)
        self._there: dict[str, list[Any]] = {}

    async def make_one(self) -> None:
        async with self._store.write() as tx:
            for _ in range(self._random.choice((1, 1, 3))):
                noun = self._random.choice(("disks", "door_records", "images", "keys", "machines", "shares", "tags"))
                kind = self._random.choice((self._insert, self._insert, self._update, self._delete, self._replace))
                await kind(tx, noun)

    async def _insert(self, tx: Transaction, noun: str) -> None:
        id, project = make_id(self._random), self._random.choice(("p", "q"))
        images = self._there.get("images", [])
        record: Any = {
            "disks": lambda: Disk(id=id, project=project, name=id, size_mib=1, host="here"),
            "door_records": lambda: DoorRecord(id=id, project=project, door="ec2", kind="k", name=id, subject="s"),
            "images": lambda: Image(id=id, project=project, name=id, public=self._random.random() < 0.3),
            "keys": lambda: Key(id=id, project=project, name=id, public=id, fingerprint=id),
            "machines": lambda: Machine(id=id, project=project, name=id, host="here", spec=MachineSpec(name=id)),
            "shares": lambda: Share(id=id, image=self._random.choice(images).id, project=project) if images else None,
            "tags": lambda: Tag(id=id, project=project, subject=id, name="n"),
        }[noun]()
        if record is None or any((each.image, each.project) == (record.image, project)
                                 for each in self._there.get("shares", []) if noun == "shares"):  # fmt: skip
            return
        self._there.setdefault(noun, []).append(await getattr(tx, noun).insert(record))

    async def _update(self, tx: Transaction, noun: str) -> None:
        if noun not in ("shares", "tags") and (found := self._any(noun)) is not None:
            await getattr(tx, noun).update(found.id, {}, name=make_id(self._random))

    async def _delete(self, tx: Transaction, noun: str) -> None:
        if (found := self._any(noun)) is not None:
            self._there[noun].remove(found)
            await getattr(tx, noun).delete(found.id)

    async def _replace(self, tx: Transaction, noun: str) -> None:
        """As an undoing does: the same id again, behind all others."""
        if (found := self._any(noun)) is not None:
            await getattr(tx, noun).delete(found.id)
            await getattr(tx, noun).insert(found)

    def _any(self, noun: str) -> Any:
        return self._random.choice(self._there[noun]) if self._there.get(noun) else None


@pytest.mark.parametrize("seed", range(8))
async def test_what_is_kept_is_what_would_be_read(store: SqlStore, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """After any changes, with any nouns, in any order; for two projects, which share images."""
    monkeypatch.setattr("guesthouse.engine.stock.MANY", 4)
    await a_project(store, "q", 2)
    take, changes, random = Stocktaking(store, store, FakeFacts()), Changes(store, seed), Random(seed)
    for _ in range(40):
        for _ in range(random.choice((0, 1, 1, 5))):
            await changes.make_one()
        asker, nouns = Asker(random.choice("pq"), Role.VIEWER), random.sample(NOUNS, random.randint(1, len(NOUNS)))
        fresh = await Stocktaking(store, store, FakeFacts())(asker, nouns)
        kept = await take(asker, nouns)
        assert (kept.number, {noun: list(kept.nouns[noun].items()) for noun in nouns}) == (
            fresh.number, {noun: list(fresh.nouns[noun].items()) for noun in nouns},
        )  # fmt: skip
