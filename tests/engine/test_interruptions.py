"""Spot machines are told that they are interrupted, then deleted or stopped, also by the next daemon."""

from __future__ import annotations

import asyncio

import pytest
from tests.engine.house import at_work, do, launch, with_image
from tests.hosts import FakeHost
from tests.patience import PATIENCE_S

from guesthouse.engine import intents
from guesthouse.engine.engine import Engine
from guesthouse.engine.intents import Asker
from guesthouse.model.errors import Conflict, Invalid, NotFound
from guesthouse.model.machine import Machine, OnShutdown, State
from guesthouse.ports import Store

STOPS = {"spot": True, "on_interruption": OnShutdown.STOP}
NOW = intents.Interrupt(machine="web", notice_s=0)
LATER = intents.Interrupt(machine="web", notice_s=1)
NEVER = intents.Interrupt(machine="web", notice_s=3600)


async def shown(engine: Engine, asker: Asker) -> Machine | None:
    try:
        return (await engine.views.machine(asker, "web")).machine
    except NotFound:
        return None


async def until(engine: Engine, asker: Asker, state: State | None) -> Machine | None:
    """The machine in this state, or gone."""
    async with asyncio.timeout(PATIENCE_S):
        with engine.changes.listen("*") as changes:
            while True:
                machine = await shown(engine, asker)
                if (machine.state if machine else None) is state:
                    return machine
                await changes.wait(1)


@pytest.mark.parametrize(("spec", "left"), [({"spot": True}, None), (STOPS, State.STOPPED)])
async def test_what_becomes_of_it(store: Store, spec: dict[str, object], left: State | None) -> None:
    async with at_work(store, FakeHost()) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch(**spec))
        told = await do(engine, asker, LATER)
        assert "is told" in str(told.result["later"])
        machine = await shown(engine, asker)
        assert machine is not None
        assert (machine.state, machine.interrupted_at > 0) == (State.RUNNING, True)
        with pytest.raises(Conflict, match="already"):
            await engine.accept(asker, NOW)
        await until(engine, asker, left)


async def test_the_next_daemon_ends_what_came_due(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch(spot=True))
        await do(engine, asker, NEVER)
    async with store.write() as tx:
        (row,) = await tx.machines.scan()
        await tx.machines.update(row.id, {}, interrupted_at=1.0)
    async with at_work(store, host) as (engine, asker):
        await until(engine, asker, None)


async def test_who_stops_it_during_the_notice_takes_it_back(store: Store) -> None:
    async with at_work(store, FakeHost()) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch(spot=True))
        await do(engine, asker, NEVER)
        await do(engine, asker, intents.Stop(machine="web", force=True))
        await do(engine, asker, intents.Start(machine="web"))
        machine = await shown(engine, asker)
        assert machine is not None
        assert machine.interrupted_at == 0
        with pytest.raises(Conflict, match="not to be interrupted any more"):
            await engine.accept(asker, intents.EndInterrupted(machine="web"))


async def test_what_cannot_be_interrupted(store: Store) -> None:
    async with at_work(store, FakeHost()) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch())
        with pytest.raises(Conflict, match="no spot machine"):
            await engine.accept(asker, NOW)
        await do(engine, asker, intents.Delete(machine="web"))
        await do(engine, asker, launch(spot=True))
        with pytest.raises(Invalid, match="notice_s"):
            await engine.accept(asker, intents.Interrupt(machine="web", notice_s=-1))
        await do(engine, asker, intents.Stop(machine="web", force=True))
        with pytest.raises(Conflict, match="is stopped"):
            await engine.accept(asker, NOW)
