"""Settling the memory of snapshots: begun by itself, in nobody's way, and given up where it fails."""

from __future__ import annotations

import asyncio

import pytest
from tests.engine.house import at_work, do, ended, launch, with_image
from tests.engine.test_deaths import Death, Reaper
from tests.engine.test_snapshots import DATA, drop, machine_of, revert, snapshot_of, take
from tests.hosts import FakeHost
from tests.patience import PATIENCE_S

from guesthouse.engine import intents
from guesthouse.engine.engine import Engine
from guesthouse.engine.intents import Asker
from guesthouse.model.errors import NoCapacity
from guesthouse.model.machine import State
from guesthouse.model.resources import OperationRow, OperationState
from guesthouse.ports import Store


async def settlings(engine: Engine, asker: Asker) -> list[OperationRow]:
    rows = await engine.views.operations(asker, all=True)
    return [row for row in rows if row.kind == "snapshot.settle"]


async def until(engine: Engine, asker: Asker, *states: OperationState) -> None:
    """The settlings have these states, in whatever order."""
    async with asyncio.timeout(PATIENCE_S):
        while sorted([row.state for row in await settlings(engine, asker)]) != sorted(states):
            await asyncio.sleep(0)


def unsettled(host: FakeHost) -> int:
    return sum(shot.unsettled for seen in host.machines.seen.values() for shot in seen.snapshots.values())


async def test_memory_is_settled_after_the_snapshot_is_there(store: Store) -> None:
    host = FakeHost()
    host.machines.settled_bytes = 3 << 20
    gate = host.machines.gates["settle-memory"] = asyncio.Event()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        # Nobody waits for it.
        for intent in (launch(disks=(DATA,)), take("one")):
            await do(engine, asker, intent)
        await until(engine, asker, OperationState.RUNNING)
        assert (await snapshot_of(store, "one")).memory_bytes == 1 << 20
        gate.set()
        await until(engine, asker, OperationState.DONE)
        assert (await snapshot_of(store, "one")).memory_bytes == 3 << 20
        assert unsettled(host) == 0
        # There is nothing of a snapshot without memory.
        await do(engine, asker, take("two", disks_only=True))
        assert len(await settlings(engine, asker)) == 1


async def test_all_that_is_asked_for_comes_first(store: Store) -> None:
    host = FakeHost()
    gate = host.machines.gates["settle-memory"] = asyncio.Event()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch(disks=(DATA,)))
        for intent in (take("one"), take("two"), revert("one"), drop("two"), intents.Pause(machine="web")):
            await do(engine, asker, intent)
        gate.set()
        async with asyncio.timeout(PATIENCE_S):
            while unsettled(host):
                await asyncio.sleep(0)
        assert (await machine_of(engine, asker)).state is State.PAUSED
        states = {row.state for row in await settlings(engine, asker)}
        assert states <= {OperationState.CANCELLED, OperationState.DONE, OperationState.RUNNING}


async def test_one_that_fails_is_tried_again_after_the_next_revert_only(store: Store) -> None:
    host = FakeHost()
    host.machines.faults["settle-memory"] = NoCapacity("the disk is full")
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        for intent in (launch(disks=(DATA,)), take("one")):
            await do(engine, asker, intent)
        await until(engine, asker, OperationState.FAILED)
        assert not (await snapshot_of(store, "one")).settle
        assert (await machine_of(engine, asker)).status.error is None
        await do(engine, asker, intents.Pause(machine="web"))
        assert len(await settlings(engine, asker)) == 1
        del host.machines.faults["settle-memory"]
        await do(engine, asker, revert("one"))
        assert host.machines.restored == [(await snapshot_of(store, "one")).id]
        await until(engine, asker, OperationState.FAILED, OperationState.DONE)
        assert unsettled(host) == 0


async def test_one_that_is_cancelled_leaves_the_others_to_be_settled(store: Store) -> None:
    host = FakeHost()
    gate = host.machines.gates["settle-memory"] = asyncio.Event()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        for intent in (launch(disks=(DATA,)), take("one"), take("two")):
            await do(engine, asker, intent)
        async with asyncio.timeout(PATIENCE_S):
            while not (open := [row for row in await settlings(engine, asker) if row.state is OperationState.RUNNING]):
                await asyncio.sleep(0)
        await engine.accept(asker, intents.OperationCancel(operation=open[0].id))
        cancelled = await ended(engine, asker, await engine.views.operation(asker, open[0].id))
        assert cancelled.state is OperationState.CANCELLED
        gate.set()
        async with asyncio.timeout(PATIENCE_S):
            while unsettled(host) > 1:
                await asyncio.sleep(0)
        assert not (await snapshot_of(store, "one")).settle
        assert (await snapshot_of(store, "two")).settle


@pytest.mark.parametrize("edge", ["before", "after"])
async def test_a_daemon_that_dies_at_it(store: Store, edge: str) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch(disks=(DATA,)))
    with pytest.raises(BaseExceptionGroup) as caught:
        async with at_work(store, host, checkpoint=At(edge)) as (engine, asker):
            await do(engine, asker, take("one"))
            await until(engine, asker, OperationState.DONE)
    assert caught.group_contains(Death)
    async with at_work(store, host) as (engine, asker):
        await until(engine, asker, OperationState.DONE)
        assert unsettled(host) == 0
        assert await engine.views.operations(asker, all=False) == []


class At(Reaper):
    """Dies at an edge of the settling."""

    def __init__(self, edge: str) -> None:
        super().__init__()
        self._edge = edge

    async def __call__(self, kind: str, step: str, edge: str) -> None:
        if (kind, step, edge) == ("snapshot.settle", "settle-memory", self._edge):
            raise Death
