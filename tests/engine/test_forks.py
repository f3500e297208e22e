"""Forks of machines as records: what they begin with, what is let go of, and what becomes of them when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.engine.house import at_work, do, ended, fails, launch, with_image
from tests.hosts import FakeHost
from tests.patience import PATIENCE_S

from guesthouse.engine import intents
from guesthouse.engine.engine import Engine
from guesthouse.engine.intents import Asker, Intent
from guesthouse.model.errors import Conflict, Failed, Invalid, NoCapacity, NotFound
from guesthouse.model.machine import Deleting, DiskSpec, Forward, Machine, NicModel, NicSpec, Power, Stage, State
from guesthouse.model.resources import Disk, Operation, OperationState, Quota
from guesthouse.ports import Store

DATA = DiskSpec(name="data", size_mib=64)
FORK = intents.Fork(machine="web")


@asynccontextmanager
async def a_house(store: Store, host: FakeHost, **spec: Any) -> AsyncIterator[tuple[Engine, Asker]]:
    """A house with a machine called web, which has a disk."""
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch(**{"disks": (DATA,), **spec}))
        yield engine, asker


async def forked(engine: Engine, asker: Asker, intent: Intent = FORK) -> list[Machine]:
    """The machines that a fork makes, when they are there."""
    operation = await do(engine, asker, intent)
    machines = []
    for fork in operation.result["machines"]:
        begun = await ended(engine, asker, await engine.views.operation(asker, fork["operation"]))
        assert begun.state is OperationState.DONE, begun
        machines.append((await engine.views.machine(asker, fork["name"])).machine)
    return machines


async def disk_of(engine: Engine, asker: Asker, name: str) -> Disk:
    return next(disk for disk in await engine.views.disks(asker) if disk.name == name)


async def names(engine: Engine, asker: Asker) -> list[str]:
    return [row.name for row in await engine.views.machines(asker)]


def files(host: FakeHost) -> set[str]:
    """The disks of which there are files."""
    return {disk for seen in host.machines.seen.values() for disk in seen.disks}


async def idle(engine: Engine, asker: Asker) -> None:
    for row in await engine.views.operations(asker, all=False):
        await ended(engine, asker, await engine.views.operation(asker, row.id))


async def until_no_snapshot(store: Store) -> None:
    """Until nothing is kept for forks alone."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            async with store.read() as tx:
                if not await tx.snapshots.scan():
                    return
            await asyncio.sleep(0)


async def test_forks_go_on_from_memory_and_disks_with_names_of_their_own(store: Store) -> None:
    host = FakeHost()
    async with a_house(store, host, nics=(NicSpec(forwards=(Forward(guest_port=22, host_port=2222),)),)) as (e, asker):
        operation = await do(e, asker, intents.Fork(machine="web", count=2))
        assert operation.kind == "machine.fork"
        assert operation.result["pause_ms"] == 40
        assert [each["name"] for each in operation.result["machines"]] == ["web-1", "web-2"]
        await idle(e, asker)
        web, one, two = [(await e.views.machine(asker, name)).machine for name in ("web", "web-1", "web-2")]
        assert len(host.machines.restored) == 2
        assert {each.state for each in (web, one, two)} == {State.RUNNING}
        assert {each.stage for each in (web, one, two)} == {Stage.CONFIGURED}
        assert (one.origin, one.configured_as, two.configured_as) == (web.id, web.id, web.id)
        assert len({each.spec.nics[0].mac for each in (web, one, two)}) == 3
        assert one.spec.nics[0].forwards == (Forward(guest_port=22),)
        assert [each.restore for each in (one, two)] == ["", ""]
        source = await disk_of(e, asker, "web-data")
        for name in ("web-1-data", "web-2-data"):
            disk = await disk_of(e, asker, name)
            assert disk.layers == {"": None, disk.layer: ""}
            assert (disk.origin, disk.shared, disk.size_mib) == (source.id, ("",), 64)
        assert source.layers == {"": None, source.layer: ""}, "what is shared is not copied"
        await until_no_snapshot(store)
        assert (await e.views.machine(asker, "web-1")).origin_name == "web"


