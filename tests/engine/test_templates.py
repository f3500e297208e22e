"""Templates are made, chosen for launches, and stay while something stands on them."""

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
from guesthouse.model.errors import Conflict, Denied, Failed, GuesthouseError, Invalid, NoCapacity, NotFound
from guesthouse.model.machine import DiskFormat, DiskSpec
from guesthouse.model.resources import Operation, OperationState, Role, Template, TemplateState
from guesthouse.ports import Store


def create(name: str = "small", **words: Any) -> intents.TemplateCreate:
    return intents.TemplateCreate(**{"image": "micro", "name": name, "memory_mib": 128, **words})


async def template_of(engine: Engine, asker: Asker, ref: str = "small") -> Template:
    return (await engine.views.template(asker, ref)).template


async def test_a_template_is_made_listed_shown_and_deleted(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, intents.TemplateCreate(image="micro", vcpus=2))
        (row,) = await engine.views.templates(asker)
        assert (row.name, row.state, row.vcpus, row.memory_mib) == ("micro-2-512", TemplateState.READY, 2, 512)
        assert (row.boot_ms, row.memory_bytes, row.state_bytes) == (5000, 64 << 20, 400 << 10)
        view = await engine.views.template(asker, row.id)
        assert (view.image_name, view.forks) == ("micro", ())
        assert (view.template.spec.vcpus, view.template.spec.nics, view.template.spec.disks) == (2, (), ())
        assert host.templates.made == {row.id}
        await do(engine, asker, intents.TemplateDelete(template="micro-2-512"))
        assert await engine.views.templates(asker) == []
        assert host.templates.made == set()


async def test_a_template_may_be_called_after_any_image(store: Store) -> None:
    async with at_work(store, FakeHost()) as (engine, asker):
        await do(engine, asker, intents.ImagePull(reference="debian:12"))
        await do(engine, asker, intents.TemplateCreate(image="debian:12"))
        assert [row.name for row in await engine.views.templates(asker)] == ["debian-12-1-512"]


async def test_one_that_fails_leaves_nothing(store: Store) -> None:
    host = FakeHost()
    host.templates.faults["make"] = Failed("the guest did not come to its gate")
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        operation = await fails(engine, asker, create())
        assert operation.error is not None
        assert "gate" in operation.error["message"]
        assert await engine.views.templates(asker) == []
        assert host.templates.made == set()
        host.templates.faults.clear()
        await do(engine, asker, create())


async def test_refusals_change_nothing(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, create())
        await do(engine, asker, launch())
        last = await engine.views.last_event()
        host.facts.has = replace(host.facts.has, memory_free_mib=1000, disk_free_mib=900)
        refusals: list[tuple[Intent, type[GuesthouseError], str]] = [
            (create(), Conflict, "name"),
            (create("Small"), Invalid, "name"),
            (create("other", image="none"), NotFound, "image"),
            (create("other", vcpus=0), Invalid, "vcpus"),
            (create("other", memory_mib=0), Invalid, "memory_mib"),
            (create("other", memory_mib=1001), NoCapacity, "memory_mib"),
            (create("other", memory_mib=900), NoCapacity, "size_mib"),
            (intents.TemplateDelete(template="none"), NotFound, "template"),
            (intents.TemplateDelete(template="small"), Conflict, "template"),
        ]
        for intent, error, field in refusals:
            with pytest.raises(error) as refused:
                await engine.accept(asker, intent)
            assert refused.value.field == field, intent
            assert refused.value.hint, intent
        with pytest.raises(Denied):
            await engine.accept(Asker(asker.project, Role.VIEWER), create("other"))
        assert await engine.views.last_event() == last


async def test_an_image_that_is_not_ready_cannot_be_frozen(store: Store) -> None:
    host = FakeHost()
    host.images.gates["publish"] = asyncio.Event()
    async with at_work(store, host) as (engine, asker):
        building = await engine.accept(asker, intents.ImageBuild(recipe="micro"))
        assert isinstance(building, Operation)
        with pytest.raises(Conflict, match="not ready: making"):
            await engine.accept(asker, create())
        host.images.gates["publish"].set()
        await ended(engine, asker, building)


async def test_a_launch_is_forked_from_the_newest_template_that_fits(store: Store) -> None:
    async with at_work(store, FakeHost()) as (engine, asker):
        await with_image(engine, asker)
        for template in (create("old"), create("small"), create("large", memory_mib=512), create("two", vcpus=2)):
            await do(engine, asker, template)
        assert (await do(engine, asker, launch())).result == {"template": "small"}
        small = await template_of(engine, asker)
        view = await engine.views.machine(asker, "web")
        assert view.machine.template == small.id
        assert [disk.template for disk in await engine.views.disks(asker)] == [small.id]
        assert (await engine.views.template(asker, "small")).forks == ("web",)
        assert (await do(engine, asker, launch("big", memory_mib=512))).result == {"template": "large"}
        assert (await do(engine, asker, launch("odd", memory_mib=256))).result == {}


