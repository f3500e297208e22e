"""What is shown of snapshots; the records are written here as the engine writes them."""

from __future__ import annotations

from random import SystemRandom
from typing import Any

import pytest
from tests.engine.house import at_work, do, launch, with_image
from tests.hosts import FakeHost

from guesthouse.engine import intents
from guesthouse.engine.engine import Engine
from guesthouse.engine.intents import Asker
from guesthouse.model.errors import NotFound
from guesthouse.model.machine import DiskSpec, Machine
from guesthouse.model.names import make_id
from guesthouse.model.resources import Held, Role, Snapshot, SnapshotRow
from guesthouse.ports import Store


async def a_machine(engine: Engine, asker: Asker, name: str = "web") -> Machine:
    await with_image(engine, asker)
    await do(engine, asker, launch(name, disks=(DiskSpec(size_mib=100), DiskSpec(name="data", size_mib=200))))
    return (await engine.views.machine(asker, name)).machine


async def keep(store: Store, machine: Machine, name: str, parent: str = "", **more: Any) -> Snapshot:
    """A snapshot of the machine as it is, on which it stands from then on."""
    sizes = {"root": 100, "data": 200}
    held = {disk.disk: Held(layer="", size_mib=sizes[disk.name]) for disk in machine.spec.disks}
    snapshot = Snapshot(
        id=make_id(SystemRandom()),
        project=machine.project,
        machine=machine.id,
        name=name,
        parent=parent,
        spec=machine.spec,
        disks=held,
        **more,
    )
    async with store.write() as tx:
        kept = await tx.snapshots.insert(snapshot)
        await tx.machines.update(machine.id, {}, snapshot=snapshot.id)
    return kept


async def test_snapshots_are_listed_in_the_order_in_which_they_were_taken(store: Store) -> None:
    async with at_work(store, FakeHost()) as (engine, asker):
        web, other = await a_machine(engine, asker), await a_machine(engine, asker, "other")
        assert (await engine.views.snapshots(asker, "web")).rows == ()
        fresh = await keep(store, web, "fresh", description="before all", memory=True, memory_bytes=1 << 20)
        later = await keep(store, web, "a-later-one", fresh.id)
        await keep(store, other, "fresh")
        view = await engine.views.snapshots(asker, web.id)
        assert [row.name for row in view.rows] == ["fresh", "a-later-one"]
        assert [row.description for row in view.rows] == ["before all", ""]
        assert view.current == later.id
        assert {type(row) for row in view.rows} == {SnapshotRow}


async def test_one_is_shown_with_its_disks_and_those_around_it(store: Store) -> None:
    async with at_work(store, FakeHost()) as (engine, asker):
        web = await a_machine(engine, asker)
        root = await keep(store, web, "root")
        fork = await keep(store, web, "fork", root.id)
        await keep(store, web, "left", fork.id)
        await keep(store, web, "right", fork.id)
        view = await engine.views.snapshot(asker, "web", "fork")
        assert view.snapshot == fork
        assert (view.machine_name, view.parent_name, view.children) == ("web", "root", ("left", "right"))
        assert [(disk.name, disk.size_mib) for disk in view.disks] == [("web-root", 100), ("web-data", 200)]
        assert not view.current
        assert (await engine.views.snapshot(asker, web.id, "right")).current
        assert (await engine.views.snapshot(asker, "web", root.id)).parent_name == ""


async def test_a_disk_that_is_gone_has_the_name_of_the_description(store: Store) -> None:
    async with at_work(store, FakeHost()) as (engine, asker):
        web = await a_machine(engine, asker)
        await keep(store, web, "fresh")
        async with store.write() as tx:
            await tx.disks.delete(web.spec.disks[1].disk)
        view = await engine.views.snapshot(asker, "web", "fresh")
        assert [disk.name for disk in view.disks] == ["web-root", "data"]


async def test_a_machine_names_the_snapshot_on_which_it_stands(store: Store) -> None:
    async with at_work(store, FakeHost()) as (engine, asker):
        web = await a_machine(engine, asker)
        assert (await engine.views.machine(asker, "web")).snapshot_name == ""
        await keep(store, web, "fresh")
        assert (await engine.views.machine(asker, "web")).snapshot_name == "fresh"


async def test_what_belongs_to_another_machine_or_project_does_not_exist(store: Store) -> None:
    async with at_work(store, FakeHost()) as (engine, asker):
        web = await a_machine(engine, asker)
        await a_machine(engine, asker, "other")
        fresh = await keep(store, web, "fresh")
        for ref in ("fresh", fresh.id, "nothing", make_id(SystemRandom())):
            with pytest.raises(NotFound) as refused:
                await engine.views.snapshot(asker, "other", ref)
            assert refused.value.hint
        await engine.accept(asker, intents.ProjectCreate(name="strangers"))
        project = (await engine.views.project(asker, "strangers")).project
        stranger = Asker(project.id, Role.ADMIN)
        for ref in ("web", web.id):
            with pytest.raises(NotFound):
                await engine.views.snapshots(stranger, ref)
            with pytest.raises(NotFound):
                await engine.views.snapshot(stranger, ref, fresh.id)
