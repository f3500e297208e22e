"""Operations on networks: each but the last has the host apply the network as it is wanted then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from guesthouse.engine.network_undo import refuse_lost, write_back
from guesthouse.engine.wanted import forget_network, load_wanted, note_applied, touch
from guesthouse.engine.works.subject import Subject, Tools, nothing
from guesthouse.model.network import Network, NetworkState
from guesthouse.model.resources import Operation
from guesthouse.ports import Progress, Transaction


async def _perform(
    tools: Tools, operation: Operation, step: str, network: Network, progress: Progress
) -> Mapping[str, Any]:
    refuse_lost(operation)
    if step == "remove":
        await tools.networks.remove(network)
        return {}
    return {"applied": await _apply(tools, network)}


async def _undo(tools: Tools, operation: Operation, network: Network) -> None:
    match operation.kind:
        case "network.create":
            await tools.networks.remove(network)
        case "network.change":
            async with tools.store.write() as tx:
                await write_back(tx, operation)
                await touch(tx, await tx.networks.get(network.id) or network)
            applied = await _apply(tools, network)
            async with tools.store.write() as tx:
                await note_applied(tx, network.id, applied)


async def _apply(tools: Tools, network: Network) -> int:
    """Have the host's network as it is wanted now; the generation that this is."""
    async with tools.store.read() as tx:
        wanted = await load_wanted(tx, await tx.networks.get(network.id) or network)
    await tools.networks.apply(wanted)
    return wanted.network.generation


async def _made(tx: Transaction, operation: Operation) -> None:
    await tx.networks.update(operation.subject, {}, state=NetworkState.READY)
    await note_applied(tx, operation.subject, operation.context["applied"])


async def _changed(tx: Transaction, operation: Operation) -> None:
    await note_applied(tx, operation.subject, operation.context["applied"])


async def _remove(tx: Transaction, operation: Operation) -> None:
    await forget_network(tx, operation.subject)


SUBJECT = Subject(
    table=lambda tx: tx.networks,
    perform=_perform,
    undo=_undo,
    finish={"network.create": _made, "network.change": _changed, "network.delete": _remove},
    removed=_remove,
    restored=nothing,
)