async def test_only_the_root_disk_stands_on_the_template(store: Store) -> None:
    async with at_work(store, FakeHost()) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, create())
        disks = (DiskSpec(size_mib=64), DiskSpec(name="data", size_mib=64))
        await do(engine, asker, launch(disks=disks))
        small = await template_of(engine, asker)
        under = {disk.name: (bool(disk.image), disk.template) for disk in await engine.views.disks(asker)}
        assert under == {"web-root": (True, small.id), "web-data": (False, "")}


async def test_only_what_the_host_forked_is_called_a_fork(store: Store) -> None:
    host = FakeHost()
    host.machines.forks = False
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, create())
        assert (await do(engine, asker, launch())).result == {}


async def test_a_fork_is_told_of_when_it_begins_and_not_again(store: Store) -> None:
    async with at_work(store, FakeHost()) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, create())
        idle = intents.Launch(spec=launch("idle").spec, start=False)
        assert (await do(engine, asker, idle)).result == {}
        assert (await do(engine, asker, intents.Start(machine="idle"))).result == {"template": "small"}
        assert (await do(engine, asker, intents.Pause(machine="idle"))).result == {}
        await do(engine, asker, intents.Stop(machine="idle", force=True))
        assert (await do(engine, asker, intents.Start(machine="idle"))).result == {}


async def test_a_cold_launch_has_no_template(store: Store) -> None:
    async with at_work(store, FakeHost()) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, create())
        cold = intents.Launch(spec=launch().spec, cold=True)
        assert (await do(engine, asker, cold)).result == {}
        assert (await engine.views.machine(asker, "web")).machine.template == ""
        assert [disk.template for disk in await engine.views.disks(asker)] == [""]


async def test_a_template_is_used_only_while_it_is_ready(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        host.templates.gates["make"] = asyncio.Event()
        making = await engine.accept(asker, create())
        assert isinstance(making, Operation)
        assert (await do(engine, asker, launch("early"))).result == {}
        host.templates.gates["make"].set()
        await ended(engine, asker, making)
        host.templates.gates["remove"] = asyncio.Event()
        deleting = await engine.accept(asker, intents.TemplateDelete(template="small"))
        assert isinstance(deleting, Operation)
        assert (await do(engine, asker, launch("late"))).result == {}
        host.templates.gates["remove"].set()
        await ended(engine, asker, deleting)


async def test_another_projects_template_is_not_there(store: Store) -> None:
    async with at_work(store, FakeHost()) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, create())
        small = await template_of(engine, asker)
        await engine.accept(asker, intents.ProjectCreate(name="other"))
        other = await engine.access.local("other")
        stranger = Asker(other.project, Role.ADMIN)
        assert await engine.views.templates(stranger) == []
        for ref in ("small", small.id):
            with pytest.raises(NotFound):
                await engine.views.template(stranger, ref)
            with pytest.raises(NotFound):
                await engine.accept(stranger, intents.TemplateDelete(template=ref))
        assert (await do(engine, stranger, launch())).result == {}
        await do(engine, stranger, create())  # a name is taken in its own project only
        assert (await do(engine, stranger, launch("two"))).result == {"template": "small"}
        assert (await engine.views.template(stranger, "small")).forks == ("two",)
        assert (await engine.views.template(asker, "small")).forks == ()


async def test_a_template_stays_while_a_disk_stands_on_it(store: Store) -> None:
    async with at_work(store, FakeHost()) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, create())
        await do(engine, asker, launch())
        await do(engine, asker, intents.Delete(machine="web", keep_disks=True))
        with pytest.raises(Conflict, match="under 1 disks: web-root") as refused:
            await engine.accept(asker, intents.TemplateDelete(template="small"))
        assert refused.value.value == "web-root"
        await do(engine, asker, intents.DiskDelete(disk="web-root"))
        await do(engine, asker, intents.TemplateDelete(template="small"))


async def test_a_disk_that_was_converted_stands_on_nothing(store: Store) -> None:
    async with at_work(store, FakeHost()) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, create())
        await do(engine, asker, launch())
        await do(engine, asker, intents.Delete(machine="web", keep_disks=True))
        await do(engine, asker, intents.DiskConvert(disk="web-root", format=DiskFormat.RAW))
        await do(engine, asker, intents.TemplateDelete(template="small"))
        await do(engine, asker, intents.ImageDelete(image="micro"))


