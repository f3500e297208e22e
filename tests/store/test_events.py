"""The log of events: in order, complete for who follows, bounded."""

from __future__ import annotations

import asyncio

import pytest
from tests.patience import PATIENCE_S
from tests.store import making

from guesthouse.store import SqlStore, open_store
from guesthouse.store import events as log


async def test_events_come_back_in_order(store: SqlStore) -> None:
    async with store.write() as transaction:
        assert await transaction.events.last() == 0
        began = await transaction.now()
        for name in "abc":
            await transaction.events.append(making.event("p", name, data={"phase": [name, 1, None]}))
        before = await transaction.now()
    async with store.read() as transaction:
        last = await transaction.events.last()
        found = await transaction.events.after(0, None, 10)
        assert [event.subject_name for event in found] == ["a", "b", "c"]
        assert [event.data for event in found] == [{"phase": [name, 1, None]} for name in "abc"]
        assert found[-1].number == last
        assert [began <= event.at <= before for event in found] == [True] * 3
        assert [event.subject_name for event in await transaction.events.after(found[0].number, None, 1)] == ["b"]
        assert await transaction.events.after(last, None, 10) == []


async def test_a_project_sees_its_own_events_only(store: SqlStore) -> None:
    async with store.write() as transaction:
        for number in range(10):
            await transaction.events.append(making.event(f"p{number % 2}", f"m{number}"))
    async with store.read() as transaction:
        mine = await transaction.events.after(0, "p1", 3)
        assert [event.subject_name for event in mine] == ["m1", "m3", "m5"]
        rest = await transaction.events.after(mine[-1].number, "p1", 10)
        assert [event.subject_name for event in rest] == ["m7", "m9"]


async def test_who_follows_misses_nothing_of_many_writers(url: str, store: SqlStore) -> None:
    async def tell(by: SqlStore, writer: str) -> None:
        for number in range(15):
            async with by.write() as transaction:
                await transaction.events.append(making.event("p", f"{writer}{number}"))
                await asyncio.sleep(0)
                await transaction.events.append(making.event("p", f"{writer}{number}+"))

    async def follow(by: SqlStore) -> list[str]:
        seen: list[str] = []
        number = 0
        while len(seen) < 4 * 30:
            async with by.read() as transaction:
                for event in await transaction.events.after(number, None, 7):
                    assert event.number > number
                    number = event.number
                    seen.append(event.subject_name)
        return seen

    async with open_store(url) as second, asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        followers = [group.create_task(follow(by)) for by in (store, second)]
        for by, names in ((store, "ab"), (second, "cd")):
            for name in names:
                group.create_task(tell(by, name))
    seen = followers[0].result()
    assert seen == followers[1].result()
    assert len(set(seen)) == 4 * 30
    for writer in "abcd":
        own = [name for name in seen if name.startswith(writer)]
        assert own == [f"{writer}{number}{end}" for number in range(15) for end in ("", "+")]
    assert all(later == f"{first}+" for first, later in zip(seen[::2], seen[1::2], strict=True))


async def test_the_log_is_bounded_and_keeps_the_newest(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "KEPT", 200)
    async with store.write() as transaction:
        for number in range(450):
            await transaction.events.append(making.event("p", str(number)))
    async with store.read() as transaction:
        kept = [int(event.subject_name) for event in await transaction.events.after(0, None, 1000)]
        assert 200 <= len(kept) < 300
        assert kept == list(range(450 - len(kept), 450))
        assert await transaction.events.last() == (await transaction.events.after(0, None, 1000))[-1].number
