"""The daemon dies at every step of every kind of operation; the next one finishes it or has undone it.

Here the host is in memory and death is an exception, so that every cell runs in both databases in a second.
`tests/vm/test_deaths.py` kills real daemons with real machines.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from tests.engine.house import at_work, do, ended, launch, with_image
from tests.hosts import FakeHost
from tests.patience import PATIENCE_S

from guesthouse.engine import intents, network_intents, nic_intents
from guesthouse.engine.engine import Engine
from guesthouse.engine.intents import Asker, Intent
from guesthouse.engine.kinds import BY_ITSELF, KINDS
from guesthouse.engine.wanted import load_wanted
from guesthouse.model.errors import Failed
from guesthouse.model.machine import DiskFormat, DiskSpec, MachineSpec, NicSpec
from guesthouse.model.network import NetworkMode
from guesthouse.model.resources import ENDED, Operation, OperationState, SnapshotState
from guesthouse.ports import Store


class Death(BaseException):
    """The daemon is gone: nothing catches it."""


@dataclass
class Reaper:
    """Records every checkpoint; at the `fatal` one the daemon dies."""

    fatal: int = -1
    seen: list[tuple[str, str, str]] = field(default_factory=list)

    async def __call__(self, kind: str, step: str, edge: str) -> None:
        self.seen.append((kind, step, edge))
        if len(self.seen) - 1 == self.fatal:
            raise Death


@dataclass(frozen=True)
class Scene:
    """How to come to an operation of one kind: what is done before, and what is asked then."""

    before: tuple[Intent, ...]
    ask: Intent


TEMPLATE = intents.TemplateCreate(image="micro", name="small", memory_mib=128)
DISK = intents.DiskCreate(name="data", size_mib=64)
ATTACH = intents.DiskAttach(disk="data", machine="web")
DATA = DiskSpec(name="data", size_mib=64)
TAKE = intents.SnapshotCreate(machine="web", name="one")
TWO = intents.SnapshotCreate(machine="web", name="two")
HIBERNATE = intents.Stop(machine="web", hibernate=True)
NETWORK = network_intents.NetworkCreate(name="lan", mode=NetworkMode.PRIVATE)
SUBNET = network_intents.SubnetCreate(network="lan", cidr="10.1.0.0/24")
WEB = network_intents.GroupCreate(network="lan", name="web")
LAN = (NETWORK, SUBNET, WEB)
ONE, OTHER = (NicSpec(mac=f"52:54:00:00:00:0{number}", network="lan") for number in (1, 2))
IN_WEB = NicSpec(mac=ONE.mac, network="lan", groups=("web",))
SCENES: dict[str, Scene] = {
    "machine.launch": Scene((), launch()),
    "machine.fork": Scene((launch(disks=(DATA,)),), intents.Fork(machine="web", count=2)),
    "machine.start": Scene((launch(), intents.Stop(machine="web", force=True)), intents.Start(machine="web")),
    "machine.stop": Scene((launch(),), intents.Stop(machine="web")),
    "machine.hibernate": Scene((launch(disks=(DATA,)),), HIBERNATE),
    "machine.restart": Scene((launch(),), intents.Restart(machine="web")),
    "machine.interrupt": Scene((launch(spot=True),), intents.Interrupt(machine="web", notice_s=3600)),
    "machine.pause": Scene((launch(),), intents.Pause(machine="web")),
    "machine.resume": Scene((launch(), intents.Pause(machine="web")), intents.Resume(machine="web")),
    "machine.rename": Scene((launch(),), intents.Rename(machine="web", name="www")),
    "machine.change": Scene(
        (launch(memory_mib=512),),
        intents.Change(machine="web", memory_mib=256, nics=(NicSpec(mac="52:54:00:00:00:01"),)),
    ),
    "machine.delete": Scene((launch(),), intents.Delete(machine="web")),
    "snapshot.create": Scene((launch(disks=(DATA,)),), TAKE),
    "snapshot.revert": Scene((launch(disks=(DATA,)), TAKE, TWO), intents.SnapshotRevert(machine="web", snapshot="one")),
    "snapshot.delete": Scene((launch(disks=(DATA,)), TAKE, TWO), intents.SnapshotDelete(machine="web", snapshot="one")),
    "disk.attach": Scene((launch(), DISK), ATTACH),
    "disk.detach": Scene((launch(), DISK, ATTACH), intents.DiskDetach(disk="data")),
    "disk.create": Scene((), DISK),
    "disk.resize": Scene((DISK,), intents.DiskResize(disk="data", size_mib=128)),
    "disk.convert": Scene((DISK,), intents.DiskConvert(disk="data", format=DiskFormat.RAW)),
    "disk.delete": Scene((DISK,), intents.DiskDelete(disk="data")),
    "image.build": Scene((), intents.ImageBuild(recipe="micro", name="second")),
    "image.import": Scene((), intents.ImageImport(source="/x.qcow2", name="second")),
    "image.pull": Scene((), intents.ImagePull(reference="debian:12")),
    "image.create": Scene((launch(disks=(DATA,)),), intents.ImageCreate(machine="web", name="second", pause=True)),
    "image.copy": Scene((), intents.ImageCopy(image="micro", name="second")),
    "image.prepare": Scene((), intents.ImagePrepare(image="micro")),
    "image.export": Scene((), intents.ImageExport(image="micro", path="/x.qcow2")),
    "image.delete": Scene((intents.ImageBuild(recipe="micro", name="second"),), intents.ImageDelete(image="second")),
    "template.create": Scene((), TEMPLATE),
    "template.delete": Scene((TEMPLATE,), intents.TemplateDelete(template="small")),
    "network.create": Scene((), NETWORK),
    "network.change": Scene((NETWORK,), SUBNET),
    "network.delete": Scene((NETWORK, SUBNET), network_intents.NetworkDelete(network="lan")),
}
FRONT = network_intents.NetworkCreate(name="front", mode=NetworkMode.PRIVATE)
STREETS = (NETWORK, SUBNET, FRONT, network_intents.SubnetCreate(network="front", cidr="10.1.0.0/24"))
ON_LAN = launch(nics=(NicSpec(mac="52:54:00:00:00:07", network="lan", address="10.1.0.7"),))
MOVE = nic_intents.NicMove(machine="web", nic="lan", network="front", address="10.1.0.8")
OTHERS: dict[str, Scene] = {
    "machine.change of a NIC's network": Scene((*STREETS, ON_LAN), MOVE),
    "machine.change of a NIC's address": Scene(
        (*STREETS, ON_LAN), nic_intents.NicMove(machine="web", nic="lan", address="10.1.0.8")
    ),
    "machine.change of a stopped machine's NIC": Scene(
        (*STREETS, ON_LAN, intents.Stop(machine="web", force=True)), MOVE
    ),
    "machine.hibernate of a paused machine": Scene((launch(), intents.Pause(machine="web")), HIBERNATE),
    "machine.start of a hibernated machine": Scene((launch(disks=(DATA,)), HIBERNATE), intents.Start(machine="web")),
    "machine.start without its memory": Scene(
        (launch(disks=(DATA,)), HIBERNATE), intents.Start(machine="web", cold=True)
    ),
    "machine.delete of a hibernated machine": Scene((launch(disks=(DATA,)), HIBERNATE), intents.Delete(machine="web")),
    "image.create of a snapshot": Scene(
        (launch(disks=(DATA,)), TAKE, TWO), intents.ImageCreate(machine="web", name="second", snapshot="one")
    ),
    "image.create of a stopped machine": Scene(
        (launch(), intents.Stop(machine="web", force=True)), intents.ImageCreate(machine="web", name="second")
    ),
    "image.create with a reboot": Scene(
        (launch(disks=(DATA,)),), intents.ImageCreate(machine="web", name="second", reboot=True)
    ),
    "image.create of a data disk": Scene(
        (launch(disks=(DATA,)),), intents.ImageCreate(disk="web-data", name="second", pause=True)
    ),
    "image.create of a snapshot of a stopped machine": Scene(
        (launch(disks=(DATA,)), intents.Stop(machine="web", force=True)),
        intents.ImageCreate(machine="web", name="second", by_snapshot=True),
    ),
    "image.create of a free disk": Scene((DISK,), intents.ImageCreate(disk="data", name="second")),
    "disk.create of an image": Scene((), intents.DiskCreate(name="data", image="micro")),
    "machine.launch with a disk of an image": Scene((), launch(disks=(DiskSpec(name="data", image="micro"),))),
    "machine.launch on a network": Scene(LAN, launch(nics=(ONE, OTHER))),
    "machine.change that adds a NIC": Scene(
        (*LAN, launch(nics=(ONE,))), intents.Change(machine="web", nics=(ONE, OTHER))
    ),
    "machine.change that takes another NIC": Scene(
        (*LAN, launch(nics=(ONE,))), intents.Change(machine="web", nics=(OTHER,))
    ),
    "machine.change of groups": Scene((*LAN, launch(nics=(ONE,))), intents.Change(machine="web", nics=(IN_WEB,))),
    "machine.change of a stopped machine": Scene(
        (*LAN, launch(nics=(ONE,)), intents.Stop(machine="web", force=True)),
        intents.Change(machine="web", nics=(OTHER,)),
    ),
    "machine.fork on a network": Scene((*LAN, launch(nics=(ONE,))), intents.Fork(machine="web", count=2)),
    "machine.delete on a network": Scene(
        (*LAN, launch(nics=(ONE, OTHER)), launch("db", nics=(NicSpec(network="lan"),))), intents.Delete(machine="web")
    ),
}


def test_every_kind_has_its_scene() -> None:
    assert set(SCENES) == set(KINDS) - set(BY_ITSELF.values()), "nobody asks for those"


async def set_up(store: Store, host: FakeHost, scene: Scene) -> None:
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        for intent in scene.before:
            await do(engine, asker, intent)


async def play(store: Store, host: FakeHost, scene: Scene, reaper: Reaper) -> str:
    """Ask, and die at the reaper's step, or see it end; the operation's id."""
    asked: list[Operation] = []
    with contextlib.suppress(Death):
        try:
            async with at_work(store, host, checkpoint=reaper) as (engine, asker):
                accepted = await engine.accept(asker, scene.ask)
                assert isinstance(accepted, Operation)
                asked.append(accepted)
                await ended(engine, asker, accepted)
        except BaseExceptionGroup as group:
            _, rest = group.split(Death)
            if rest is not None:
                raise rest from None
    return asked[0].id


async def world(store: Store, engine: Engine, asker: Asker, host: FakeHost) -> object:
    """All that lasts, without what two runs may differ in: ids, times, generations and process numbers."""
    machines = [(await engine.views.machine(asker, row.id)).machine for row in await engine.views.machines(asker)]
    return (
        [(m.name, m.state, m.power, m.vcpus, m.memory_mib, m.stage, len(m.spec.disks)) for m in machines],
        sorted((d.name, d.size_mib, d.format, d.state, bool(d.machine)) for d in await engine.views.disks(asker)),
        sorted((i.name, i.state) for i in await engine.views.images(asker)),
        sorted((t.name, t.state, t.boot_ms) for t in await engine.views.templates(asker)),
        [
            (view.network.name, view.network.state, [subnet.cidr for subnet in view.subnets])
            for view in await engine.networks.networks(asker)
        ],
        await networks(store, host),
        sorted((nic.network, nic.address) for m in machines for nic in m.spec.nics),
        sorted(
            (nic.network, nic.address)
            for seen in host.machines.seen.values()
            if seen.process
            for nic in seen.process.spec.nics
        ),
        sum(bool(seen.process) for seen in host.machines.seen.values()),
        sum(seen.folder for seen in host.machines.seen.values()),
        len(host.images.made),
        len(host.templates.made),
        len(host.disks.made),
        sum(len(seen.snapshots) for seen in host.machines.seen.values()),
        [len(disk.layers) or 1 for disk in await engine.views.disks(asker)],
    )


async def networks(store: Store, host: FakeHost) -> object:
    """The places on each network and their groups; the host knows all of it."""
    found = []
    async with store.read() as tx:
        names = {group.id: group.name for group in await tx.groups.select()}
        for network in await tx.networks.select():
            wanted, made = await load_wanted(tx, network), host.networks.made[network.id]
            assert (wanted.subnets, wanted.ports, wanted.groups) == (made.subnets, made.ports, made.groups)
            places = [(p.port.name, p.port.address, [names[id] for id in p.port.groups]) for p in made.ports]
            found.append((len(made.subnets), len(made.groups), sorted(places)))
    assert len(host.networks.made) == len(found)
    return found


async def idle(store: Store, engine: Engine, asker: Asker) -> None:
    """Wait until nothing is under way, and nothing is still to go."""
    async with asyncio.timeout(PATIENCE_S):
        while (rows := await engine.views.operations(asker, all=False)) or await _left_over(store, engine, asker):
            for row in rows:
                await ended(engine, asker, await engine.views.operation(asker, row.id))
            await asyncio.sleep(0)


async def _left_over(store: Store, engine: Engine, asker: Asker) -> bool:
    """Whether a machine or a network is not yet as it is wanted, or a snapshot is not yet gone."""
    machines = await engine.views.machines(asker)
    async with store.read() as tx:
        going = await tx.snapshots.scan(state=SnapshotState.DELETING)
        networks = await tx.networks.scan()
    return bool(going) or any(row.observed_generation != row.generation for row in (*machines, *networks))


def on_databases(names: Iterable[str], both: Iterable[str]) -> pytest.MarkDecorator:
    """Each on SQLite, and some on PostgreSQL too: what a transaction keeps is the same code, tested in tests/store."""
    cases = [("sqlite", name) for name in names] + [("postgresql", name) for name in both]
    return pytest.mark.parametrize(("store", "name"), cases, indirect=["store"])


def one_of_each_subject() -> list[str]:
    """The first scene of machines, of snapshots, of disks and so on."""
    return list({name.partition(".")[0]: name for name in reversed(SCENES)}.values())


@on_databases(sorted(SCENES | OTHERS), one_of_each_subject())
async def test_killed_at_every_step(store: Store, name: str) -> None:
    scene = (SCENES | OTHERS)[name]
    async with _fresh(store) as host:
        await set_up(store, host, scene)
        whole = Reaper()
        await play(store, host, scene, whole)
        async with at_work(store, host) as (engine, asker):
            await idle(store, engine, asker)
            expected = await world(store, engine, asker, host)
    for fatal in range(len(whole.seen)):
        async with _fresh(store) as host:
            await set_up(store, host, scene)
            reaper = Reaper(fatal)
            operation_id = await play(store, host, scene, reaper)
            async with at_work(store, host) as (engine, asker):
                await idle(store, engine, asker)
                operation = await engine.views.operation(asker, operation_id)
                where = whole.seen[fatal]
                assert operation.state in ENDED, where
                assert operation.state is OperationState.DONE, where
                assert await world(store, engine, asker, host) == expected, where


@contextlib.asynccontextmanager
async def _fresh(store: Store):
    """An empty house in the same store: everything of the last one is deleted in the way of its users."""
    host = FakeHost()
    async with store.write() as tx:
        for machine in await tx.machines.scan():
            await tx.machines.delete(machine.id)
        nouns = (tx.snapshots, tx.disks, tx.templates, tx.images, tx.operations)
        for table in (*nouns, tx.ports, tx.subnets, tx.groups, tx.networks):
            for row in await table.scan():
                await table.delete(row.id)
    yield host


WITH_MORE = MachineSpec(
    name="web",
    memory_mib=128,
    disks=(DiskSpec(name="data", disk="data"), DiskSpec(name="new", size_mib=64)),
    nics=(NicSpec(), NicSpec()),
)


@dataclass(frozen=True)
class Undoing:
    """A scene whose operation fails at a step, and the steps by which it is undone."""

    scene: Scene
    failing: str
    by: set[str]


UNDOING = {
    "move": Undoing(Scene((*STREETS, ON_LAN), MOVE), "plug-nic front", {"plug-nic"}),
    "move that the guest refuses": Undoing(Scene((*STREETS, ON_LAN), MOVE), "unplug-nic", set()),
    "fork": Undoing(Scene((launch(disks=(DATA,)),), intents.Fork(machine="web")), "share-layers", set()),
    "hibernate": Undoing(Scene((launch(disks=(DATA,)),), HIBERNATE), "take-snapshot", {"resume"}),
    "start of a hibernated machine": Undoing(
        Scene((launch(disks=(DATA,)), HIBERNATE), intents.Start(machine="web")), "resume", {"kill"}
    ),
    "start without its memory": Undoing(
        Scene((launch(disks=(DATA,)), HIBERNATE), intents.Start(machine="web", cold=True)), "resume", {"kill"}
    ),
    "launch": Undoing(Scene((), launch()), "resume", {"kill", "remove-disk", "remove-folder"}),
    "launch with a disk": Undoing(
        Scene((DISK,), intents.Launch(spec=WITH_MORE)), "resume", {"kill", "remove-disk", "remove-folder"}
    ),
    "apply": Undoing(
        Scene((launch(), DISK), intents.Apply(spec=WITH_MORE)), "plug-nic", {"unplug-disk", "remove-disk"}
    ),
    "launch on a network": Undoing(Scene(LAN, launch(nics=(ONE,))), "resume", {"kill", "remove-folder"}),
    "change of groups": Undoing(
        Scene((*LAN, launch(nics=(ONE,))), intents.Change(machine="web", nics=(IN_WEB, OTHER))), "plug-nic", set()
    ),
}


@on_databases(UNDOING, list(UNDOING)[:1])
async def test_killed_at_every_step_of_one_that_fails(store: Store, name: str) -> None:
    """Whenever the daemon dies, the next one fails as well, and what was there before is there again."""
    whole = await fail(store, UNDOING[name], fatal=-1)
    assert UNDOING[name].by <= {step for _, step, _ in whole}
    for fatal in range(len(whole)):
        await fail(store, UNDOING[name], fatal)


async def fail(store: Store, case: Undoing, fatal: int) -> list[tuple[str, str, str]]:
    """Play a scene that fails, die at a checkpoint of it, and look at what the next daemon leaves; the checkpoints."""
    async with _fresh(store) as host:
        await set_up(store, host, case.scene)
        async with at_work(store, host) as (engine, asker):
            expected = await world(store, engine, asker, host)
        host.machines.faults[case.failing] = Failed("no")
        reaper = Reaper(fatal)
        operation_id = await play(store, host, case.scene, reaper)
        async with at_work(store, host) as (engine, asker):
            await idle(store, engine, asker)
            where = reaper.seen[fatal]
            assert (await engine.views.operation(asker, operation_id)).state is OperationState.FAILED, where
            assert await world(store, engine, asker, host) == expected, where
            kept = {disk.id for disk in await engine.views.disks(asker)}
            assert {disk for seen in host.machines.seen.values() for disk in seen.disks} <= kept, where
        return reaper.seen