async def test_a_fork_of_a_fork_goes_on_in_the_layers_of_both(store: Store) -> None:
    host = FakeHost()
    async with a_house(store, host) as (engine, asker):
        (web,) = [(await engine.views.machine(asker, "web")).machine]
        (child,) = await forked(engine, asker, intents.Fork(machine="web", name="child"))
        (grandchild,) = await forked(engine, asker, intents.Fork(machine="child", name="grandchild"))
        assert (grandchild.origin, grandchild.configured_as) == (child.id, web.id)
        between = await disk_of(engine, asker, "child-data")
        disk = await disk_of(engine, asker, "grandchild-data")
        assert len(disk.layers) == 3
        assert set(disk.shared) == set(disk.layers) - {disk.layer} == set(between.layers) - {between.layer}


async def test_a_chain_of_forks_is_never_deeper_than_any_other(store: Store) -> None:
    host = FakeHost()
    async with a_house(store, host) as (engine, asker):
        for number in range(6):
            await forked(
                engine, asker, intents.Fork(machine="web" if not number else f"f{number - 1}", name=f"f{number}")
            )
            disk = await disk_of(engine, asker, f"f{number}-data")
            assert len(disk.layers) <= 4


async def test_a_layer_that_nobody_else_has_any_more_is_merged(store: Store) -> None:
    host = FakeHost()
    async with a_house(store, host) as (engine, asker):
        await forked(engine, asker)
        await do(engine, asker, intents.Delete(machine="web-1"))
        (web,) = [(await engine.views.machine(asker, "web")).machine]
        seen = host.machines.seen[web.id]
        disk = await disk_of(engine, asker, "web-data")
        host.machines.alone(web.id, disk.id)
        await do(engine, asker, intents.Change(machine="web", labels={"now": "alone"}))
        async with asyncio.timeout(PATIENCE_S):
            while len((disk := await disk_of(engine, asker, "web-data")).layers) > 1:
                await asyncio.sleep(0)
        assert (disk.shared, seen.disks[disk.id].shared) == ((), frozenset({""}))


async def test_forks_of_a_snapshot_leave_it_as_it_is(store: Store) -> None:
    host = FakeHost()
    async with a_house(store, host) as (engine, asker):
        await do(engine, asker, intents.SnapshotCreate(machine="web", name="one"))
        held = (await disk_of(engine, asker, "web-data")).layers
        await do(engine, asker, intents.Change(machine="web", vcpus=2))
        (fork,) = await forked(engine, asker, intents.Fork(machine="web", snapshot="one"))
        assert fork.vcpus == 1
        assert (await disk_of(engine, asker, "web-data")).layers == held
        assert [row.name for row in (await engine.views.snapshots(asker, "web")).rows] == ["one"]
        await do(engine, asker, intents.SnapshotDelete(machine="web", snapshot="one"))


async def test_forks_of_a_stopped_machine_are_stopped_and_configured_when_they_start(store: Store) -> None:
    host = FakeHost()
    async with a_house(store, host) as (engine, asker):
        await do(engine, asker, intents.Stop(machine="web", force=True))
        (fork,) = await forked(engine, asker)
        assert (fork.power, fork.state, fork.configured_as) == (Power.STOPPED, State.STOPPED, "")
        await until_no_snapshot(store)
        await do(engine, asker, intents.Start(machine="web-1"))
        assert host.machines.restored == []


async def test_names_are_the_next_that_are_free(store: Store) -> None:
    host = FakeHost()
    async with a_house(store, host) as (engine, asker):
        assert [each.name for each in await forked(engine, asker)] == ["web-1"]
        again = await forked(engine, asker, intents.Fork(machine="web", count=2))
        assert [each.name for each in again] == ["web-2", "web-3"]
        alone = await forked(engine, asker, intents.Fork(machine="web", name="db"))
        assert [each.name for each in alone] == ["db"]
        several = await forked(engine, asker, intents.Fork(machine="web", name="db", count=2))
        assert [each.name for each in several] == ["db-1", "db-2"]


