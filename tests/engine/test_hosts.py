"""Hosts of one house: who is which, whose work is whose, and where machines go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import SystemRandom

import pytest
from tests.engine.house import HOUSE, at_work, do, ended, launch, with_image
from tests.hosts import NO_NETWORKS, FakeHost
from tests.patience import PATIENCE_S
from tests.postgres import Server

from guesthouse.engine import intents
from guesthouse.engine.engine import Engine, open_engine
from guesthouse.engine.host_intents import HostChange
from guesthouse.engine.hosts import Identity
from guesthouse.engine.intents import Asker
from guesthouse.model.errors import Conflict, Denied, Invalid, NoCapacity
from guesthouse.model.hosts import Limits
from guesthouse.model.machine import MachineSpec
from guesthouse.model.resources import Operation, OperationState, Role
from guesthouse.store import SqlStore, open_store


@pytest.fixture
async def url(postgres: Server) -> AsyncIterator[str]:
    """A database for several daemons."""
    async with postgres.database() as name:
        yield postgres.url(name)


@asynccontextmanager
async def a_member(url: str, name: str, host: FakeHost, *, seat: str = "") -> AsyncIterator[tuple[Engine, Asker]]:
    """A daemon of the house in that database, as the host of that name."""
    host.network_facts.refused = NO_NETWORKS
    identity = Identity(name, "boot-1", name, seat or f"seat-{name}", f"run-{name}-{seat}", f"{name}:8443")
    async with (
        open_store(url, lock_timeout_s=PATIENCE_S) as store,
        open_engine(store, host, HOUSE, identity, SystemRandom()) as engine,
    ):
        yield engine, await engine.access.local()


async def test_a_house_of_one_host_knows_it(store: SqlStore) -> None:
    async with at_work(store, FakeHost()) as (engine, _):
        (view,) = await engine.hosts.hosts()
        assert (view.host.id, view.host.cpus > 0, view.away) == ("local", True, False)
        assert (await engine.hosts.host("here")).host.id == view.host.id


async def test_what_an_operator_says_of_a_host_outlives_its_daemon(store: SqlStore) -> None:
    async with at_work(store, FakeHost()) as (engine, asker):
        limits = Limits(vcpus_per_cpu=2, memory_percent=150)
        await engine.accept(
            asker, HostChange(host="here", name="north", zone="eu-1a", labels={"rack": "3"}, limits=limits)
        )
    async with at_work(store, FakeHost()) as (engine, _):
        host = (await engine.hosts.host("north")).host
        assert (host.zone, host.labels, host.limits) == ("eu-1a", {"rack": "3"}, limits)


async def test_a_change_that_cannot_be_is_refused_by_its_field(store: SqlStore) -> None:
    async with at_work(store, FakeHost()) as (engine, asker):
        for change, field in (
            (HostChange(host="here"), "host"),
            (HostChange(host="here", zone="No Zone"), "zone"),
            (HostChange(host="here", limits=Limits(memory_percent=0)), "memory_percent"),
        ):
            with pytest.raises(Invalid) as refused:
                await engine.accept(asker, change)
            assert refused.value.field == field
        with pytest.raises(Denied):
            await engine.accept(Asker(asker.project, Role.ADMIN), HostChange(host="here", zone="eu-1a"))


async def test_memory_that_was_promised_is_not_given_twice(store: SqlStore) -> None:
    host = FakeHost()
    host.machines.gates["start"] = asyncio.Event()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        free = (await engine.hosts.host("here")).host.memory_free_mib
        await engine.accept(asker, launch("one", memory_mib=free - 100))
        with pytest.raises(NoCapacity, match="200 MiB asked for, 100 MiB free"):
            await engine.accept(asker, launch("two", memory_mib=200))
        host.machines.gates["start"].set()


async def test_only_operators_may_name_a_host(store: SqlStore) -> None:
    async with at_work(store, FakeHost()) as (engine, asker):
        await with_image(engine, asker)
        pinned = intents.Launch(spec=MachineSpec(name="web", memory_mib=128), host="local")
        with pytest.raises(Denied, match="name a host"):
            await engine.accept(Asker(asker.project, Role.ADMIN), pinned)
        await do(engine, asker, pinned)


async def test_a_machine_runs_on_the_host_that_it_was_placed_on_whoever_was_asked(url: str) -> None:
    north, south = FakeHost(), FakeHost()
    async with a_member(url, "north", north) as (asked, asker), a_member(url, "south", south) as (other, operator):
        await with_image(other, operator)  # it is on south alone
        operation = await do(asked, asker, launch())
        machine = (await asked.views.machine(asker, "web")).machine
        assert (operation.host, machine.host) == ("south", "south")
        process = south.machines.seen[machine.id].process
        assert process is not None and process.runstate == "running"
        assert machine.id not in north.machines.seen
        await do(asked, asker, intents.Stop(machine="web", force=True))
        assert south.machines.seen[machine.id].process is None


async def test_an_operation_is_cancelled_from_another_host(url: str) -> None:
    north, south = FakeHost(), FakeHost()
    south.machines.gates["start"] = asyncio.Event()
    async with a_member(url, "north", north) as (asked, asker), a_member(url, "south", south) as (other, operator):
        await with_image(other, operator)
        begun = await asked.accept(asker, launch())
        assert isinstance(begun, Operation)
        await asked.accept(asker, intents.OperationCancel(operation=begun.id))
        assert (await ended(asked, asker, begun)).state is OperationState.CANCELLED
        assert await asked.views.machines(asker) == []


async def test_nobody_else_can_be_a_host_that_is_there(url: str) -> None:
    async with a_member(url, "north", FakeHost()):
        with pytest.raises(Conflict, match="host north has a daemon already, at north:8443"):
            async with a_member(url, "north", FakeHost(), seat="elsewhere"):
                raise AssertionError("two daemons are one host")


async def test_an_embedded_house_may_be_moved_to_another_box(store: SqlStore) -> None:
    for seat in ("one", "another"):
        identity = Identity("local", "boot-1", "box", seat, f"run-{seat}")
        async with open_engine(store, FakeHost(), HOUSE, identity, SystemRandom()) as engine:
            assert (await engine.hosts.host("here")).host.seat == seat


async def test_placement_is_explained_host_by_host(url: str) -> None:
    async with a_member(url, "north", FakeHost()) as (asked, asker), a_member(url, "south", FakeHost()) as (other, own):
        await with_image(other, own)
        first, second = await asked.accept.explain(asker, launch())
        assert (first.host.name, first.fits, second.host.name, second.fits) == ("south", True, "north", False)
        assert [lack.text for lack in second.lacks] == ["image micro is on another host"]


async def test_machines_that_are_to_be_apart_are(url: str) -> None:
    async with a_member(url, "north", FakeHost()) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch("db-1", apart="db"))
        with pytest.raises(NoCapacity, match="to be apart: db"):
            await engine.accept(asker, launch("db-2", apart="db"))
        await do(engine, asker, launch("web", apart="web"))
