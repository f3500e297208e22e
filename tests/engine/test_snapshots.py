"""Snapshots as records: the tree, the layers that follow from it, and what is refused or undone."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from tests.engine.house import at_work, do, ended, fails, launch, with_image
from tests.hosts import FakeHost
from tests.patience import PATIENCE_S

from guesthouse.engine import intents
from guesthouse.engine.engine import Engine
from guesthouse.engine.intents import Asker, Intent
from guesthouse.model.errors import Conflict, Failed, GuesthouseError, Invalid, NoCapacity, NotFound
from guesthouse.model.machine import DiskFormat, DiskSpec, Forward, Machine, NicSpec, Power, Stage, State
from guesthouse.model.resources import Disk, Operation, OperationState, Snapshot, SnapshotState
from guesthouse.ports import Store

DATA = DiskSpec(name="data", size_mib=64)


def take(name: str, **words: Any) -> intents.SnapshotCreate:
    return intents.SnapshotCreate(machine="web", name=name, **words)


def revert(name: str, power: Power | None = None) -> intents.SnapshotRevert:
    return intents.SnapshotRevert(machine="web", snapshot=name, power=power)


def drop(name: str) -> intents.SnapshotDelete:
    return intents.SnapshotDelete(machine="web", snapshot=name)


async def machine_of(engine: Engine, asker: Asker) -> Machine:
    return (await engine.views.machine(asker, "web")).machine


async def disk_of(engine: Engine, asker: Asker, name: str = "web-data") -> Disk:
    return next(disk for disk in await engine.views.disks(asker) if disk.name == name)


async def tree(store: Store) -> dict[str, str]:
    """Snapshots by name, each with its parent's name."""
    async with store.read() as tx:
        rows = await tx.snapshots.select()
    names = {row.id: row.name for row in rows}
    return {row.name: names.get(row.parent, "") for row in rows}


async def snapshot_of(store: Store, name: str) -> Snapshot:
    async with store.read() as tx:
        return next(row for row in await tx.snapshots.select() if row.name == name)