async def test_a_template_stays_while_something_is_done_with_it(store: Store) -> None:
    host = FakeHost()
    host.templates.gates["make"] = asyncio.Event()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        making = await engine.accept(asker, create())
        assert isinstance(making, Operation)
        with pytest.raises(Conflict, match=r"template\.create is under way") as refused:
            await engine.accept(asker, intents.TemplateDelete(template="small"))
        assert making.id in refused.value.hint
        await engine.accept(asker, intents.OperationCancel(operation=making.id))
        assert (await ended(engine, asker, making)).state is OperationState.CANCELLED
        assert await engine.views.templates(asker) == []
        assert host.templates.made == set()


async def test_an_image_stays_while_a_template_is_of_it(store: Store) -> None:
    async with at_work(store, FakeHost()) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, create())
        with pytest.raises(Conflict, match="image micro is under template small") as refused:
            await engine.accept(asker, intents.ImageDelete(image="micro"))
        assert refused.value.hint == "`guest template delete small` first"
        await do(engine, asker, intents.TemplateDelete(template="small"))
        await do(engine, asker, intents.ImageDelete(image="micro"))


async def test_a_project_stays_while_it_has_a_template(store: Store) -> None:
    async with at_work(store, FakeHost()) as (engine, asker):
        await with_image(engine, asker)
        await engine.accept(asker, intents.ProjectCreate(name="other"))
        other = await engine.access.local("other")
        await do(engine, other, create())
        with pytest.raises(Conflict, match="still holds 1 templates"):
            await engine.accept(asker, intents.ProjectDelete(project="other"))
        await do(engine, other, intents.TemplateDelete(template="small"))
        await engine.accept(asker, intents.ProjectDelete(project="other"))


async def until(engine: Engine, asker: Asker, expected: dict[str, TemplateState]) -> None:
    """Wait until the templates are these, by the begin of their names."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            rows = await engine.views.templates(asker)
            if {row.name.partition("-")[0] + ("-" if "-" in row.name else ""): row.state for row in rows} == expected:
                return
            for row in await engine.views.operations(asker, all=False):
                await ended(engine, asker, await engine.views.operation(asker, row.id))
            await asyncio.sleep(0)


async def test_one_that_another_qemu_froze_is_made_anew_and_goes_when_nothing_stands_on_it(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, create())
        await do(engine, asker, launch())
        old = await template_of(engine, asker)
    host.templates.here = "tcg, QEMU 8.0.0"
    async with at_work(store, host) as (engine, asker):
        await until(engine, asker, {"small": TemplateState.READY, "small-": TemplateState.RETIRED})
        new = await template_of(engine, asker)
        assert (new.frozen_by, new.memory_mib, new.id == old.id) == ("tcg, QEMU 8.0.0", 128, False)
        await do(engine, asker, launch("two"))
        assert (await engine.views.machine(asker, "two")).machine.template == new.id
        await do(engine, asker, intents.Delete(machine="web"))
    async with at_work(store, host) as (engine, asker):
        await until(engine, asker, {"small": TemplateState.READY})
        assert host.templates.made == {new.id}


async def test_one_of_an_image_that_has_a_newer_version_is_made_of_that(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await do(engine, asker, intents.ImageImport(source="/x.qcow2", name="web1", family="web"))
        await do(engine, asker, create(image="web"))
        await do(engine, asker, intents.ImageImport(source="/x.qcow2", name="web2", family="web"))
        await do(engine, asker, create("second", image="web1"))
    async with at_work(store, host) as (engine, asker):
        async with asyncio.timeout(PATIENCE_S):
            while (await engine.views.template(asker, "small")).image_name != "web2":
                for row in await engine.views.operations(asker, all=False):
                    await ended(engine, asker, await engine.views.operation(asker, row.id))
                await asyncio.sleep(0)
        view = await engine.views.template(asker, "second")
        assert view.image_name == "web1", "it was made of the old one knowingly"


async def test_a_public_one_serves_every_project_and_only_the_house_makes_it(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await do(engine, asker, intents.ImageImport(source="/x.qcow2", name="all", public=True))
        await do(engine, asker, intents.ImageImport(source="/x.qcow2", name="hidden"))
        await do(engine, asker, create("own", image="all"))
        await engine.accept(asker, intents.ProjectCreate(name="tenant"))
        async with store.read() as tx:
            (tenant,) = await tx.projects.select(name="tenant")
        stranger = Asker(project=tenant.id, role=Role.ADMIN)
        await do(engine, stranger, launch("one", image="all"))
        assert (await engine.views.machine(stranger, "one")).machine.template == ""
        with pytest.raises(Denied):
            await engine.accept(stranger, create("mine", image="all", public=True))
        with pytest.raises(Invalid):
            await engine.accept(asker, create("open", image="hidden", public=True))
        await do(engine, asker, create("shared", image="all", public=True))
        await do(engine, stranger, launch("two", image="all"))
        shared = await template_of(engine, asker, "shared")
        assert (await engine.views.machine(stranger, "two")).machine.template == shared.id
        with pytest.raises(NotFound):
            await engine.accept(stranger, intents.TemplateDelete(template="shared"))
