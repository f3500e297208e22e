"""Records of networks: what a host needs to know of one, what it has of it, and that there is one no more."""

from __future__ import annotations

import msgspec

from guesthouse.decide import addresses
from guesthouse.model.network import Network, NetworkWanted, PortWanted
from guesthouse.model.resources import Project
from guesthouse.ports import Transaction


async def load_wanted(tx: Transaction, network: Network) -> NetworkWanted:
    """The network with all that is on it, as of this transaction."""
    elastics = {each.port: each.address for each in await tx.elastics.select(network=network.id)}
    ports = await tx.ports.select(network=network.id)
    guests = {port.project for port in ports} - {network.project}
    names = {id: project.name for id in guests if (project := await tx.projects.get(id)) is not None}
    return NetworkWanted(
        network=network,
        subnets=tuple(await tx.subnets.select(network=network.id)),
        ports=tuple(
            PortWanted(port=port, elastic=elastics.get(port.id, ""), project=names.get(port.project, ""))
            for port in ports
        ),
        groups=tuple(await tx.groups.select(network=network.id)),
    )


def domain_of(network: Network, project: Project) -> str:
    """Where machines of a project have their names on a network that has a domain; `formats.dnsmasq` gives them."""
    return network.domain if project.id == network.project else f"{project.name}.{network.domain}"


async def touch(tx: Transaction, network: Network, **changes: object) -> Network:
    """Note that something of a network, or on it, is wanted otherwise: its host has work."""
    changed = {**changes, "generation": network.generation + 1}
    await tx.networks.update(network.id, {}, **changed)
    return msgspec.structs.replace(network, **changed)


async def readdress(tx: Transaction, network: Network) -> None:
    """Give all that is on a network its IPv6 addresses, or take them away where the network has no IPv6."""
    for subnet in await tx.subnets.select(network=network.id):
        cidr6, gateway6 = addresses.block6(network.id, subnet.number) if network.ipv6 else ("", "")
        new = msgspec.structs.replace(subnet, cidr6=cidr6, gateway6=gateway6)
        if new != subnet:
            await tx.subnets.update(subnet.id, {}, cidr6=cidr6, gateway6=gateway6)
        for port in await tx.ports.select(network=network.id, subnet=subnet.id):
            if (address6 := addresses.address6(new, port.address)) != port.address6:
                await tx.ports.update(port.id, {}, address6=address6)


async def note_applied(tx: Transaction, network: str, generation: int) -> None:
    """Note that the host has the network as it was wanted at this generation."""
    now = await tx.networks.get(network)
    if now is not None and now.observed_generation < generation:
        await tx.networks.update(network, {}, observed_generation=generation)


async def forget_network(tx: Transaction, network: str) -> None:
    """Remove the record of a network, those of what is on it, and what doors keep of that."""
    gone = [network]
    for table in (tx.subnets, tx.groups):
        for record in await table.select(network=network):
            await table.delete(record.id)
            gone.append(record.id)
    for id in gone:
        for kept in await tx.door_records.select(subject=id):
            await tx.door_records.delete(kept.id)
    await tx.networks.delete(network)