@pytest.mark.parametrize(
    ("spec", "before", "intent", "error", "said"),
    [
        ({}, (), intents.Fork(machine="web", count=0), Invalid, "count is 0"),
        ({}, (), intents.Fork(machine="web", name="web"), Conflict, "there is a machine 'web' already"),
        ({}, (), intents.Fork(machine="web", name="Web"), Invalid, "machine name"),
        ({}, (), intents.Fork(machine="web", snapshot="one"), NotFound, "has no snapshot 'one'"),
        ({"agent": False}, (), FORK, Conflict, "has no guest agent"),
        ({"nics": (NicSpec(model=NicModel.E1000),)}, (), FORK, Conflict, "MAC address stays"),
        ({"memory_mib": 100_000}, (), intents.Fork(machine="web", count=2), NoCapacity, "not enough memory"),
        (
            {},
            (intents.DiskCreate(name="web-1-data", size_mib=1),),
            FORK,
            Conflict,
            "there is a disk web-1-data already",
        ),
    ],
)
async def test_what_is_refused_leaves_no_trace(
    store: Store, spec: dict[str, Any], before: tuple[Intent, ...], intent: Intent, error: type[Exception], said: str
) -> None:
    host = FakeHost()
    async with a_house(store, host, **spec) as (engine, asker):
        for each in before:
            await do(engine, asker, each)
        disks = await engine.views.disks(asker)
        with pytest.raises(error, match=said):
            await engine.accept(asker, intent)
        assert await names(engine, asker) == ["web"]
        assert await engine.views.disks(asker) == disks


async def test_the_quota_counts_all_forks(store: Store) -> None:
    host = FakeHost()
    async with a_house(store, host) as (engine, asker):
        await engine.accept(asker, intents.ProjectChange(project="default", quota=Quota(machines=2)))
        with pytest.raises(Exception, match="machines"):
            await engine.accept(asker, intents.Fork(machine="web", count=2))
        await forked(engine, asker)


async def test_one_that_is_not_configured_yet_is_not_forked(store: Store) -> None:
    host = FakeHost()
    async with a_house(store, host) as (engine, asker):
        async with store.write() as tx:
            (row,) = await tx.machines.scan()
            await tx.machines.update(row.id, {}, stage=Stage.RUNNING)
        with pytest.raises(Conflict, match="is not configured yet"):
            await engine.accept(asker, FORK)


async def test_when_the_machine_cannot_be_forked_its_forks_go_and_it_stays(store: Store) -> None:
    host = FakeHost()
    async with a_house(store, host) as (engine, asker):
        host.machines.faults["take-snapshot"] = Failed("no room for its memory")
        operation = await fails(engine, asker, intents.Fork(machine="web", count=2))
        assert operation.error is not None
        assert operation.error["message"] == "no room for its memory"
        await idle(engine, asker)
        assert await names(engine, asker) == ["web"]
        assert [disk.name for disk in await engine.views.disks(asker)] == ["web-root", "web-data"]
        await until_no_snapshot(store)
        assert (await engine.views.machine(asker, "web")).machine.state is State.RUNNING
        failed = [row for row in await engine.views.operations(asker, all=True) if row.subject_name == "web-1"]
        whole = await engine.views.operation(asker, failed[-1].id)
        assert whole.error is not None
        assert "could not be forked" in whole.error["message"]


@pytest.mark.parametrize("step", ["make-disk", "start", "resume", "give-identity"])
async def test_a_fork_that_fails_goes_alone(store: Store, step: str) -> None:
    host = FakeHost()
    async with a_house(store, host) as (engine, asker):
        host.machines.faults[step] = Failed("no")
        operation = await do(engine, asker, intents.Fork(machine="web", count=2))
        await idle(engine, asker)
        assert len(operation.result["machines"]) == 2
        assert await names(engine, asker) == ["web"]
        await until_no_snapshot(store)
        assert [disk.name for disk in await engine.views.disks(asker)] == ["web-root", "web-data"]


