"""How machines end: protected ones, those whose guest powers itself off, and disks that outlast them."""

from __future__ import annotations

import pytest
from tests.engine.house import PATIENCE_S, at_work, do, launch, with_image
from tests.hosts import FakeHost

from guesthouse.engine import intents
from guesthouse.engine.door_intents import Piece
from guesthouse.engine.engine import Engine
from guesthouse.engine.intents import Asker
from guesthouse.model.errors import Conflict, Invalid, NoCapacity, NotFound
from guesthouse.model.machine import Datasource, DiskSpec, MachineSpec, NicSpec, OnShutdown, State
from guesthouse.ports import Store

DISKS = (DiskSpec(), DiskSpec(name="data", size_mib=64, keep=True))


async def until_gone(engine: Engine, asker: Asker, id: str) -> None:
    with engine.changes.listen("*") as changes:
        while any(machine.id == id for machine in await engine.views.machines(asker)):
            assert await changes.wait(PATIENCE_S), "it is still there"


async def disks(engine: Engine, asker: Asker) -> dict[str, str]:
    """Who has which disk."""
    return {disk.name: disk.machine for disk in await engine.views.disks(asker)}


async def test_a_protected_machine_is_not_deleted(store: Store) -> None:
    async with at_work(store, FakeHost()) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch(protected=True))
        with pytest.raises(Conflict) as caught:
            await engine.accept(asker, intents.Delete(machine="web"))
        assert (caught.value.field, caught.value.subject) == ("protected", "machine web")
        await do(engine, asker, intents.Stop(machine="web"))
        await do(engine, asker, intents.Fork(machine="web", name="copy"))
        await do(engine, asker, intents.Delete(machine="copy"))
        await do(engine, asker, intents.Change(machine="web", protected=False))
        await do(engine, asker, intents.Delete(machine="web"))
        with pytest.raises(NotFound):
            await engine.views.machine(asker, "web")


@pytest.mark.parametrize("protected", [False, True])
async def test_a_machine_goes_when_its_guest_powers_itself_off(store: Store, protected: bool) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        wanted = launch(on_shutdown=OnShutdown.DELETE, protected=protected, disks=DISKS)
        piece = Piece(intent=wanted, kind="instance", document={"a": 1})
        (made,) = await engine.accept.together(asker, [piece], door="ec2")
        await engine.views.ended(asker, [made.accepted], wait_s=PATIENCE_S)
        host.machines.power_off(made.id)
        await until_gone(engine, asker, made.id)
        assert await disks(engine, asker) == {"web-data": ""}
        (record,) = (await engine.stock(asker, ("door_records",))).records.values()
        assert record.gone_at
        assert record.document == {"a": 1, "by_itself": True}
        kinds = [event.kind for event in await engine.views.events(asker, after=0, limit=1000)]
        assert kinds[-2:] == ["machine.powered-off", "machine.deleted"]
    assert not host.machines.seen[made.id].folder


async def test_one_with_snapshots_and_a_disk_to_keep_stays(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        launched = await do(engine, asker, launch(on_shutdown=OnShutdown.DELETE, disks=DISKS))
        await do(engine, asker, intents.SnapshotCreate(machine="web", name="before"))
        with engine.changes.listen("*") as changes:
            host.machines.power_off(launched.subject)
            while (await engine.views.machine(asker, "web")).machine.state is not State.STOPPED:
                assert await changes.wait(PATIENCE_S)
        with pytest.raises(Conflict, match="snapshots"):
            await engine.accept(asker, intents.Delete(machine="web"))
        await do(engine, asker, intents.Change(machine="web", keep={"data": False}))
        await do(engine, asker, intents.Delete(machine="web"))
        assert await disks(engine, asker) == {}


async def test_a_stop_that_was_asked_for_deletes_nothing(store: Store) -> None:
    async with at_work(store, FakeHost()) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch(on_shutdown=OnShutdown.DELETE))
        await do(engine, asker, intents.Stop(machine="web"))
        assert (await engine.views.machine(asker, "web")).machine.state is State.STOPPED


async def test_disks_to_keep_outlast_a_deleted_machine(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        launched = await do(engine, asker, launch(disks=DISKS))
        await do(engine, asker, intents.Change(machine="web", keep={"root": True}))
        machine = (await engine.views.machine(asker, "web")).machine
        assert machine.status.pending_restart == (), "what is to be kept is nothing that a guest would see"
        await do(engine, asker, intents.Change(machine="web", keep={"root": False}))
        with pytest.raises(Invalid, match="no disk 'dato'"):
            await engine.accept(asker, intents.Change(machine="web", keep={"dato": True}))
        await do(engine, asker, intents.Delete(machine="web"))
        assert await disks(engine, asker) == {"web-data": ""}
        assert len(host.machines.seen[launched.subject].disks) == 1
        await do(engine, asker, intents.DiskDelete(disk="web-data"))


async def test_a_type_is_a_size(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, intents.Launch(spec=MachineSpec(name="web", type="i4i.large")))
        machine = (await engine.views.machine(asker, "web")).machine
        assert (machine.spec.type, machine.vcpus, machine.memory_mib) == ("i4i.large", 2, 16384)
        assert list(await disks(engine, asker)) == ["web-root", "web-store-0"]
        await do(engine, asker, intents.Launch(spec=MachineSpec(name="db", type="t3.micro")))
        await do(engine, asker, intents.Change(machine="db", type="m7i.large"))
        await do(engine, asker, intents.Change(machine="db", memory_mib=4096))
        assert (await engine.views.machine(asker, "db")).machine.spec.type == ""
        for wanted in (
            intents.Launch(spec=MachineSpec(name="big", type="m7i.24xlarge")),
            intents.Change(machine="db", type="g5.xlarge"),
        ):
            with pytest.raises((NoCapacity, Invalid)) as caught:
                await engine.accept(asker, wanted)
            assert caught.value.field == "type"


async def test_user_data_changes_where_the_metadata_service_tells_it(store: Store) -> None:
    async with at_work(store, FakeHost(), networks=True) as (engine, asker):
        await with_image(engine, asker)
        nics, told = (NicSpec(network="default"),), Datasource.METADATA
        await do(engine, asker, launch(nics=nics, datasource=told, user_data="key=value"))
        await do(engine, asker, intents.Change(machine="web", user_data="other"))
        assert (await engine.views.machine(asker, "web")).machine.spec.user_data_bytes == b"other"
        await do(engine, asker, launch("db"))
        with pytest.raises(Conflict, match="seed disk"):
            await engine.accept(asker, intents.Change(machine="db", user_data="#!/bin/sh"))
        with pytest.raises(Invalid, match="begins with"):
            await engine.accept(asker, launch("mail", user_data="key=value"))
