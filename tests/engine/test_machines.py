"""What is asked of machines is done, refused by name, or undone without a trace."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import msgspec
import pytest
from tests.engine.house import PATIENCE_S, at_work, do, ended, launch, with_image
from tests.hosts import FakeHost

from guesthouse.engine import intents
from guesthouse.engine.engine import Engine
from guesthouse.engine.intents import Asker
from guesthouse.model.errors import Conflict, Denied, Failed, Invalid, NoCapacity, NotFound, QuotaExceeded
from guesthouse.model.machine import DiskFormat, DiskSpec, Forward, MachineSpec, NicSpec, Power, Stage, State
from guesthouse.model.resources import DiskState, Operation, OperationState, Quota, Role
from guesthouse.ports import Store


async def machine_of(engine: Engine, asker: Asker, ref: str = "web"):
    return (await engine.views.machine(asker, ref)).machine


async def settled(engine: Engine, asker: Asker, ref: str, state: State):
    """The machine once it is in that state."""
    with engine.changes.listen("*") as changes:
        while (machine := await machine_of(engine, asker, ref)).state is not state:
            assert await changes.wait(PATIENCE_S), f"still {machine.state}"
    return machine


async def nothing_left(store: Store, host: FakeHost) -> None:
    """No machine, no disk, no file, no process."""
    async with store.read() as tx:
        assert await tx.machines.scan() == []
        assert await tx.disks.select() == []
    assert not any(seen.process or seen.folder or seen.disks for seen in host.machines.seen.values())


async def test_a_life(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        launched = await do(engine, asker, launch())
        machine = await machine_of(engine, asker)
        assert (machine.state, machine.stage) == (State.RUNNING, Stage.CONFIGURED)
        assert launched.subject == machine.id
        assert [disk.name for disk in await engine.views.disks(asker)] == ["web-root"]
        await do(engine, asker, intents.Pause(machine="web"))
        assert (await machine_of(engine, asker)).state is State.PAUSED
        await do(engine, asker, intents.Resume(machine="web"))
        await do(engine, asker, intents.Restart(machine="web"))
        assert (await machine_of(engine, asker)).restart_epoch == 1
        await do(engine, asker, intents.Stop(machine="web"))
        assert (await machine_of(engine, asker)).state is State.STOPPED
        await do(engine, asker, intents.Start(machine=machine.id))
        await do(engine, asker, intents.Rename(machine="web", name="www"))
        await do(engine, asker, intents.Delete(machine="www"))
        with pytest.raises(NotFound):
            await machine_of(engine, asker, machine.id)
        kinds = [event.kind for event in await engine.views.events(asker, after=0, limit=1000)]
    await nothing_left(store, host)
    assert "machine.configured" in kinds
    assert kinds.index("machine.launch.accepted") < kinds.index("machine.launch.done") < kinds.index("machine.deleted")


async def test_asking_for_what_is_so_changes_nothing(store: Store) -> None:
    async with at_work(store, FakeHost()) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch())
        before = await machine_of(engine, asker)
        await do(engine, asker, intents.Start(machine="web"))
        await do(engine, asker, intents.Resume(machine="web"))
        assert (await machine_of(engine, asker)).generation == before.generation


LAUNCH_STEPS = ["make-disk", "write-seed", "start", "set-forwards", "resume"]


@pytest.mark.parametrize("step", LAUNCH_STEPS)
async def test_a_launch_that_fails_leaves_nothing(store: Store, step: str) -> None:
    host = FakeHost()
    host.machines.faults[step] = NoCapacity("the disk is full", hint="make room")
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        accepted = await engine.accept(asker, launch())
        assert isinstance(accepted, Operation)
        operation = await ended(engine, asker, accepted)
        assert operation.state is OperationState.FAILED
        assert operation.error == {"code": "no-capacity", "message": "the disk is full", "hint": "make room"}
    await nothing_left(store, host)


@pytest.mark.parametrize("step", LAUNCH_STEPS)
async def test_a_launch_can_be_cancelled_at_every_step(store: Store, step: str) -> None:
    host = FakeHost()
    host.machines.gates[step] = asyncio.Event()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        accepted = await engine.accept(asker, launch())
        assert isinstance(accepted, Operation)
        seen = accepted
        while "gate" not in seen.phase:
            seen = await engine.views.wait_operation(asker, accepted.id, after=seen.stamp, wait_s=PATIENCE_S)
        await engine.accept(asker, intents.OperationCancel(operation=accepted.id))
        operation = await ended(engine, asker, accepted)
        assert operation.state is OperationState.CANCELLED
        with pytest.raises(Conflict, match="ended already"):
            await engine.accept(asker, intents.OperationCancel(operation=accepted.id))
    await nothing_left(store, host)


async def test_a_start_that_fails_leaves_it_stopped(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch())
        await do(engine, asker, intents.Stop(machine="web", force=True))
        host.machines.faults["start"] = Failed("QEMU does not like this")
        accepted = await engine.accept(asker, intents.Start(machine="web"))
        assert isinstance(accepted, Operation)
        assert (await ended(engine, asker, accepted)).state is OperationState.FAILED
        machine = await machine_of(engine, asker)
        assert (machine.power, machine.state) == (Power.STOPPED, State.STOPPED)
        host.machines.faults.clear()
        await do(engine, asker, intents.Start(machine="web"))


async def test_a_change_that_fails_is_taken_back(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch(memory_mib=512))
        before = await machine_of(engine, asker)
        host.machines.faults["set-memory"] = Failed("the balloon is stuck")
        accepted = await engine.accept(asker, intents.Change(machine="web", memory_mib=256))
        assert isinstance(accepted, Operation)
        assert (await ended(engine, asker, accepted)).state is OperationState.FAILED
        after = await machine_of(engine, asker)
        assert after.spec == before.spec
        assert after.memory_mib == 512


DATA = DiskSpec(name="data", disk="data")
NEW = DiskSpec(name="new", size_mib=64)


async def its_disks(engine: Engine, asker: Asker) -> dict[str, tuple[DiskState, int, bool]]:
    """State, size and whether a machine has it, by the names of all disks."""
    return {disk.name: (disk.state, disk.size_mib, bool(disk.machine)) for disk in await engine.views.disks(asker)}


@pytest.mark.parametrize(
    ("step", "running"),
    [
        ("make-disk", True),
        ("grow-disk", True),
        ("plug-disk", True),
        ("plug-nic", True),
        ("make-disk", False),
        ("grow-disk", False),
    ],
)
async def test_an_apply_that_fails_takes_back_its_disks_and_no_others(store: Store, step: str, running: bool) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch(disks=(DiskSpec(name="own", size_mib=64),)))
        if not running:
            await do(engine, asker, intents.Stop(machine="web", force=True))
        await do(engine, asker, intents.DiskCreate(name="data", size_mib=64))
        before, disks = await machine_of(engine, asker), await its_disks(engine, asker)
        host.machines.faults[step] = Failed("no")
        spec = MachineSpec(
            name="web",
            memory_mib=128,
            disks=(DiskSpec(name="own", size_mib=128), DATA, NEW),
            nics=(NicSpec(), NicSpec()),
        )
        accepted = await engine.accept(asker, intents.Apply(spec=spec))
        assert isinstance(accepted, Operation)
        assert (await ended(engine, asker, accepted)).state is OperationState.FAILED
        assert await its_disks(engine, asker) == disks
        assert (await machine_of(engine, asker)).spec == before.spec
        async with store.read() as tx:
            kept = {disk.id for disk in await tx.disks.select()}
        assert set(host.machines.seen[before.id].disks) <= kept
        host.machines.faults.clear()
        await do(engine, asker, intents.Apply(spec=spec))


async def test_a_launch_that_fails_leaves_the_disk_that_it_was_given(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, intents.DiskCreate(name="data", size_mib=64))
        before = await engine.views.disks(asker)
        host.machines.faults["resume"] = Failed("no")
        accepted = await engine.accept(asker, launch(disks=(DATA, NEW)))
        assert isinstance(accepted, Operation)
        assert (await ended(engine, asker, accepted)).state is OperationState.FAILED
        assert await engine.views.machines(asker) == []
        assert await engine.views.disks(asker) == before
        assert set(host.machines.seen[accepted.subject].disks) == {before[0].id}


async def test_a_disk_that_is_being_detached_does_not_go_with_its_machine(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch(disks=(NEW,)))
        host.machines.gates["unplug-disk"] = asyncio.Event()
        await engine.accept(asker, intents.DiskDetach(disk="web-new"))
        deleting = await engine.accept(asker, intents.Delete(machine="web"))
        host.machines.gates["unplug-disk"].set()
        assert isinstance(deleting, Operation)
        assert (await ended(engine, asker, deleting)).state is OperationState.DONE
        (disk,) = await engine.views.disks(asker)
        assert (disk.name, disk.machine) == ("web-new", "")
        assert set(host.machines.seen[deleting.subject].disks) == {disk.id}


async def test_one_thing_at_a_time_unless_by_force(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch())
        host.machines.gates["shutdown"] = asyncio.Event()
        stopping = await engine.accept(asker, intents.Stop(machine="web"))
        assert isinstance(stopping, Operation)
        with pytest.raises(Conflict, match="stopping is under way") as refused:
            await engine.accept(asker, intents.Change(machine="web", vcpus=2))
        assert stopping.id in refused.value.hint
        await do(engine, asker, intents.Stop(machine="web", force=True))
        assert (await engine.views.operation(asker, stopping.id)).state is OperationState.CANCELLED
        assert (await machine_of(engine, asker)).state is State.STOPPED


async def test_delete_pushes_a_launch_aside(store: Store) -> None:
    host = FakeHost()
    host.machines.gates["resume"] = asyncio.Event()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        launching = await engine.accept(asker, launch())
        assert isinstance(launching, Operation)
        deleting = await engine.accept(asker, intents.Delete(machine="web"))
        host.machines.gates["resume"].set()
        assert isinstance(deleting, Operation)
        assert (await ended(engine, asker, deleting)).state is OperationState.DONE
        assert (await engine.views.operation(asker, launching.id)).state is OperationState.CANCELLED
    await nothing_left(store, host)


@pytest.mark.parametrize(
    ("runstate", "power", "state"),
    [
        ("shutdown", Power.STOPPED, State.STOPPED),
        ("", Power.STOPPED, State.CRASHED),
        ("internal-error", Power.STOPPED, State.CRASHED),
        ("io-error", Power.PAUSED, State.PAUSED),
    ],
)
async def test_what_a_guest_does_by_itself_is_what_is_wanted(
    store: Store, runstate: str, power: Power, state: State
) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch())
        host.machines.fall_into((await machine_of(engine, asker)).id, runstate)
        machine = await settled(engine, asker, "web", state)
        assert machine.power is power
        assert (machine.status.error is None) == (runstate == "shutdown")
        verb = intents.Resume if power is Power.PAUSED else intents.Start
        await do(engine, asker, verb(machine="web"))
        machine = await machine_of(engine, asker)
        assert (machine.state, machine.status.error) == (State.RUNNING, None)


@pytest.mark.parametrize("autostart", [True, False])
async def test_after_the_host_restarted(store: Store, autostart: bool) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch(autostart=autostart))
        await do(engine, asker, launch("idle", autostart=autostart))
        await do(engine, asker, intents.Stop(machine="idle"))
    host.machines.seen = {id: replace(seen, process=None) for id, seen in host.machines.seen.items()}
    async with at_work(store, host, boot_id="boot-2") as (engine, asker):
        expected = State.RUNNING if autostart else State.STOPPED
        for name in ("web", "idle"):
            machine = await settled(engine, asker, name, expected)
            assert machine.status.error is None


async def test_refusals_change_nothing(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch())
        last = await engine.views.last_event()
        host.facts.taken = {8080}
        host.facts.has = replace(host.facts.has, memory_free_mib=1000, disk_free_mib=1000)
        forward = (NicSpec(forwards=(Forward(guest_port=80, host_port=8080),)),)
        for intent, error, field in (
            (launch(), Conflict, "name"),
            (launch("Bad"), Invalid, "name"),
            (launch("a", image="none"), NotFound, "image"),
            (launch("a", memory_mib=2000), NoCapacity, "memory_mib"),
            (launch("a", disks=(DiskSpec(size_mib=2000, thin=False),)), NoCapacity, "size_mib"),
            (launch("a", disks=(DiskSpec(size_mib=63),)), Invalid, "size_mib"),
            (launch("a", nics=forward), Conflict, "host_port"),
            (launch("a", user_data="#cloud-config\n["), Invalid, "user_data"),
            (intents.Resume(machine="nobody"), NotFound, "machine"),
            (intents.Stop(machine="web", timeout_s=0), Invalid, "timeout_s"),
            (intents.Change(machine="web"), Invalid, "changes"),
            (intents.Change(machine="web", vcpus=0), Invalid, "vcpus"),
            (intents.Rename(machine="web", name="-"), Invalid, "name"),
            (intents.Apply(spec=MachineSpec(name="web", user_data="#!/bin/sh\n")), Invalid, "user_data"),
            (intents.ForwardRemove(machine="web", guest_port=80), NotFound, "guest_port"),
            (intents.DiskDelete(disk="web-root"), Conflict, "machine"),
            (intents.DiskResize(disk="web-root", size_mib=1), Invalid, "size_mib"),
            (intents.ImageDelete(image="micro"), Conflict, "image"),
            (intents.ImageImport(source="x", name="x"), Invalid, "source"),
            (intents.ImagePull(reference="debian"), Invalid, "reference"),
        ):
            with pytest.raises(error) as refused:
                await engine.accept(asker, intent)
            assert refused.value.field == field, intent
            assert refused.value.hint, intent
        assert await engine.views.last_event() == last


async def test_quota(store: Store) -> None:
    async with at_work(store, FakeHost()) as (engine, asker):
        await with_image(engine, asker)
        await engine.accept(asker, intents.ProjectChange(project="default", quota=Quota(machines=2, memory_mib=300)))
        await do(engine, asker, launch())
        with pytest.raises(QuotaExceeded, match="128 of 300 memory_mib used, 200 more"):
            await engine.accept(asker, launch("big", memory_mib=200))
        with pytest.raises(QuotaExceeded):
            await engine.accept(asker, intents.Change(machine="web", memory_mib=512))
        await do(engine, asker, launch("two"))
        with pytest.raises(QuotaExceeded, match="2 of 2 machines used"):
            await engine.accept(asker, launch("three", memory_mib=64))


async def test_fifty_at_once_stay_within_the_quota(store: Store) -> None:
    async with at_work(store, FakeHost()) as (engine, asker):
        await with_image(engine, asker)
        await engine.accept(asker, intents.ProjectChange(project="default", quota=Quota(machines=20)))
        asked = await asyncio.gather(
            *(engine.accept(asker, launch(f"m{n}")) for n in range(50)), return_exceptions=True
        )
        refused = [answer for answer in asked if isinstance(answer, QuotaExceeded)]
        assert len(refused) == 30
        accepted = [answer for answer in asked if isinstance(answer, Operation)]
        assert {(await ended(engine, asker, one)).state for one in accepted} == {OperationState.DONE}
        assert len(await engine.views.machines(asker, state=State.RUNNING)) == 20


async def test_apply_makes_and_changes(store: Store) -> None:
    async with at_work(store, FakeHost()) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, intents.Apply(spec=MachineSpec(name="web", memory_mib=128)))
        first = await machine_of(engine, asker)
        await do(engine, asker, intents.Apply(spec=first.spec))
        assert (await machine_of(engine, asker)).spec == first.spec
        spec = MachineSpec(name="web", memory_mib=128, vcpus=2, disks=(DiskSpec(name="data", size_mib=64),))
        await do(engine, asker, intents.Apply(spec=spec))
        second = await machine_of(engine, asker)
        assert second.vcpus == 2
        assert [nic.mac for nic in second.spec.nics] == [nic.mac for nic in first.spec.nics]
        assert sorted(disk.name for disk in second.spec.disks) == ["data", "root"]
        assert second.status.pending_restart == ("vcpus",)


async def test_the_disks_of_an_apply_need_room_as_those_of_a_launch_do(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch(disks=(DiskSpec(name="root", size_mib=64), NEW)))
        await engine.accept(asker, intents.ProjectChange(project="default", quota=Quota(disk_mib=200)))
        larger, more = msgspec.structs.replace(NEW, size_mib=137), DiskSpec(name="more", size_mib=73)
        for disks in ((larger,), (NEW, more)):
            with pytest.raises(QuotaExceeded, match="disk"):
                await engine.accept(asker, intents.Apply(spec=MachineSpec(name="web", disks=disks)))
        await engine.accept(asker, intents.ProjectChange(project="default", quota=Quota()))
        host.facts.has = replace(host.facts.has, disk_free_mib=100)
        thick = msgspec.structs.replace(more, thin=False)
        with pytest.raises(NoCapacity, match="disk space"):
            await engine.accept(asker, intents.Apply(spec=MachineSpec(name="web", disks=(NEW, thick))))
        await do(engine, asker, intents.Apply(spec=MachineSpec(name="web", disks=(NEW, more))))


async def test_disks(store: Store) -> None:
    async with at_work(store, FakeHost()) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch())
        await do(engine, asker, intents.DiskCreate(name="data", size_mib=100))
        await do(engine, asker, intents.DiskResize(disk="data", size_mib=200))
        await do(engine, asker, intents.DiskAttach(disk="data", machine="web"))
        with pytest.raises(Conflict, match="attached to another machine"):
            await engine.accept(asker, intents.DiskAttach(disk="data", machine="web"))
        await do(engine, asker, intents.DiskResize(disk="data", size_mib=300))
        assert (await engine.views.disk(asker, "data")).disk.size_mib == 300
        await do(engine, asker, intents.DiskDetach(disk="data"))
        view = await engine.views.disk(asker, "data")
        assert (view.machine_name, view.disk.size_mib) == ("", 300)
        await do(engine, asker, intents.DiskConvert(disk="data", format=DiskFormat.RAW))
        await do(engine, asker, intents.DiskDelete(disk="data"))
        assert [disk.name for disk in await engine.views.disks(asker)] == ["web-root"]
        await do(engine, asker, intents.Delete(machine="web", keep_disks=True))
        assert [(disk.name, disk.machine) for disk in await engine.views.disks(asker)] == [("web-root", "")]


async def test_an_image_that_fails_leaves_nothing(store: Store) -> None:
    host = FakeHost()
    host.images.faults["publish"] = Failed("no")
    async with at_work(store, host) as (engine, asker):
        accepted = await engine.accept(asker, intents.ImageBuild(recipe="micro"))
        assert isinstance(accepted, Operation)
        assert (await ended(engine, asker, accepted)).state is OperationState.FAILED
        assert await engine.views.images(asker) == []
        assert host.images.made == set()


async def test_projects_are_strangers(store: Store) -> None:
    async with at_work(store, FakeHost()) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch())
        await engine.accept(asker, intents.ProjectCreate(name="other"))
        other = await engine.access.local("other")
        stranger = Asker(other.project, Role.ADMIN)
        assert await engine.views.machines(stranger) == []
        assert await engine.views.events(stranger, after=0, limit=100) == []
        for ref in ("web", (await machine_of(engine, asker)).id):
            with pytest.raises(NotFound):
                await engine.views.machine(stranger, ref)
            with pytest.raises(NotFound):
                await engine.accept(stranger, intents.Stop(machine=ref))
        assert [image.name for image in await engine.views.images(stranger)] == ["micro"]
        await do(engine, stranger, launch())
        with pytest.raises(Denied):
            await engine.accept(stranger, intents.ImageBuild(recipe="micro", name="m2"))
        with pytest.raises(Denied):
            await engine.accept(Asker(other.project, Role.VIEWER), intents.Stop(machine="web"))
        with pytest.raises(Conflict, match="still holds 1 machines, 1 disks"):
            await engine.accept(asker, intents.ProjectDelete(project="other"))


async def test_tokens(store: Store) -> None:
    async with at_work(store, FakeHost()) as (engine, asker):
        made = await engine.accept(asker, intents.TokenCreate(name="ci", role=Role.OPERATOR))
        bearer = await engine.access.bearer(made.secret)
        assert bearer == Asker(asker.project, Role.OPERATOR, house=False)
        async with store.read() as tx:
            assert made.secret not in str(await tx.tokens.select())
        with pytest.raises(Denied, match="yours is operator"):
            await engine.accept(bearer, intents.TokenCreate(name="x", role=Role.ADMIN))
        await engine.accept(asker, intents.TokenDelete(token="ci"))
        with pytest.raises(Denied):
            await engine.access.bearer(made.secret)


async def test_a_token_for_the_house(store: Store) -> None:
    async with at_work(store, FakeHost()) as (engine, asker):
        await engine.accept(asker, intents.ProjectCreate(name="other"))
        with pytest.raises(Denied, match="only the operator of the house"):
            await engine.accept(Asker(asker.project, Role.ADMIN), intents.TokenCreate(name="x", house=True))
        made = await engine.accept(asker, intents.TokenCreate(name="op", role=Role.ADMIN, house=True))
        bearer = await engine.access.bearer(made.secret, "other")
        assert bearer.house
        assert bearer.project != asker.project


async def test_an_operation_goes_by_its_id_only(store: Store) -> None:
    async with at_work(store, FakeHost()) as (engine, asker):
        for ref in ("web", "00000000-0000-4000-8000-000000000000"):
            with pytest.raises(NotFound, match="there is no operation"):
                await engine.accept(asker, intents.OperationCancel(operation=ref))
            with pytest.raises(NotFound, match="there is no operation"):
                await engine.views.operation(asker, ref)
