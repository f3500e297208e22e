"""Records of networks: what a host needs to know of one, what it has of it, and that there is one no more."""

from __future__ import annotations

import msgspec

from guesthouse.model.network import Network, NetworkWanted, PortWanted
from guesthouse.ports import Transaction


async def load_wanted(tx: Transaction, network: Network) -> NetworkWanted:
    """The network with all that is on it, as of this transaction."""
    elastics = {each.port: each.address for each in await tx.elastics.select(network=network.id)}
    ports = await tx.ports.select(network=network.id)
    return NetworkWanted(
        network=network,
        subnets=tuple(await tx.subnets.select(network=network.id)),
        ports=tuple(PortWanted(port=port, elastic=elastics.get(port.id, "")) for port in ports),
        groups=tuple(await tx.groups.select(network=network.id)),
    )


async def touch(tx: Transaction, network: Network, **changes: object) -> Network:
    """Note that something of a network, or on it, is wanted otherwise: its host has work."""
    changed = {**changes, "generation": network.generation + 1}
    await tx.networks.update(network.id, {}, **changed)
    return msgspec.structs.replace(network, **changed)


async def note_applied(tx: Transaction, network: str, generation: int) -> None:
    """Note that the host has the network as it was wanted at this generation."""
    now = await tx.networks.get(network)
    if now is not None and now.observed_generation < generation:
        await tx.networks.update(network, {}, observed_generation=generation)


async def forget_network(tx: Transaction, network: str) -> None:
    """Remove the record of a network, and those of what is on it."""
    for table in (tx.subnets, tx.groups):
        for record in await table.select(network=network):
            await table.delete(record.id)
    await tx.networks.delete(network)
