"""Stamps of what is committed."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from random import Random

from guesthouse.model.names import make_id
from guesthouse.model.resources import Project
from guesthouse.store import SqlStore, open_store

NUMBERS = count(1)


def a_project() -> Project:
    """Another one each time."""
    number = next(NUMBERS)
    return Project(id=make_id(Random(number)), name=f"project-{number}", number=number)


async def test_every_commit_of_anyone_changes_the_stamp(url: str, store: SqlStore) -> None:
    seen = [(await store.moment()).stamp]
    async with open_store(url) as other:
        for writer in (store, other, store, store, other):
            async with writer.write() as tx:
                await tx.projects.insert(a_project())
            seen.append((await store.moment()).stamp)
    assert len(set(seen)) == 6


async def test_without_a_commit_it_stays_and_time_goes_on(tmp_path: Path) -> None:
    async with open_store(f"sqlite:///{tmp_path / 'house.db'}") as store:
        first = await store.moment()
        async with store.write() as tx:
            await tx.projects.insert(a_project())
            assert (await store.moment()).stamp == first.stamp
            await tx.projects.delete("nobody")
        second = await store.moment()
        assert second.stamp != first.stamp
        async with store.read() as reading:
            await reading.projects.select()
        third = await store.moment()
        assert (third.stamp, third.at >= second.at) == (second.stamp, True)
