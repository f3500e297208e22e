"""Numbers of commits, and what is known of what they wrote."""

from __future__ import annotations

import asyncio
from itertools import count
from pathlib import Path
from random import Random

import pytest

from guesthouse.model.errors import Conflict
from guesthouse.model.names import make_id
from guesthouse.model.resources import Project
from guesthouse.ports import Moment
from guesthouse.store import SqlStore, journal, open_store

NUMBERS = count(1)


def a_project() -> Project:
    """Another one each time."""
    number = next(NUMBERS)
    return Project(id=make_id(Random(number)), name=f"project-{number}", number=number)


async def now(store: SqlStore) -> Moment:
    """What is committed now."""
    async with store.read() as tx:
        return await tx.moment()


async def insert(store: SqlStore, project: Project) -> str:
    async with store.write() as tx:
        await tx.projects.insert(project)
    return project.id


async def test_every_commit_of_anyone_has_the_next_number(url: str, store: SqlStore) -> None:
    begin = (await now(store)).number
    async with open_store(url) as other:
        for number, writer in enumerate((store, other, store, store, other), begin + 1):
            await insert(writer, a_project())
            assert {(await now(each)).number for each in (store, other)} == {number}


async def test_without_a_commit_it_stays_and_time_goes_on(store: SqlStore) -> None:
    first = await now(store)
    async with store.write() as tx:
        await tx.projects.insert(a_project())
        assert (await now(store)).number == first.number
    second = await now(store)
    assert second.number == first.number + 1
    async with store.write() as writing, store.read() as reading:
        await reading.projects.select()
        await writing.projects.delete("nobody")
    third = await now(store)
    assert (third.number, third.at >= second.at) == (second.number, True)


async def test_a_transaction_reads_one_moment(store: SqlStore) -> None:
    async with store.read() as reading:
        before = await reading.moment()
        # In a task of its own: a reader's may not write.
        await asyncio.create_task(insert(store, a_project()))
        assert (await reading.moment()).number == before.number
    assert (await now(store)).number == before.number + 1


async def test_it_is_known_what_was_touched(store: SqlStore) -> None:
    begin = (await now(store)).number
    first, second = a_project(), a_project()
    await insert(store, first)
    async with store.write() as tx:
        await tx.projects.insert(second)
        await tx.projects.update(first.id, {}, name="other")
        await tx.projects.update("nobody", {}, name="none")
    async with store.write() as tx:
        await tx.projects.delete(first.id)
        await tx.projects.insert(first)
    assert store.touched(begin, begin) == {}
    assert store.touched(begin + 1, begin) is None
    assert store.touched(begin, begin + 1) == {"projects": {first.id: True}}
    assert store.touched(begin + 1, begin + 2) == {"projects": {second.id: True, first.id: False}}
    found = store.touched(begin, begin + 3)
    assert found == {"projects": {second.id: True, first.id: True}}
    assert list(found["projects"]) == [second.id, first.id]


async def test_what_was_taken_back_was_not_touched(store: SqlStore) -> None:
    begin, there = (await now(store)).number, a_project()
    await insert(store, there)
    with pytest.raises(Conflict):
        async with store.write() as tx:
            await tx.projects.insert(a_project())
            await tx.projects.insert(there)
    after = a_project()
    await insert(store, after)
    assert store.touched(begin + 1, (await now(store)).number) == {"projects": {after.id: True}}


async def test_what_others_did_is_not_known(url: str, store: SqlStore) -> None:
    begin = (await now(store)).number
    async with open_store(url) as other:
        await insert(other, a_project())
    await insert(store, a_project())
    assert store.touched(begin, begin + 2) is None
    assert store.touched(begin + 1, begin + 2) is not None


async def test_only_the_last_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "KEPT", 3)
    async with open_store(f"sqlite:///{tmp_path / 'house.db'}") as store:
        for _ in range(4):
            await insert(store, a_project())
        until = (await now(store)).number
        assert store.touched(until - 4, until) is None
        assert len((store.touched(until - 3, until) or {})["projects"]) == 3
