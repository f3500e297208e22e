"""Hibernated machines as records: what is kept, what goes on from it, what is refused, and what is undone."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.engine.house import at_work, do, ended, fails, launch, with_image
from tests.engine.test_snapshots import DATA, disk_of, machine_of, settled
from tests.hosts import FakeHost
from tests.patience import PATIENCE_S

from guesthouse.decide.hibernation import is_hibernated
from guesthouse.decide.layers import layers_of
from guesthouse.engine import intents, nic_intents
from guesthouse.engine.engine import Engine
from guesthouse.engine.intents import Asker, Intent
from guesthouse.model.errors import Conflict, Failed, Invalid, NoCapacity
from guesthouse.model.machine import DiskSpec, Firmware, NicSpec, Power, Stage, State
from guesthouse.model.resources import Operation, OperationState, Snapshot, SnapshotState
from guesthouse.ports import Store

HIBERNATE = intents.Stop(machine="web", hibernate=True)
START = intents.Start(machine="web")
COLD = intents.Start(machine="web", cold=True)
FORCE = intents.Stop(machine="web", force=True)


async def snapshots(store: Store) -> list[Snapshot]:
    async with store.read() as tx:
        return await tx.snapshots.select()


async def forgotten(store: Store) -> None:
    """Nothing is left of what was kept."""
    async with asyncio.timeout(PATIENCE_S):
        while await snapshots(store):
            await asyncio.sleep(0)


async def asleep(engine: Engine, asker: Asker) -> None:
    """There is a machine, hibernated."""
    await with_image(engine, asker)
    for intent in (launch(disks=(DATA,)), HIBERNATE):
        await do(engine, asker, intent)


async def under_way(engine: Engine, asker: Asker, intent: Intent, gate: asyncio.Event) -> Operation:
    """An operation that has come to a gate."""
    operation = await engine.accept(asker, intent)
    assert isinstance(operation, Operation)
    while operation.phase != "waiting at the gate":
        after, operation = operation.stamp, await engine.views.operation(asker, operation.id)
        if operation.stamp == after:
            await asyncio.sleep(0)
    assert not gate.is_set()
    return operation


async def test_a_machine_goes_on_from_its_memory_once(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await asleep(engine, asker)
        machine, (kept,) = await machine_of(engine, asker), await snapshots(store)
        assert (machine.state, machine.power, is_hibernated(machine)) == (State.STOPPED, Power.STOPPED, True)
        assert (kept.state, kept.memory, kept.passing, kept.settle) == (SnapshotState.READY, True, True, False)
        assert (await engine.views.snapshots(asker, "web")).rows == ()
        assert [seen.process for seen in host.machines.seen.values()] == [None]
    async with at_work(store, host, boot_id="boot-2") as (engine, asker):
        await do(engine, asker, START)
        assert host.machines.restored == [kept.id]
        machine = await machine_of(engine, asker)
        assert (machine.state, machine.stage, machine.restore) == (State.RUNNING, Stage.CONFIGURED, "")
        disk = await settled(engine, asker, host)
        assert set(disk.layers) == {disk.layer}
        await forgotten(store)
        for intent in (intents.Stop(machine="web"), START, intents.Restart(machine="web")):
            await do(engine, asker, intent)
        assert host.machines.restored == [kept.id]


async def test_it_stands_still_before_its_memory_is_kept(store: Store) -> None:
    host = FakeHost()
    gate = host.machines.gates["take-snapshot"] = asyncio.Event()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch(disks=(DATA,)))
        operation = await under_way(engine, asker, HIBERNATE, gate)
        (seen,) = host.machines.seen.values()
        assert seen.process is not None
        assert seen.process.runstate == "paused"
        gate.set()
        assert (await ended(engine, asker, operation)).state is OperationState.DONE


async def test_a_start_without_the_memory_boots(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await asleep(engine, asker)
        await do(engine, asker, COLD)
        await settled(engine, asker, host)
        assert host.machines.restored == []
        assert await snapshots(store) == []
        for intent in (intents.Restart(machine="web"), HIBERNATE, START):
            await do(engine, asker, intent)
        assert len(host.machines.restored) == 1


async def test_a_start_that_fails_leaves_it_hibernated_until_one_succeeds(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await asleep(engine, asker)
        before = layers_of(await disk_of(engine, asker))
        # It has gone on from the memory each time, and was ended before its vCPUs ran, or soon after.
        host.machines.faults["resume"] = Failed("no")
        for intent in (START, COLD, START):
            await fails(engine, asker, intent)
            machine = await machine_of(engine, asker)
            assert is_hibernated(machine)
            assert (machine.power, layers_of(await disk_of(engine, asker))) == (Power.STOPPED, before)
        del host.machines.faults["resume"]
        await do(engine, asker, START)
        assert len(host.machines.restored) == 3
        assert not is_hibernated(await machine_of(engine, asker))


async def test_one_that_cannot_be_hibernated_runs_on(store: Store) -> None:
    host = FakeHost()
    host.machines.faults["take-snapshot"] = NoCapacity("the disk is full")
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch(disks=(DATA,)))
        await fails(engine, asker, HIBERNATE)
        machine = await machine_of(engine, asker)
        assert (machine.state, machine.power, machine.restore) == (State.RUNNING, Power.RUNNING, "")
        await settled(engine, asker, host)
        await forgotten(store)


@pytest.mark.parametrize("step", ["take-snapshot", "kill"])
async def test_one_that_is_cancelled_runs_on(store: Store, step: str) -> None:
    host = FakeHost()
    gate = host.machines.gates[step] = asyncio.Event()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch(disks=(DATA,)))
        operation = await under_way(engine, asker, HIBERNATE, gate)
        await engine.accept(asker, intents.OperationCancel(operation=operation.id))
        assert (await ended(engine, asker, operation)).state is OperationState.CANCELLED
        machine = await machine_of(engine, asker)
        assert (machine.state, is_hibernated(machine)) == (State.RUNNING, False)


@pytest.mark.parametrize("step", ["take-snapshot", "kill"])
async def test_a_stop_by_force_pushes_it_aside(store: Store, step: str) -> None:
    host = FakeHost()
    gate = host.machines.gates[step] = asyncio.Event()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch(disks=(DATA,)))
        await under_way(engine, asker, HIBERNATE, gate)
        stopping = await engine.accept(asker, FORCE)
        assert isinstance(stopping, Operation)
        gate.set()
        assert (await ended(engine, asker, stopping)).state is OperationState.DONE
        assert not is_hibernated(await machine_of(engine, asker))
        await settled(engine, asker, host)
        await forgotten(store)
        await do(engine, asker, START)
        assert host.machines.restored == []


@pytest.mark.parametrize("start", [START, COLD])
async def test_a_stop_by_force_in_the_middle_of_going_on_loses_the_memory(store: Store, start: Intent) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await asleep(engine, asker)
        gate = host.machines.gates["resume"] = asyncio.Event()
        await under_way(engine, asker, start, gate)
        stopping = await engine.accept(asker, FORCE)
        assert isinstance(stopping, Operation)
        gate.set()
        assert (await ended(engine, asker, stopping)).state is OperationState.DONE
        await settled(engine, asker, host)
        await forgotten(store)
        await do(engine, asker, START)
        assert (await machine_of(engine, asker)).restore == ""


async def test_what_is_so_already_changes_nothing(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await asleep(engine, asker)
        for intent in (HIBERNATE, intents.Stop(machine="web"), FORCE):
            await do(engine, asker, intent)
            assert is_hibernated(await machine_of(engine, asker))
        await do(engine, asker, START)
        assert len(host.machines.restored) == 1


ONE = NicSpec(mac="52:54:00:00:00:01")


@pytest.mark.parametrize(
    "intent",
    [
        intents.Change(machine="web", vcpus=2),
        intents.Change(machine="web", memory_mib=256),
        intents.Change(machine="web", firmware=Firmware.BIOS),
        intents.Change(machine="web", nics=()),
        intents.Change(machine="web", type="t3.small"),
        nic_intents.NicAdd(machine="web"),
        intents.DiskAttach(disk="more", machine="web"),
        intents.DiskDetach(disk="web-data"),
        intents.DiskResize(disk="web-data", size_mib=128),
        intents.SnapshotCreate(machine="web"),
        intents.SnapshotRevert(machine="web", snapshot="one"),
        intents.SnapshotDelete(machine="web", snapshot="one"),
        intents.Fork(machine="web"),
        intents.ImageCreate(machine="web", name="second", disk="web-data"),
        intents.Restart(machine="web"),
        intents.Pause(machine="web"),
        intents.Resume(machine="web"),
    ],
    ids=lambda intent: type(intent).__name__,
)
async def test_what_its_memory_contradicts_is_refused(store: Store, intent: Intent) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        disk = intents.DiskCreate(name="more", size_mib=64)
        taking = intents.SnapshotCreate(machine="web", name="one")
        for before in (launch(disks=(DATA,), nics=(ONE,)), disk, taking, HIBERNATE):
            await do(engine, asker, before)
        with pytest.raises(Conflict, match=r"is hibernated|is stopped") as refused:
            await engine.accept(asker, intent)
        assert "guest start web" in refused.value.hint
        await do(engine, asker, START)
        assert len(host.machines.restored) == 1


async def test_what_people_call_it_may_change(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await asleep(engine, asker)
        for intent in (
            intents.Change(machine="web", labels={"a": "b"}, protected=True, keep={"data": True}),
            intents.Rename(machine="web", name="www"),
            intents.Start(machine="www"),
        ):
            await do(engine, asker, intent)
        machine = (await engine.views.machine(asker, "www")).machine
        assert (machine.spec.labels, machine.spec.disks[1].keep) == ({"a": "b"}, True)
        assert len(host.machines.restored) == 1


async def test_it_can_be_deleted_and_leave_its_disks(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await asleep(engine, asker)
        await do(engine, asker, intents.Delete(machine="web", keep_disks=True))
        assert await snapshots(store) == []
        disk = await disk_of(engine, asker)
        assert (disk.machine, disk.layers) == ("", {})


async def test_a_fork_is_hibernated_as_any_machine(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch(disks=(DATA,)))
        forked = await do(engine, asker, intents.Fork(machine="web", name="child"))
        await ended(engine, asker, await engine.views.operation(asker, forked.result["machines"][0]["operation"]))
        await do(engine, asker, intents.Stop(machine="child", hibernate=True))
        await do(engine, asker, intents.Start(machine="child"))
        machine = (await engine.views.machine(asker, "child")).machine
        assert (machine.state, machine.stage, machine.restore) == (State.RUNNING, Stage.CONFIGURED, "")
        assert len(host.machines.restored) == 2


async def test_one_with_autostart_goes_on_when_the_host_was_started_again(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host, boot_id="boot-1") as (engine, asker):
        await with_image(engine, asker)
        for intent in (launch(autostart=True), HIBERNATE):
            await do(engine, asker, intent)
    async with at_work(store, host, boot_id="boot-2") as (engine, asker):
        for row in await engine.views.operations(asker, all=True):
            await ended(engine, asker, await engine.views.operation(asker, row.id))
        machine = await machine_of(engine, asker)
        assert (machine.state, is_hibernated(machine), len(host.machines.restored)) == (State.RUNNING, False, 1)


@pytest.mark.parametrize(
    ("before", "intent", "error"),
    [
        ((intents.Stop(machine="web"),), HIBERNATE, Conflict),
        ((), intents.Stop(machine="web", hibernate=True, force=True), Invalid),
        ((), COLD, Conflict),
        ((intents.Stop(machine="web"),), COLD, Conflict),
    ],
)
async def test_what_makes_no_sense_is_refused(
    store: Store, before: tuple[Intent, ...], intent: Intent, error: type[Exception]
) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        for each in (launch(disks=(DiskSpec(name="data", size_mib=64),)), *before):
            await do(engine, asker, each)
        with pytest.raises(error):
            await engine.accept(asker, intent)


async def test_memory_for_which_there_is_no_room_is_refused(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch(disks=(DATA,)))
        host.facts.has = replace(host.facts.has, disk_free_mib=64)
        with pytest.raises(NoCapacity):
            await engine.accept(asker, HIBERNATE)
        assert await snapshots(store) == []
