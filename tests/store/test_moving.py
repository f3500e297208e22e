"""A house's records in another database: all of them, once, and numbered on from there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.postgres import Server

from guesthouse.model.errors import Conflict
from guesthouse.model.resources import Event, Project, Quota
from guesthouse.store import open_store
from guesthouse.store.databases import locate
from guesthouse.store.moving import move
from guesthouse.store.schema import METADATA


@pytest.fixture
def source(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'house.db'}"


@pytest.fixture
async def target(postgres: Server) -> AsyncIterator[str]:
    async with postgres.database() as name:
        yield postgres.url(name)


async def fill(url: str, projects: int = 1200) -> None:
    """More projects than are copied at once, the first ones gone again, and an event."""
    async with open_store(url) as store, store.write() as tx:
        for number in range(projects):
            await tx.projects.insert(Project(id=f"p{number}", name=f"p-{number}", number=number, quota=Quota(vcpus=2)))
        for number in range(10):
            await tx.projects.delete(f"p{number}")
        await tx.events.append(
            Event(project="p11", kind="machine.deleted", subject_kind="machine", subject="m", subject_name="web")
        )


async def rows(url: str) -> dict[str, list[tuple[object, ...]]]:
    engine = locate(url).starter()
    try:
        async with engine.connect() as connection:
            found = {}
            for table in METADATA.sorted_tables:
                result = await connection.execute(sa.select(table).order_by(*table.primary_key))
                found[table.name] = [tuple(row) for row in result]
            return found
    finally:
        await engine.dispose()


async def test_every_record_comes_along_and_what_follows_is_numbered_on(source: str, target: str) -> None:
    await fill(source)
    told: list[tuple[str, int]] = []
    moved = await move(source, target, lambda table, count: told.append((table, count)))
    before = await rows(source)
    assert await rows(target) == before
    records = sum(len(found) for table, found in before.items() if table != "commits")
    assert records == sum(count for _, count in told) == moved
    async with open_store(target) as store, store.write() as tx:
        await tx.projects.insert(Project(id="new", name="new"))
        await tx.events.append(Event(project="new", kind="x", subject_kind="machine", subject="m", subject_name="web"))
        assert await tx.events.last() == 2
    after = await rows(target)
    assert after["projects"][-1][0] == max(row[0] for row in before["projects"]) + 1  # type: ignore[operator,type-var]


async def test_again_after_it_was_done_it_finds_all_there(source: str, target: str) -> None:
    await fill(source, 20)
    first = await move(source, target, lambda *_: None)
    assert await move(source, target, lambda *_: None) == first


async def test_a_database_of_another_house_is_refused_and_left_as_it_was(source: str, target: str) -> None:
    await fill(source, 20)
    await fill(target, 30)
    before = await rows(target)
    with pytest.raises(Conflict, match=r"holds 21 records already") as refused:
        await move(source, target, lambda *_: None)
    assert "createdb" in refused.value.hint
    assert await rows(target) == before


async def test_one_that_fails_half_way_leaves_an_empty_database(source: str, target: str) -> None:
    await fill(source, 20)

    def break_off(table: str, count: int) -> None:
        if table == "projects":
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        await move(source, target, break_off)
    assert not any((await rows(target)).values())
    await move(source, target, lambda *_: None)
