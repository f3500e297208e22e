"""Images of disks, disks of images, and who may use an image."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
from tests.engine.house import at_work, do, ended, launch, with_image
from tests.hosts import FakeHost
from tests.patience import PATIENCE_S

from guesthouse.engine import intents
from guesthouse.engine.door_intents import Piece
from guesthouse.engine.engine import Engine
from guesthouse.engine.freshness import Freshness
from guesthouse.engine.intents import Asker, Intent
from guesthouse.model.errors import Conflict, Denied, GuesthouseError, Invalid, NotFound
from guesthouse.model.machine import DiskSpec, Power, State
from guesthouse.model.resources import Disk, Image, ImageState, Operation, OperationState, Role
from guesthouse.ports import Store

DATA = DiskSpec(name="data", size_mib=64)
FREE = intents.DiskCreate(name="free", size_mib=32)


@dataclass
class There:
    """A house with an image and a machine `web` that has a root and a data disk."""

    engine: Engine
    asker: Asker
    host: FakeHost
    store: Store

    async def do(self, *intents: Intent) -> None:
        for intent in intents:
            await do(self.engine, self.asker, intent)

    async def ask(self, intent: Intent, asker: Asker | None = None) -> Any:
        return await self.engine.accept(asker or self.asker, intent)

    async def image(self, name: str, asker: Asker | None = None) -> Image:
        return (await self.engine.views.image(asker or self.asker, name)).image

    async def disk(self, name: str) -> Disk:
        return next(disk for disk in await self.engine.views.disks(self.asker) if disk.name == name)

    async def state(self) -> State:
        return (await self.engine.views.machine(self.asker, "web")).machine.state

    async def snapshots(self) -> list[Any]:
        async with self.store.read() as tx:
            return await tx.snapshots.select()

    async def until(self, reached: Callable[[], Awaitable[bool]]) -> None:
        with self.engine.changes.listen("*") as bell:
            async with asyncio.timeout(PATIENCE_S):
                while not await reached():
                    await bell.wait(PATIENCE_S)

    async def other(self, name: str = "shop") -> Asker:
        project = await self.ask(intents.ProjectCreate(name=name))
        return Asker(project.id, Role.ADMIN)

    async def clear(self) -> None:
        """What the house does once a minute."""
        async with self.store.read() as tx:
            retired = await tx.images.select(state=ImageState.RETIRED)
        woken: list[str] = []
        await Freshness(self.store, self.host.templates, Random(1), "local", woken.append).look_at_images()
        assert set(woken) <= {image.id for image in retired}


@pytest.fixture
async def there(store: Store) -> AsyncIterator[There]:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch(disks=(DATA,)))
        yield There(engine, asker, host, store)


async def test_a_disk_is_made_of_an_image_and_is_no_smaller(there: There) -> None:
    await there.do(intents.DiskCreate(name="copy", image="micro"), intents.DiskCreate(image="micro", size_mib=100))
    made, larger = (await there.disk("copy")), (await there.engine.views.disks(there.asker))[-1]
    assert (made.size_mib, made.image) == (64, (await there.image("micro")).id)
    assert (larger.size_mib, larger.name) == (100, f"disk-{larger.id[:8]}")
    with pytest.raises(Invalid, match="smaller than image micro"):
        await there.ask(intents.DiskCreate(name="small", image="micro", size_mib=63))
    with pytest.raises(Conflict, match="micro is under"):
        await there.ask(intents.ImageDelete(image="micro"))


@pytest.mark.parametrize("still", ["", "pause", "quiesce", "reboot"])
async def test_a_data_disk_makes_an_image_that_is_data(there: There, still: str) -> None:
    await there.do(intents.ImageCreate(disk="web-data", name="data", **({still: True} if still else {})))
    made = await there.image("data")
    assert (made.data, made.source, made.state) == (True, "disk:web-data", ImageState.READY)
    assert (await there.disk("web-root")).layers == {}, "only what is read gets a layer"

    async def runs() -> bool:
        return not await there.snapshots() and await there.state() is State.RUNNING

    await there.until(runs)
    with pytest.raises(Conflict, match="is data"):
        await there.ask(launch("other", image="data"))
    with pytest.raises(Conflict, match="is data"):
        await there.ask(intents.TemplateCreate(image="data"))
    await there.do(intents.DiskCreate(name="restored", image="data"))


async def test_a_reboot_takes_the_snapshot_between_stop_and_start(there: There) -> None:
    before = (await there.engine.views.machine(there.asker, "web")).machine
    pid = before.status.pid
    await there.do(intents.ImageCreate(machine="web", name="golden", reboot=True))

    async def runs() -> bool:
        return await there.state() is State.RUNNING

    await there.until(runs)
    machine = (await there.engine.views.machine(there.asker, "web")).machine
    assert (machine.restart_epoch, machine.status.pid != pid) == (before.restart_epoch + 1, True)
    with pytest.raises(Invalid, match="--reboot"):
        await there.ask(intents.ImageCreate(machine="web", reboot=True, pause=True))


async def test_a_stopped_machine_can_be_started_while_a_snapshot_of_it_is_read(there: There) -> None:
    await there.do(intents.Stop(machine="web", force=True))
    gate = there.host.images.gates["copy"] = asyncio.Event()
    wanted = [intents.ImageCreate(disk=f"web-{name}", name=name, by_snapshot=True) for name in ("root", "data")]
    made = await there.engine.accept.together(there.asker, [Piece(intent=intent) for intent in wanted])

    async def copy() -> bool:
        return all([(await there.engine.views.operation(there.asker, o.accepted.id)).step == "copy" for o in made])

    await there.until(copy)
    (snapshot,) = await there.snapshots()
    assert (len(snapshot.disks), await there.state()) == (2, State.STOPPED)
    await there.do(intents.Start(machine="web"))
    gate.set()
    for each in made:
        assert (await ended(there.engine, there.asker, each.accepted)).state is OperationState.DONE

    async def merged() -> bool:
        return not await there.snapshots()

    await there.until(merged)
    assert await there.state() is State.RUNNING
    with pytest.raises(Conflict, match="is stopped"):
        await there.do(intents.Stop(machine="web", force=True))
        await there.ask(intents.ImageCreate(machine="web", by_snapshot=True, reboot=True))


async def test_images_asked_for_together_show_one_moment(there: There) -> None:
    gate = there.host.images.gates["copy"] = asyncio.Event()
    wanted = [intents.ImageCreate(disk=f"web-{name}", name=name, pause=True, data=True) for name in ("root", "data")]
    made = await there.engine.accept.together(there.asker, [Piece(intent=intent) for intent in wanted])
    operations = [each.accepted for each in made]

    async def copy() -> bool:
        return all([(await there.engine.views.operation(there.asker, o.id)).step == "copy" for o in operations])

    await there.until(copy)
    (snapshot,) = await there.snapshots()
    assert len(snapshot.disks) == 2
    assert await there.state() is State.PAUSED
    await there.ask(intents.OperationCancel(operation=operations[0].id))
    assert (await ended(there.engine, there.asker, operations[0])).state is OperationState.CANCELLED
    assert await there.state() is State.PAUSED, "the other one is read still"
    assert len(await there.snapshots()) == 1
    gate.set()
    assert (await ended(there.engine, there.asker, operations[1])).state is OperationState.DONE

    async def runs() -> bool:
        return not await there.snapshots() and await there.state() is State.RUNNING

    await there.until(runs)
    assert [image.name for image in await there.engine.views.images(there.asker)] == ["micro", "data"]


async def test_a_disk_that_no_machine_has_is_left_alone_while_it_is_read(there: There) -> None:
    await there.do(FREE)
    gate = there.host.images.gates["copy"] = asyncio.Event()
    operation = await there.ask(intents.ImageCreate(disk="free", name="one"))
    second = await there.ask(intents.ImageCreate(disk="free", name="two"))
    assert isinstance(operation, Operation)
    for intent in (
        intents.DiskAttach(disk="free", machine="web"),
        intents.DiskResize(disk="free", size_mib=64),
        intents.DiskDelete(disk="free"),
        launch("other", disks=(DiskSpec(name="free", disk="free"),)),
    ):
        with pytest.raises(Conflict, match=r"image (one|two) is being made of it"):
            await there.ask(intent)
    gate.set()
    for each in (operation, second):
        assert (await ended(there.engine, there.asker, each)).state is OperationState.DONE
    await there.do(intents.DiskAttach(disk="free", machine="web"))


@pytest.mark.parametrize(
    ("ask", "kind", "words"),
    [
        (intents.ImageCreate(disk="free", pause=True), Conflict, "no machine has disk free"),
        (intents.ImageCreate(name="x"), Invalid, "nothing is named"),
        (intents.ImageCreate(machine="web", disk="free"), Conflict, "does not have disk free"),
        (intents.ImageCreate(disk="none"), NotFound, "no disk 'none'"),
        (intents.DiskCreate(name="x", image="none"), NotFound, "no image 'none'"),
        (intents.DiskCreate(name="x"), Invalid, "size_mib"),
        (intents.ImageChange(image="micro"), Invalid, "nothing to change"),
        (intents.ImageShare(image="micro", project="default"), Invalid, "own"),
        (intents.ImageShare(image="micro", project="nobody"), NotFound, "no project 'nobody'"),
    ],
)
async def test_what_cannot_be_is_refused(there: There, ask: Intent, kind: type[GuesthouseError], words: str) -> None:
    await there.do(FREE)
    with pytest.raises(kind, match=words):
        await there.ask(ask)


async def test_an_image_is_shared_with_one_project_alone(there: There) -> None:
    await there.do(intents.ImageCopy(image="micro", name="golden"))
    shop, thief = await there.other(), await there.other("thief")
    id = (await there.image("golden")).id
    for asker in (shop, thief):
        for ref in ("golden", id):
            with pytest.raises(NotFound):
                await there.image(ref, asker)
    await there.ask(intents.ImageShare(image="golden", project="shop"))
    await there.ask(intents.ImageShare(image="golden", project="shop"))
    assert (await there.image("golden", shop)).id == id
    assert (await there.engine.views.image(there.asker, "golden")).shared_with == ("shop",)
    assert (await there.engine.views.image(shop, "golden")).shared_with == ()
    assert [image.name for image in await there.engine.views.images(shop)] == ["micro", "golden"]
    with pytest.raises(NotFound):
        await there.image(id, thief)
    with pytest.raises(NotFound):
        await there.ask(intents.DiskCreate(name="x", image=id), thief)
    for intent in (
        intents.ImageDelete(image=id), intents.ImageChange(image=id, data=True),
        intents.ImageShare(image=id, project="thief"),
    ):  # fmt: skip
        with pytest.raises(Denied):
            await there.ask(intent, shop)
    await do(there.engine, shop, launch("theirs", image="golden"))
    await do(there.engine, shop, intents.ImageCopy(image="golden", name="ours"))
    await there.ask(intents.ImageUnshare(image="golden", project="shop"))
    with pytest.raises(NotFound):
        await there.ask(launch("more", image=id), shop)
    await do(there.engine, shop, intents.Stop(machine="theirs", force=True))
    await do(there.engine, shop, intents.Start(machine="theirs"))
    await do(there.engine, shop, launch("more", image="ours"))


async def test_only_the_operator_makes_an_image_public(there: There) -> None:
    shop = await there.other()
    await do(there.engine, shop, intents.ImageCopy(image="micro", name="ours"))
    with pytest.raises(Denied, match="public"):
        await there.ask(intents.ImageChange(image="ours", public=True), shop)
    changed = await there.ask(intents.ImageChange(image="ours", data=True), shop)
    assert changed.data
    await there.do(intents.ImageCopy(image="micro", name="golden"))
    await there.ask(intents.ImageChange(image="golden", public=True))
    assert (await there.image("golden", shop)).public


async def test_one_that_is_needed_goes_when_it_is_free(there: There) -> None:
    await there.do(intents.ImageCopy(image="micro", name="golden"), launch("child", image="golden"))
    with pytest.raises(Conflict, match="golden is under"):
        await there.ask(intents.ImageDelete(image="golden"))
    await there.do(intents.ImageDelete(image="golden", when_free=True))
    with pytest.raises(NotFound):
        await there.ask(launch("more", image="golden"))
    await there.do(intents.ImageCopy(image="micro", name="golden"))
    await there.do(intents.Stop(machine="child", force=True), intents.Start(machine="child"))
    await there.clear()
    states = [image.state for image in await there.engine.views.images(there.asker)]
    assert states == [ImageState.READY, ImageState.RETIRED, ImageState.READY]
    await there.do(intents.Delete(machine="child"))
    await there.clear()
    async with there.store.read() as tx:
        assert len(await tx.images.select(state=ImageState.DELETING)) == 1
    await there.do(intents.ImageDelete(image="golden", when_free=True))
    assert [image.state for image in await there.engine.views.images(there.asker)][-1] is not ImageState.READY


async def test_what_a_machine_has_of_an_image_stays_described(there: There) -> None:
    await there.do(launch("two", disks=(DiskSpec(name="data", image="micro"),)))
    machine = (await there.engine.views.machine(there.asker, "two")).machine
    (data,) = (disk for disk in machine.spec.disks if disk.name == "data")
    assert (data.size_mib, data.image, machine.power) == (64, "", Power.RUNNING)
    record = await there.disk("two-data")
    assert (record.image, record.template) == ((await there.image("micro")).id, "")
