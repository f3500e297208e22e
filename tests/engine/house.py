"""A house of the engine alone: a real store, a host in memory, and the words to ask it with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import SystemRandom

from tests.hosts import NO_NETWORKS, FakeHost
from tests.patience import PATIENCE_S

from guesthouse.engine import intents
from guesthouse.engine.engine import Engine, never_stop, open_engine
from guesthouse.engine.hosts import Identity
from guesthouse.engine.intents import Asker, Intent
from guesthouse.model.house import House
from guesthouse.model.machine import MachineSpec
from guesthouse.model.resources import ENDED, Operation, OperationState
from guesthouse.ports import Checkpoint, Store

HOUSE = House(Path("/fake"), Path("/fake"))


@asynccontextmanager
async def at_work(
    store: Store,
    host: FakeHost,
    *,
    boot_id: str = "boot-1",
    checkpoint: Checkpoint = never_stop,
    networks: bool | None = None,
) -> AsyncIterator[tuple[Engine, Asker]]:
    """An engine, and the operator of the house in the default project.

    `networks` tells whether its host can have such at the start. When not said it can if the house has one already, so
    that none is made; afterwards it always can.
    """
    async with store.read() as tx:
        can = networks if networks is not None else bool(await tx.networks.scan())
    host.network_facts.refused = None if can else NO_NETWORKS
    async with open_engine(store, host, HOUSE, Identity("local", boot_id), SystemRandom(), checkpoint) as engine:
        host.network_facts.refused = None
        yield engine, await engine.access.local()


async def ended(engine: Engine, asker: Asker, operation: Operation) -> Operation:
    """The operation when it has ended."""
    after = ""
    while operation.state not in ENDED:
        operation = await engine.views.wait_operation(asker, operation.id, after=after, wait_s=PATIENCE_S)
        assert operation.stamp != after or operation.state in ENDED, f"no progress: {operation}"
        after = operation.stamp
    return operation


async def do(engine: Engine, asker: Asker, intent: Intent) -> Operation:
    """Ask, wait, and insist that it worked."""
    accepted = await engine.accept(asker, intent)
    assert isinstance(accepted, Operation)
    operation = await ended(engine, asker, accepted)
    assert operation.state is OperationState.DONE, operation
    return operation


async def fails(engine: Engine, asker: Asker, intent: Intent) -> Operation:
    """Ask, and insist that it failed."""
    accepted = await engine.accept(asker, intent)
    assert isinstance(accepted, Operation)
    operation = await ended(engine, asker, accepted)
    assert operation.state is OperationState.FAILED
    return operation


async def with_image(engine: Engine, asker: Asker) -> None:
    """An image to launch from, once."""
    if not await engine.views.images(asker):
        await do(engine, asker, intents.ImageBuild(recipe="micro"))


def launch(name: str = "web", **spec: object) -> intents.Launch:
    return intents.Launch(spec=MachineSpec(**{"name": name, "memory_mib": 128, **spec}))