async def test_one_fork_can_be_cancelled_and_the_others_go_on(store: Store) -> None:
    host = FakeHost()
    gate = host.machines.gates["share-layers"] = asyncio.Event()
    async with a_house(store, host) as (engine, asker):
        operation = await engine.accept(asker, intents.Fork(machine="web", count=2))
        assert isinstance(operation, Operation)
        first = next(row for row in await engine.views.operations(asker, all=False) if row.subject_name == "web-1")
        await engine.accept(asker, intents.OperationCancel(operation=first.id))
        gate.set()
        await idle(engine, asker)
        assert await names(engine, asker) == ["web", "web-2"]
        await until_no_snapshot(store)
        assert files(host) == {disk.id for disk in await engine.views.disks(asker)}


async def test_who_pushes_the_forking_aside_lets_the_forks_down(store: Store) -> None:
    host = FakeHost()
    gate = host.machines.gates["take-snapshot"] = asyncio.Event()
    async with a_house(store, host) as (engine, asker):
        await engine.accept(asker, FORK)
        deleted = await engine.accept(asker, intents.Delete(machine="web"))
        assert isinstance(deleted, Operation)
        gate.set()
        await ended(engine, asker, deleted)
        await idle(engine, asker)
        assert await names(engine, asker) == []
        assert await engine.views.disks(asker) == []
        assert files(host) == set()


async def test_a_fork_that_is_deleted_while_it_waits_leaves_nothing(store: Store) -> None:
    host = FakeHost()
    gate = host.machines.gates["share-layers"] = asyncio.Event()
    async with a_house(store, host) as (engine, asker):
        await engine.accept(asker, FORK)
        await engine.accept(asker, intents.Delete(machine="web-1"))
        gate.set()
        await idle(engine, asker)
        assert await names(engine, asker) == ["web"]
        await until_no_snapshot(store)
        assert files(host) == {disk.id for disk in await engine.views.disks(asker)}


async def test_a_fork_that_is_stopped_before_it_has_a_name_is_nobody(store: Store) -> None:
    host = FakeHost()
    async with a_house(store, host) as (engine, asker):
        host.machines.gates["give-identity"] = asyncio.Event()
        await do(engine, asker, FORK)
        stopped = await engine.accept(asker, intents.Stop(machine="web-1", force=True))
        assert isinstance(stopped, Operation)
        host.machines.gates["give-identity"].set()
        await ended(engine, asker, stopped)
        assert (await engine.views.machine(asker, "web-1")).machine.state is State.STOPPED
        await do(engine, asker, intents.Delete(machine="web-1"))
        await until_no_snapshot(store)


async def test_the_machine_may_go_while_its_forks_run(store: Store) -> None:
    host = FakeHost()
    async with a_house(store, host) as (engine, asker):
        await forked(engine, asker)
        await do(engine, asker, intents.Delete(machine="web"))
        view = await engine.views.machine(asker, "web-1")
        assert (view.machine.state, view.machine.deleting, view.origin_name) == (State.RUNNING, Deleting.NO, "")


async def test_a_snapshot_is_not_deleted_under_its_forks(store: Store) -> None:
    host = FakeHost()
    async with a_house(store, host) as (engine, asker):
        await do(engine, asker, intents.SnapshotCreate(machine="web", name="one"))
        gate = host.machines.gates["start"] = asyncio.Event()
        await do(engine, asker, intents.Fork(machine="web", snapshot="one"))
        with pytest.raises(Conflict, match="is being forked"):
            await engine.accept(asker, intents.SnapshotDelete(machine="web", snapshot="one"))
        gate.set()
        await idle(engine, asker)
        await do(engine, asker, intents.SnapshotDelete(machine="web", snapshot="one"))


async def test_nobody_sees_what_is_kept_for_forks_alone(store: Store) -> None:
    host = FakeHost()
    async with a_house(store, host) as (engine, asker):
        host.machines.gates["start"] = gate = asyncio.Event()
        await do(engine, asker, FORK)
        async with store.read() as tx:
            (kept,) = await tx.snapshots.scan()
        assert (await engine.views.snapshots(asker, "web")).rows == ()
        for reference in (kept.name, kept.id):
            with pytest.raises(NotFound):
                await engine.views.snapshot(asker, "web", reference)
        assert (await engine.views.machine(asker, "web")).machine.snapshot == ""
        gate.set()
        await idle(engine, asker)
