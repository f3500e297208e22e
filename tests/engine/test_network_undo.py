"""Changes of a network that wait for each other: whichever are cancelled, the others' wishes are what is left."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from itertools import product
from typing import Any

import msgspec
import pytest
from tests.engine.house import at_work, do, ended, fails, launch, with_image
from tests.engine.on_networks import NAT, create, rule, shown
from tests.hosts import FakeHost
from tests.patience import PATIENCE_S

from guesthouse.engine import intents
from guesthouse.engine import network_intents as asked
from guesthouse.engine.engine import Engine
from guesthouse.engine.intents import Asker, Intent
from guesthouse.model.errors import Failed, GuesthouseError
from guesthouse.model.machine import Forward, NicSpec
from guesthouse.model.resources import Operation, OperationState
from guesthouse.ports import Store


def change(**words: Any) -> asked.NetworkChange:
    return asked.NetworkChange(network="lan", **words)


def group(name: str) -> asked.GroupCreate:
    return asked.GroupCreate(network="lan", name=name)


def no_group(name: str) -> asked.GroupDelete:
    return asked.GroupDelete(network="lan", group=name)


def subnet(name: str, cidr: str) -> asked.SubnetCreate:
    return asked.SubnetCreate(network="lan", name=name, cidr=cidr)


BEFORE = (subnet("one", "10.1.0.0/24"), group("web"), rule(first_port=22))
SEQUENCES: dict[str, tuple[Intent, ...]] = {
    "one field, there and back": (change(mtu=1400), change(mtu=1500), change(mtu=1400)),
    "fields of two changes each": (
        change(mtu=1400, domain="a.example"),
        change(domain="b.example"),
        change(mtu=1300),
    ),
    "IPv6 under a new subnet": (change(ipv6=True), subnet("two", "10.2.0.0/24"), change(mtu=1400)),
    "rules of one group": (rule(first_port=80), rule(first_port=81), rule("default", cidr="", peer="web")),
    "a rule of a group that goes": (rule(first_port=80), no_group("web")),
    "a rule of a group that comes": (group("more"), rule("more"), rule("more", first_port=443)),
    "a group that comes and goes": (group("more"), no_group("more")),
}


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", SEQUENCES)
async def test_what_is_left_is_what_the_others_wanted(store: Store, name: str) -> None:
    """As if only they had been asked for."""
    sequence, host = SEQUENCES[name], FakeHost()
    async with at_work(store, host) as (engine, asker):
        for cancelled in product((False, True), repeat=len(sequence)):
            await begin(engine, asker)
            await play(engine, asker, host, sequence, cancelled)
            made = host.networks.made[(await shown(engine, asker)).network.id]
            assert made.groups == tuple(await engine.networks.groups(asker, "lan"))
            found = await wishes(store, engine, asker)
            await do(engine, asker, asked.NetworkDelete(network="lan"))
            await begin(engine, asker)
            for intent, is_cancelled in zip(sequence, cancelled, strict=True):
                if not is_cancelled:
                    await ask(engine, asker, intent)
            assert found == await wishes(store, engine, asker), cancelled
            await do(engine, asker, asked.NetworkDelete(network="lan"))


async def play(
    engine: Engine, asker: Asker, host: FakeHost, sequence: Sequence[Intent], cancelled: Sequence[bool]
) -> None:
    """Ask for all of it while the first is still being done, and cancel some."""
    host.networks.gates["apply"] = gate = asyncio.Event()
    accepted = [await accept(engine, asker, intent) for intent in sequence]
    for operation, is_cancelled in zip(accepted, cancelled, strict=True):
        if is_cancelled:
            await engine.accept(asker, intents.OperationCancel(operation=operation.id))
    if cancelled[0]:
        await being_undone(engine, asker, accepted[0])
    gate.set()
    for operation, is_cancelled in zip(accepted, cancelled, strict=True):
        state = (await ended(engine, asker, operation)).state
        assert state is not OperationState.DONE or not is_cancelled


async def begin(engine: Engine, asker: Asker) -> None:
    await do(engine, asker, create())
    for intent in BEFORE:
        await do(engine, asker, intent)


async def accept(engine: Engine, asker: Asker, intent: Intent) -> Operation:
    operation = await engine.accept(asker, intent)
    assert isinstance(operation, Operation)
    return operation


async def being_undone(engine: Engine, asker: Asker, operation: Operation) -> None:
    """Wait until its owner, who is at the gate, has heard that an operation is cancelled."""
    async with asyncio.timeout(PATIENCE_S):
        while (await engine.views.operation(asker, operation.id)).state is not OperationState.UNDOING:
            await asyncio.sleep(0)


async def ask(engine: Engine, asker: Asker, intent: Intent) -> None:
    """Ask for something that may have become impossible, where what came before was not asked for."""
    with contextlib.suppress(GuesthouseError):
        await do(engine, asker, intent)


async def wishes(store: Store, engine: Engine, asker: Asker) -> Any:
    """What is wanted of the network, in words."""
    network = (await shown(engine, asker)).network
    async with store.read() as tx:
        subnets = await tx.subnets.select(network=network.id)
        groups = await tx.groups.select(network=network.id)
    names = {each.id: each.name for each in groups}
    return (
        (network.mtu, network.domain, network.ipv6),
        sorted((each.name, each.cidr, bool(each.cidr6), bool(each.gateway6)) for each in subnets),
        {
            each.name: sorted((r.direction, r.protocol, r.first_port, r.cidr, names.get(r.group)) for r in each.rules)
            for each in groups
        },
    )


# --- what others have taken up --------------------------------------------------------------------------------

TAKEN: dict[str, tuple[Intent, Intent]] = {
    "a name": (no_group("web"), group("web")),
    "addresses": (asked.SubnetDelete(network="lan", subnet="one"), subnet("two", "10.1.0.0/16")),
    "a number": (asked.SubnetDelete(network="lan", subnet="one"), subnet("two", "10.2.0.0/16")),
}


@pytest.mark.parametrize("name", TAKEN)
async def test_what_was_removed_does_not_come_back_where_another_is(store: Store, name: str) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await begin(engine, asker)
        host.networks.gates["apply"] = gate = asyncio.Event()
        removing, taking = [await accept(engine, asker, intent) for intent in TAKEN[name]]
        await engine.accept(asker, intents.OperationCancel(operation=removing.id))
        wanted = await wishes(store, engine, asker)
        await being_undone(engine, asker, removing)
        gate.set()
        assert (await ended(engine, asker, removing)).state is OperationState.CANCELLED
        assert (await ended(engine, asker, taking)).state is OperationState.DONE
        assert await wishes(store, engine, asker) == wanted


async def test_a_subnet_in_which_a_machine_is_by_now_stays(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, create())
        host.networks.gates["apply"] = gate = asyncio.Event()
        operations = [await accept(engine, asker, each) for each in (subnet("one", "10.1.0.0/24"), group("web"))]
        nic = NicSpec(network="lan", groups=("web",))
        operations.append(await accept(engine, asker, launch(nics=(nic,))))
        for operation in operations[:2]:
            await engine.accept(asker, intents.OperationCancel(operation=operation.id))
        await being_undone(engine, asker, operations[0])
        gate.set()
        states = [(await ended(engine, asker, operation)).state for operation in operations]
        assert states == [OperationState.CANCELLED, OperationState.CANCELLED, OperationState.DONE]
        view = await shown(engine, asker)
        assert [each.name for each in view.subnets] == ["one"]
        async with store.read() as tx:
            (port,) = await tx.ports.select()
            (web,) = await tx.groups.select(name="web")
        assert (port.subnet, port.groups) == (view.subnets[0].id, (web.id,))


async def test_an_address_does_not_lead_back_to_a_machine_that_is_gone(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, create("home", NAT))
        await do(engine, asker, launch(nics=(NicSpec(network="home"),)))
        await engine.accept(asker, asked.PoolAdd(cidr="203.0.113.0/29"))
        await engine.accept(asker, asked.AddressAllocate(address="203.0.113.1"))
        await do(engine, asker, asked.AddressAttach(address="203.0.113.1", machine="web"))
        host.networks.gates["apply"] = gate = asyncio.Event()
        detaching = await accept(engine, asker, asked.AddressDetach(address="203.0.113.1"))
        await do(engine, asker, intents.Delete(machine="web"))
        await engine.accept(asker, intents.OperationCancel(operation=detaching.id))
        await being_undone(engine, asker, detaching)
        gate.set()
        assert (await ended(engine, asker, detaching)).state is OperationState.CANCELLED
        async with store.read() as tx:
            (elastic,) = await tx.elastics.select()
        assert (elastic.network, elastic.port) == ("", "")


# --- machines -------------------------------------------------------------------------------------------------


async def test_a_machine_whose_change_fails_keeps_its_groups_and_forwards(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, create("home", NAT))
        for name in ("web", "db"):
            await do(engine, asker, asked.GroupCreate(network="home", name=name))
        first = NicSpec(network="home", groups=("web",), forwards=(Forward(guest_port=80, host_port=8080),))
        await do(engine, asker, launch(nics=(first,)))
        before = await places(store)
        nics = (await engine.views.machine(asker, "web")).machine.spec.nics
        other = msgspec.structs.replace(nics[0], groups=("db",), forwards=())
        host.machines.faults["plug-nic"] = Failed("no")
        await fails(engine, asker, intents.Change(machine="web", nics=(other, NicSpec(network="home"))))
        assert await places(store) == before
        assert (await engine.views.machine(asker, "web")).machine.spec.nics == nics
        network = (await shown(engine, asker, "home")).network
        async with asyncio.timeout(PATIENCE_S):
            while [each.port for each in host.networks.made[network.id].ports] != before:
                await asyncio.sleep(0)


async def places(store: Store) -> list[Any]:
    async with store.read() as tx:
        return await tx.ports.select()
