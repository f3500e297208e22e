"""Images of machines as records: what is held while a disk is read, and how the machine goes on afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.engine.house import at_work, do, ended, launch, with_image
from tests.hosts import FakeHost
from tests.patience import PATIENCE_S

from guesthouse.engine import intents
from guesthouse.engine.engine import Engine
from guesthouse.engine.intents import Asker, Intent
from guesthouse.model.errors import Conflict, Failed, GuesthouseError, Invalid, NoCapacity
from guesthouse.model.machine import DiskSpec, Machine, Power, Stage, State
from guesthouse.model.resources import Disk, ImageState, Operation, OperationState, Snapshot
from guesthouse.ports import Store

DATA = DiskSpec(name="data", size_mib=64)
STOP = intents.Stop(machine="web", force=True)
ONE = intents.SnapshotCreate(machine="web", name="one")
TWO = intents.SnapshotCreate(machine="web", name="two")


def image(**words: Any) -> intents.ImageCreate:
    return intents.ImageCreate(**{"machine": "web", "name": "golden", **words})


async def machine_of(engine: Engine, asker: Asker) -> Machine:
    return (await engine.views.machine(asker, "web")).machine


async def disk_of(engine: Engine, asker: Asker, name: str) -> Disk:
    return next(disk for disk in await engine.views.disks(asker) if disk.name == name)


async def snapshots(store: Store) -> list[Snapshot]:
    async with store.read() as tx:
        return await tx.snapshots.select()


async def until(engine: Engine, reached: Any) -> None:
    """Wait until something is so; whatever changes is a reason to look."""
    with engine.changes.listen("*") as bell:
        async with asyncio.timeout(PATIENCE_S):
            while not await reached():
                await bell.wait(PATIENCE_S)


@asynccontextmanager
async def reading(
    store: Store, *before: Intent, ask: intents.ImageCreate
) -> AsyncIterator[tuple[Engine, Asker, FakeHost, Operation, asyncio.Event]]:
    """A machine whose disk is being read; it has been when the event is set."""
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        for intent in (launch(disks=(DATA,)), *before):
            await do(engine, asker, intent)
        gate = host.images.gates["copy"] = asyncio.Event()
        accepted = await engine.accept(asker, ask)
        assert isinstance(accepted, Operation)

        async def copies() -> bool:
            return (await engine.views.operation(asker, accepted.id)).step == "copy"

        await until(engine, copies)
        yield engine, asker, host, accepted, gate


async def test_a_machine_runs_on_and_nothing_is_left_but_the_image(store: Store) -> None:
    async with reading(store, ask=image()) as (engine, asker, host, operation, gate):
        machine = await machine_of(engine, asker)
        root, data = await disk_of(engine, asker, "web-root"), await disk_of(engine, asker, "web-data")
        (own,) = await snapshots(store)
        assert (machine.power, machine.state, own.memory, list(own.disks)) == (
            *(Power.RUNNING, State.RUNNING),
            *(False, [root.id]),
        )
        assert (own.disks[root.id].layer, root.layers, data.layers) == ("", {"": None, root.layer: ""}, {})
        with pytest.raises(Conflict, match="image golden is being made of it"):
            await engine.accept(asker, intents.SnapshotRevert(machine="web", snapshot=own.name))
        gate.set()
        assert (await ended(engine, asker, operation)).state is OperationState.DONE

        async def is_gone() -> bool:
            return not await snapshots(store)

        await until(engine, is_gone)
        root, machine = await disk_of(engine, asker, "web-root"), await machine_of(engine, asker)
        assert host.machines.seen[machine.id].disks[root.id].layers == root.layers == {root.layer: None}
        assert (machine.snapshot, machine.state) == ("", State.RUNNING)
        made = next(each for each in await engine.views.images(asker) if each.name == "golden")
        assert (made.state, made.public, made.source, made.family) == (ImageState.READY, False, "machine:web", "")
        await do(engine, asker, intents.Delete(machine="web"))


@pytest.mark.parametrize("how", ["done", "failed", "cancelled"])
async def test_one_that_is_paused_for_it_goes_on_however_it_ends(store: Store, how: str) -> None:
    async with reading(store, ask=image(pause=True)) as (engine, asker, host, operation, gate):
        assert (await machine_of(engine, asker)).state is State.PAUSED
        if how == "failed":
            host.images.faults["copy"] = NoCapacity("the disk of this host is full")
        if how == "cancelled":
            await engine.accept(asker, intents.OperationCancel(operation=operation.id))
        else:
            gate.set()
        assert (await ended(engine, asker, operation)).state.value == how

        async def runs() -> bool:
            return (await machine_of(engine, asker)).state is State.RUNNING and not await snapshots(store)

        await until(engine, runs)
        assert len(host.images.made) == (2 if how == "done" else 1)


async def test_what_is_done_with_a_machine_meanwhile_stays_so(store: Store) -> None:
    async with reading(store, ask=image(pause=True)) as (engine, asker, _, operation, gate):
        await do(engine, asker, STOP)
        gate.set()
        assert (await ended(engine, asker, operation)).state is OperationState.DONE
        assert (await machine_of(engine, asker)).power is Power.STOPPED


async def test_a_snapshot_stays_while_it_is_read_and_nothing_is_merged(store: Store) -> None:
    async with reading(store, ONE, TWO, ask=image(snapshot="two")) as (engine, asker, host, operation, gate):
        with pytest.raises(Conflict, match="snapshot two: image golden is being made of it") as caught:
            await engine.accept(asker, intents.SnapshotDelete(machine="web", snapshot="two"))
        assert operation.id in caught.value.hint
        with pytest.raises(Conflict, match="machine web: image golden is being made of it"):
            await engine.accept(asker, intents.Delete(machine="web"))
        root, machine = await disk_of(engine, asker, "web-root"), await machine_of(engine, asker)
        files = host.machines.seen[machine.id].disks[root.id].layers
        await do(engine, asker, intents.SnapshotDelete(machine="web", snapshot="one"))
        assert host.machines.seen[machine.id].disks[root.id].layers == files
        await do(engine, asker, intents.SnapshotRevert(machine="web", snapshot="two"))
        gate.set()
        await ended(engine, asker, operation)

        async def is_merged() -> bool:
            disk = await disk_of(engine, asker, "web-root")
            return host.machines.seen[machine.id].disks[root.id].layers == disk.layers

        await until(engine, is_merged)
        await do(engine, asker, intents.SnapshotDelete(machine="web", snapshot="two"))


async def test_a_stopped_machine_stays_stopped_while_it_is_read(store: Store) -> None:
    async with reading(store, STOP, ask=image()) as (engine, asker, _, operation, gate):
        for intent in (
            intents.Start(machine="web"),
            intents.Delete(machine="web"),
            intents.DiskResize(disk="web-root", size_mib=20480),
            intents.DiskDetach(disk="web-root"),
            ONE,
        ):
            with pytest.raises(Conflict, match="image golden is being made of it"):
                await engine.accept(asker, intent)
        assert await snapshots(store) == []
        gate.set()
        await ended(engine, asker, operation)
        await do(engine, asker, intents.Start(machine="web"))


async def test_a_snapshot_that_cannot_be_taken_undoes_it(store: Store) -> None:
    host = FakeHost()
    host.machines.faults["take-snapshot"] = Failed("the guest cannot freeze its file systems")
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch())
        accepted = await engine.accept(asker, image(quiesce=True, pause=True))
        assert isinstance(accepted, Operation)
        operation = await ended(engine, asker, accepted)
        assert operation.state is OperationState.FAILED
        assert operation.error is not None
        assert "freeze" in operation.error["message"]
        assert (await machine_of(engine, asker)).power is Power.RUNNING
        assert [each.name for each in await engine.views.images(asker)] == ["micro"]


@pytest.mark.parametrize(
    ("before", "ask", "kind", "words"),
    [
        ((STOP, intents.DiskDetach(disk="web-root")), image(), Conflict, "has no root disk"),
        ((STOP,), image(quiesce=True), Conflict, "is stopped"),
        ((STOP,), image(pause=True), Conflict, "is stopped"),
        ((ONE,), image(snapshot="one", pause=True), Invalid, "--pause is for a machine as it is now"),
        ((ONE,), image(snapshot="one", quiesce=True), Invalid, "--quiesce is for a machine as it is now"),
        ((), image(name="Golden"), Invalid, "name"),
        ((), image(name="micro"), Conflict, "micro"),
    ],
)
async def test_what_cannot_be_is_refused_and_nothing_changes(
    store: Store, before: tuple[Intent, ...], ask: intents.ImageCreate, kind: type[GuesthouseError], words: str
) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        for intent in (launch(), *before):
            await do(engine, asker, intent)
        shot, machine = await snapshots(store), await machine_of(engine, asker)
        with pytest.raises(kind, match=words):
            await engine.accept(asker, ask)
        assert await snapshots(store) == shot
        assert (await machine_of(engine, asker)).generation == machine.generation
        assert [each.name for each in await engine.views.images(asker)] == ["micro"]


async def test_a_guest_that_still_boots_cannot_be_quiesced(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch(agent=False))
        assert (await machine_of(engine, asker)).stage is Stage.CONFIGURED
        with pytest.raises(Conflict, match="no guest agent"):
            await engine.accept(asker, image(quiesce=True))