async def settled(engine: Engine, asker: Asker, host: FakeHost) -> Disk:
    """The machine's disk, when its files are what is wanted."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            disk = await disk_of(engine, asker)
            (seen,) = (seen.disks[disk.id] for seen in host.machines.seen.values() if disk.id in seen.disks)
            if seen.layers == (disk.layers or {"": None}):
                return disk
            for row in await engine.views.operations(asker, all=False):
                await ended(engine, asker, await engine.views.operation(asker, row.id))
            await asyncio.sleep(0)


async def test_a_snapshot_keeps_a_layer_and_the_machine_goes_on_in_another(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch(disks=(DATA,)))
        operation = await do(engine, asker, take("one", description="before the change"))
        assert operation.result == {"snapshot": "one", "pause_ms": 40}
        one, disk, machine = (
            await snapshot_of(store, "one"),
            await disk_of(engine, asker),
            await machine_of(engine, asker),
        )
        assert (one.state, one.power, one.memory, one.pause_ms) == (SnapshotState.READY, Power.RUNNING, True, 40)
        assert one.disks[disk.id].layer == ""
        assert disk.layers == {"": None, disk.layer: ""}
        assert machine.snapshot == one.id
        assert machine.state is State.RUNNING
        await do(engine, asker, intents.SnapshotCreate(machine="web"))
        assert await tree(store) == {"one": "", "s1": "one"}


async def test_a_revert_goes_on_from_the_memory_once_and_a_new_branch_begins(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch(disks=(DATA,)))
        for name in ("one", "two"):
            await do(engine, asker, take(name))
        await do(engine, asker, intents.Change(machine="web", vcpus=2))
        await do(engine, asker, intents.Rename(machine="web", name="www"))
        await do(engine, asker, intents.SnapshotRevert(machine="www", snapshot="one"))
        machine = (await engine.views.machine(asker, "www")).machine
        one = await snapshot_of(store, "one")
        assert host.machines.restored == [one.id]
        assert (machine.vcpus, machine.power, machine.stage) == (1, Power.RUNNING, Stage.CONFIGURED)
        await do(engine, asker, intents.SnapshotCreate(machine="www", name="three"))
        assert await tree(store) == {"one": "", "two": "one", "three": "one"}
        await do(engine, asker, intents.Stop(machine="www"))
        await do(engine, asker, intents.Start(machine="www"))
        assert host.machines.restored == [one.id]
        disk = await settled(engine, asker, host)
        two, three = await snapshot_of(store, "two"), await snapshot_of(store, "three")
        assert set(disk.layers) == {"", two.disks[disk.id].layer, three.disks[disk.id].layer, disk.layer}


@pytest.mark.parametrize(
    ("before", "told", "power", "restored"),
    [
        ((), None, Power.RUNNING, 1),
        ((), Power.PAUSED, Power.PAUSED, 1),
        ((), Power.STOPPED, Power.STOPPED, 0),
        ((intents.Pause(machine="web"),), None, Power.PAUSED, 1),
        ((intents.Pause(machine="web"),), Power.RUNNING, Power.RUNNING, 1),
        ((intents.Stop(machine="web"),), None, Power.STOPPED, 0),
        ((intents.Stop(machine="web"),), Power.RUNNING, Power.RUNNING, 0),
    ],
)
async def test_it_is_reverted_to_as_it_was_or_as_told(
    store: Store, before: tuple[Intent, ...], told: Power | None, power: Power, restored: int
) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        for intent in (launch(disks=(DATA,)), *before, take("one"), revert("one", told)):
            await do(engine, asker, intent)
        assert (await machine_of(engine, asker)).power is power
        assert len(host.machines.restored) == restored


async def test_deleting_the_middle_one_merges_it_into_the_next(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        for intent in (launch(disks=(DATA,)), take("one"), take("two"), take("three")):
            await do(engine, asker, intent)
        two = await snapshot_of(store, "two")
        await do(engine, asker, drop("two"))
        disk = await settled(engine, asker, host)
        assert await tree(store) == {"one": "", "three": "one"}
        assert two.disks[disk.id].layer not in disk.layers
        assert (await snapshot_of(store, "three")).disks[disk.id].layer in disk.layers
        for name in ("one", "three"):
            await do(engine, asker, drop(name))
        disk = await settled(engine, asker, host)
        assert disk.layers == {disk.layer: None}
        assert (await machine_of(engine, asker)).snapshot == ""


async def test_a_node_with_two_branches_is_hidden_until_one_is_left(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        for intent in (launch(disks=(DATA,)), take("one"), take("two"), revert("one"), take("three"), drop("one")):
            await do(engine, asker, intent)
        disk = await settled(engine, asker, host)
        assert await tree(store) == {"two": "", "three": ""}
        assert "" in disk.layers
        await do(engine, asker, drop("two"))
        disk = await settled(engine, asker, host)
        assert "" not in disk.layers


async def test_a_chain_of_layers_stays_short_by_itself(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch(disks=(DATA,)))
        for number in range(6):
            await do(engine, asker, take(f"n{number}"))
            disk = await settled(engine, asker, host)
            depth, layer = 0, disk.layers[disk.layer]
            while layer is not None:
                depth, layer = depth + 1, disk.layers[layer]
            assert depth <= 3
        merged = [row for row in await engine.views.operations(asker, all=True) if row.kind == "snapshot.merge"]
        assert {row.state for row in merged} == {OperationState.DONE}
        assert merged


async def test_what_is_asked_for_goes_before_a_merge(store: Store) -> None:
    host = FakeHost()
    gate = host.machines.gates["merge-layer"] = asyncio.Event()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch(disks=(DATA,)))
        for number in range(4):
            await do(engine, asker, take(f"n{number}"))
        await do(engine, asker, intents.Stop(machine="web"))
        await do(engine, asker, intents.Start(machine="web"))
        gate.set()
        await settled(engine, asker, host)


async def test_one_that_fails_leaves_no_trace(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch(disks=(DATA,)))
        host.machines.faults["take-snapshot"] = NoCapacity("the disk is full")
        operation = await fails(engine, asker, take("one"))
        assert operation.error is not None
        assert "full" in operation.error["message"]
        disk = await settled(engine, asker, host)
        assert (disk.layer, await tree(store)) == ("", {})
        machine = await machine_of(engine, asker)
        assert (machine.state, machine.snapshot) == (State.RUNNING, "")
        del host.machines.faults["take-snapshot"]
        await do(engine, asker, take("one"))


async def test_a_disk_whose_new_layer_may_have_been_written_to_stays_in_it(store: Store) -> None:
    """QEMU ended after it had switched: nobody can say what it wrote where."""
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch(disks=(DATA,)))
        gate = host.machines.gates["take-snapshot"] = asyncio.Event()
        host.machines.faults["take-snapshot"] = Failed("QEMU is gone")
        accepted = await engine.accept(asker, take("one"))
        assert isinstance(accepted, Operation)
        disk = await disk_of(engine, asker)
        ((machine, seen),) = host.machines.seen.items()
        files = replace(seen.disks[disk.id], layers={"": None, disk.layer: ""})
        host.machines.seen[machine] = replace(seen, disks={**seen.disks, disk.id: files}, process=None)
        gate.set()
        await ended(engine, asker, accepted)
        assert (await settled(engine, asker, host)).layers == {disk.layer: None}


async def test_one_that_cannot_be_gone_on_from_leaves_the_machine_running(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        for intent in (launch(disks=(DATA,)), take("one")):
            await do(engine, asker, intent)
        before, disk = await machine_of(engine, asker), await disk_of(engine, asker)
        host.machines.faults["give-way"] = Conflict("it was taken by another QEMU")
        await fails(engine, asker, revert("one"))
        after = await machine_of(engine, asker)
        assert (after.state, after.status.pid, after.restart_epoch) == (State.RUNNING, before.status.pid, 0)
        assert (await settled(engine, asker, host)).layer == disk.layer


async def test_one_that_does_not_start_leaves_the_machine_stopped_with_what_it_had(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        for intent in (launch(disks=(DATA,)), take("one")):
            await do(engine, asker, intent)
        disk = await disk_of(engine, asker)
        host.machines.faults["start"] = Failed("no")
        await fails(engine, asker, revert("one"))
        assert (await machine_of(engine, asker)).state is State.STOPPED
        assert (await settled(engine, asker, host)).layer == disk.layer


async def test_a_failed_merge_is_not_tried_for_ever(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        for intent in (launch(disks=(DATA,)), take("one"), take("two")):
            await do(engine, asker, intent)
        host.machines.faults["merge-layer"] = NoCapacity("the disk is full")
        await fails(engine, asker, drop("one"))
        assert (await snapshot_of(store, "one")).state is SnapshotState.READY
        assert await tree(store) == {"one": "", "two": "one"}
        await do(engine, asker, intents.Stop(machine="web"))
        del host.machines.faults["merge-layer"]
        await do(engine, asker, drop("one"))
        assert await tree(store) == {"two": ""}


async def test_disks_come_back_as_large_as_they_were_and_others_are_let_go(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        for intent in (
            launch(disks=(DATA,)),
            take("one"),
            intents.DiskResize(disk="web-data", size_mib=128),
            intents.DiskCreate(name="more", size_mib=64),
            intents.DiskAttach(disk="more", machine="web"),
            intents.DiskDetach(disk="web-data"),
            revert("one"),
        ):
            await do(engine, asker, intent)
        data, more = await disk_of(engine, asker), await disk_of(engine, asker, "more")
        machine = await machine_of(engine, asker)
        assert (data.size_mib, data.machine, more.machine) == (64, machine.id, "")
        assert [disk.disk for disk in machine.spec.disks][1:] == [data.id]


REFUSED: dict[str, tuple[tuple[Intent, ...], Intent, type[GuesthouseError], str]] = {
    "a taken name": ((take("one"),), take("one"), Conflict, "name"),
    "a bad name": ((), take("a b"), Invalid, "name"),
    "an unknown one": ((), revert("one"), NotFound, "snapshot"),
    "freezing with memory": ((), take("one", quiesce=True), Invalid, "quiesce"),
    "freezing what is stopped": (
        (intents.Stop(machine="web"),),
        take("one", quiesce=True, disks_only=True),
        Conflict,
        "quiesce",
    ),
    "keeping disks": ((take("one"),), intents.Delete(machine="web", keep_disks=True), Conflict, "keep_disks"),
    "deleting a held disk": (
        (take("one"), intents.DiskDetach(disk="web-data")),
        intents.DiskDelete(disk="web-data"),
        Conflict,
        "snapshot",
    ),
    "converting a held disk": (
        (take("one"), intents.DiskDetach(disk="web-data")),
        intents.DiskConvert(disk="web-data", format=DiskFormat.RAW),
        Conflict,
        "snapshot",
    ),
    "giving a held disk away": (
        (take("one"), intents.DiskDetach(disk="web-data"), launch("other")),
        intents.DiskAttach(disk="web-data", machine="other"),
        Conflict,
        "snapshot",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_it_is_refused(store: Store, case: str) -> None:
    before, ask, kind, field = REFUSED[case]
    async with at_work(store, FakeHost()) as (engine, asker):
        await with_image(engine, asker)
        for intent in (launch(disks=(DATA,)), *before):
            await do(engine, asker, intent)
        with pytest.raises(kind) as caught:
            await engine.accept(asker, ask)
        assert caught.value.field == field


async def test_a_port_that_was_taken_meanwhile_is_named_before_anything_changes(store: Store) -> None:
    host = FakeHost()
    nic = NicSpec(forwards=(Forward(guest_port=22), Forward(guest_port=80, host_port=8080)))
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        for intent in (
            launch(disks=(DATA,), nics=(nic,)),
            take("one"),
            intents.ForwardRemove(machine="web", guest_port=80),
        ):
            await do(engine, asker, intent)
        host.facts.taken.add(8080)
        with pytest.raises(Conflict, match="8080"):
            await engine.accept(asker, revert("one"))
        assert (await disk_of(engine, asker)).layers != {}
        assert (await machine_of(engine, asker)).state is State.RUNNING


async def test_all_of_them_go_with_their_machine(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        for intent in (launch(disks=(DATA,)), take("one"), take("two"), intents.Delete(machine="web")):
            await do(engine, asker, intent)
        assert await tree(store) == {}
        assert all(not seen.snapshots and not seen.disks for seen in host.machines.seen.values())


async def test_a_disk_that_was_detached_outlasts_them_all_alone(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        for intent in (launch(disks=(DATA,)), take("one"), take("two"), intents.DiskDetach(disk="web-data")):
            await do(engine, asker, intent)
        disk = await disk_of(engine, asker)
        await do(engine, asker, intents.Delete(machine="web"))
        assert (await disk_of(engine, asker)).layers == {disk.layer: None}
        (seen,) = host.machines.seen.values()
        assert seen.disks[disk.id].layers == {disk.layer: None}
        assert not seen.snapshots
        await do(engine, asker, intents.DiskConvert(disk="web-data", format=DiskFormat.RAW))
        assert (await disk_of(engine, asker)).layers == {}


async def test_a_renamed_one_is_found_by_its_new_name(store: Store) -> None:
    async with at_work(store, FakeHost()) as (engine, asker):
        await with_image(engine, asker)
        for intent in (launch(), take("one"), take("two")):
            await do(engine, asker, intent)
        renamed = await engine.accept(asker, intents.SnapshotRename(machine="web", snapshot="one", name="first"))
        assert isinstance(renamed, Snapshot)
        assert renamed.name == "first"
        assert await tree(store) == {"first": "", "two": "first"}
        with pytest.raises(Conflict):
            await engine.accept(asker, intents.SnapshotRename(machine="web", snapshot="first", name="two"))
