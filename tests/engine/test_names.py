"""Names of machines that nobody named."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from tests.engine.house import at_work, do, with_image
from tests.hosts import FakeHost

from guesthouse.engine import intents
from guesthouse.engine.accept.desk import Desk
from guesthouse.engine.accept.room import free_name
from guesthouse.model.machine import MachineSpec
from guesthouse.store import SqlStore

Thing = TypeVar("Thing")


class Stubborn(Random):
    """Always draws the first that there is."""

    def choice(self, seq: Sequence[Thing]) -> Thing:  # type: ignore[override]
        return seq[0]

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        return start


async def test_one_that_is_taken_is_not_given_again(store: SqlStore) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        for expected in ("amber-alder-10", "amber-alder-100", "amber-alder-1000"):
            async with store.read() as tx:
                desk = Desk(tx, asker, host.facts, host.network_facts, Stubborn(), "here", "here")
                assert await free_name(desk) == expected
            await do(engine, asker, intents.Launch(spec=MachineSpec(name=expected, image="micro")))
