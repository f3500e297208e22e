"""What a host needs to know of a network, out of the records."""

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
