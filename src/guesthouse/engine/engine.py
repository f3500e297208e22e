"""The engine: what doors use, and the owners that work behind it.

Rules
-----
1. `open_engine` wires the parts and owns their tasks; leaving it lets go of everything that is half done, which the
   next daemon takes up again. Machines run on.
2. At the start every operation that has not ended gets a new epoch, and every machine that should run, or has work
   open, is woken: running ones are found again, half-done ones are finished or undone. Networks are looked at.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random

from guesthouse.decide.hibernation import is_hibernated
from guesthouse.engine.accept import Accept
from guesthouse.engine.accept.tenants import DEFAULT_PROJECT
from guesthouse.engine.access import Access
from guesthouse.engine.converge import Converge
from guesthouse.engine.following import Following
from guesthouse.engine.freshness import Freshness
from guesthouse.engine.history import keep_short
from guesthouse.engine.host_views import HostViews
from guesthouse.engine.hosts import Identity, Presence
from guesthouse.engine.imaging import Imaging
from guesthouse.engine.inside import Inside
from guesthouse.engine.intents import Asker, Start
from guesthouse.engine.interruptions import Interruptions
from guesthouse.engine.network_views import NetworkViews
from guesthouse.engine.networks import Networks, make_default_network
from guesthouse.engine.owners import Owners, Wakes
from guesthouse.engine.progress import Board, Changes
from guesthouse.engine.stock import Stocktaking
from guesthouse.engine.views import Views
from guesthouse.engine.works import Tools, Works
from guesthouse.model.errors import GuesthouseError
from guesthouse.model.house import House
from guesthouse.model.machine import Machine, MachineRow, Power, State
from guesthouse.model.names import make_id
from guesthouse.model.resources import Project, Role
from guesthouse.ports import Checkpoint, Database, Host, HostFacts, MachineHost, Store

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Engine:
    """The parts that doors use."""

    accept: Accept
    views: Views
    networks: NetworkViews
    hosts: HostViews
    stock: Stocktaking
    inside: Inside
    access: Access
    host: HostFacts
    house: House
    changes: Changes


async def never_stop(kind: str, step: str, edge: str) -> None:
    """The checkpoint of a daemon that nobody tests."""


@asynccontextmanager
async def open_engine(
    store: Database,
    host: Host,
    house: House,
    identity: Identity,
    random: Random,
    checkpoint: Checkpoint = never_stop,
) -> AsyncIterator[Engine]:
    """An engine at work. Raises `Conflict` while another daemon is this host, and what its own tasks raise."""
    presence = Presence(store, store, host.facts, host.templates, identity)
    await presence.enter()
    board = Board(Changes())

    async def work(subject: str, wakes: Wakes) -> None:
        if not await converge(subject, wakes):
            await works(subject, wakes)
            await networks(subject)

    async with asyncio.TaskGroup() as tasks:
        owners = Owners(tasks, work)
        converge = Converge(
            store, host.machines, host.keys, board, identity.host, identity.boot_id, checkpoint, random, owners.wake
        )
        imaging = Imaging(store, board, random, owners.wake)
        tools = Tools(store, host.images, host.templates, host.disks, host.networks, board, imaging)
        works = Works(tools, identity.host, checkpoint)
        networks = Networks(store, host.networks, host.network_facts, identity.host, owners.wake)
        access = Access(store, host.keys)
        accept = Accept(store, host.facts, host.network_facts, random, identity.host, owners.wake, board)
        await _make_default_project(store, random)
        waking = await _autostart(store, identity)
        await make_default_network(store, host.network_facts, access, accept)
        unfinished = await _unfinished(store, identity)
        for network in await networks.here_now():
            networks.look(network)
        for subject in unfinished:
            owners.wake(subject)
        for machine in waking:
            await _wake(accept, machine)
        interruptions = Interruptions(store, accept, board.changes, identity.host)
        fresh = Freshness(store, host.templates, random, identity.host, owners.wake)
        following = Following(store, store, identity.host, owners.wake, board.changes)
        background = (
            tasks.create_task(_follow(host.machines, owners), name="follow machines"),
            tasks.create_task(networks.follow(), name="follow networks"),
            tasks.create_task(keep_short(store), name="forget old operations"),
            tasks.create_task(interruptions.keep(), name="end the interrupted"),
            tasks.create_task(fresh.keep(), name="look after templates"),
            tasks.create_task(presence.keep(), name="renew the lease"),
            *((tasks.create_task(following.keep(), name="follow the house"),) if identity.address else ()),
        )
        try:
            yield Engine(
                accept=accept,
                views=Views(store, board, host.disks),
                networks=NetworkViews(store, host.network_facts),
                hosts=HostViews(store, host.facts, identity.host),
                stock=Stocktaking(store, store, host.facts),
                inside=Inside(
                    store, host.guests, host.files, host.streams, host.network_facts, host.keys, board.changes
                ),
                access=access,
                host=host.facts,
                house=house,
                changes=board.changes,
            )
        finally:
            owners.close()
            for task in background:
                task.cancel()


async def _follow(machines: MachineHost, owners: Owners) -> None:
    async for machine_id in machines.follow():
        owners.wake(machine_id, news=False)


async def _make_default_project(store: Store, random: Random) -> None:
    async with store.write() as tx:
        if not await tx.projects.select(name=DEFAULT_PROJECT):
            await tx.projects.insert(Project(id=make_id(random), name=DEFAULT_PROJECT, number=0))


async def _autostart(store: Store, identity: Identity) -> list[Machine]:
    """After a restart of the host, machines with autostart are wanted running, whatever they were before.

    Returns those that are hibernated: they are to be started as anybody would start them.
    """
    waking = []
    async with store.write() as tx:
        for machine in await tx.machines.select(host=identity.host, autostart=True, power=Power.STOPPED):
            if machine.status.boot_id in ("", identity.boot_id) or machine.deleting:
                continue
            if is_hibernated(machine):
                waking.append(machine)
                continue
            changes = {"power": Power.RUNNING, "generation": machine.generation + 1}
            await tx.machines.update(machine.id, {"generation": machine.generation}, **changes)
    return waking


async def _wake(accept: Accept, machine: Machine) -> None:
    try:
        await accept(Asker(machine.project, Role.OPERATOR), Start(machine=machine.id))
    except GuesthouseError as error:
        log.warning("machine %s stays hibernated: %s", machine.name, error)


async def _unfinished(store: Store, identity: Identity) -> list[str]:
    """The subjects to look after at the start; their open operations get a new epoch."""
    async with store.write() as tx:
        subjects: dict[str, None] = {}
        for row in await tx.operations.scan(host=identity.host, ended_at=0.0):
            await tx.operations.update(row.id, {"epoch": row.epoch}, epoch=row.epoch + 1)
            subjects[row.subject] = None
        for machine in await tx.machines.scan(host=identity.host):
            if _needs_a_look(machine):
                subjects[machine.id] = None
    return list(subjects)


def _needs_a_look(machine: MachineRow) -> bool:
    reached = machine.observed_generation == machine.generation
    settled = machine.state in (State.STOPPED, State.CRASHED)
    return bool(machine.power is not Power.STOPPED or machine.deleting or not reached or not settled)
