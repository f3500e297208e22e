"""What is to be seen of networks: the own project's, and shared ones with what of the project is on them.

The operator of the house sees all that is on a network; anybody else sees strangers' machines nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from guesthouse.engine.intents import Asker
from guesthouse.engine.resolve import find, find_elastic, find_network
from guesthouse.model.machine import NicSpec
from guesthouse.model.network import Elastic, Group, Network, Pool, Port, Subnet
from guesthouse.ports import Lease, NetworkFacts, Store, Transaction


class NetworkView(msgspec.Struct, frozen=True):
    """A network with what is on it, as far as the asker may see it."""

    network: Network
    subnets: tuple[Subnet, ...]
    ports: tuple[Port, ...] = ()
    leases: tuple[Lease, ...] = ()


class GroupView(msgspec.Struct, frozen=True):
    """A group, the names of the groups that its rules name by their ids, and those of the machines in it."""

    group: Group
    peers: dict[str, str]
    machines: tuple[str, ...]


class ElasticView(msgspec.Struct, frozen=True):
    """An elastic address, and the names of the network and the machine that it leads to."""

    elastic: Elastic
    network_name: str = ""
    machine_name: str = ""
    mac: str = ""


class NicView(msgspec.Struct, frozen=True):
    """A NIC as its machine's description has it, and what it has beside that on its network."""

    nic: NicSpec
    address6: str = ""
    elastic: str = ""


@dataclass(frozen=True)
class NetworkViews:
    """All that can be looked at."""

    store: Store
    facts: NetworkFacts

    async def networks(self, asker: Asker) -> list[NetworkView]:
        """The project's networks and shared ones, oldest first, each with its subnets alone."""
        async with self.store.read() as tx:
            networks = await tx.networks.scan()
            subnets = await tx.subnets.scan()
        mine = [each for each in networks if each.shared or each.project == asker.project]
        return [NetworkView(each, tuple(one for one in subnets if one.network == each.id)) for each in mine]

    async def network(self, asker: Asker, ref: str) -> NetworkView:
        """One network, with the asker's own machines on it."""
        async with self.store.read() as tx:
            network = await find_network(tx.networks, asker.project, ref)
            subnets = await tx.subnets.select(network=network.id)
            ports = [port for port in await tx.ports.select(network=network.id) if _may_see(asker, port)]
        macs, addresses = {port.mac for port in ports}, {port.address6 for port in ports}
        leases = [each for each in self.facts.leases(network) if each.mac in macs or each.address in addresses]
        return NetworkView(network, tuple(subnets), tuple(ports), tuple(leases))

    async def subnets(self, asker: Asker, network: str) -> list[Subnet]:
        async with self.store.read() as tx:
            found = await find_network(tx.networks, asker.project, network)
            return await tx.subnets.select(network=found.id)

    async def groups(self, asker: Asker, network: str) -> list[Group]:
        """The project's groups on a network."""
        async with self.store.read() as tx:
            found = await find_network(tx.networks, asker.project, network)
            return await tx.groups.select(network=found.id, project=asker.project)

    async def group(self, asker: Asker, network: str, ref: str) -> GroupView:
        async with self.store.read() as tx:
            found = await find_network(tx.networks, asker.project, network)
            group = await find(tx.groups, asker.project, "group", ref, network=found.id)
            named = {rule.group for rule in group.rules}
            others = await tx.groups.select(network=found.id, project=asker.project)
            ports = await tx.ports.select(network=found.id)
        peers = {each.id: each.name for each in others if each.id in named}
        return GroupView(group, peers, tuple(sorted({port.name for port in ports if group.id in port.groups})))

    async def elastics(self, asker: Asker) -> list[ElasticView]:
        """The project's elastic addresses."""
        async with self.store.read() as tx:
            return [await _elastic(tx, each) for each in await tx.elastics.select(project=asker.project)]

    async def elastic(self, asker: Asker, ref: str) -> ElasticView:
        async with self.store.read() as tx:
            return await _elastic(tx, await find_elastic(tx.elastics, asker.project, ref))

    async def nics(self, asker: Asker, machine: str) -> list[NicView]:
        """The NICs of a machine, in their order."""
        async with self.store.read() as tx:
            found = await find(tx.machines, asker.project, "machine", machine)
            ports = {port.mac: port for port in await tx.ports.select(machine=found.id)}
            return [await _nic(tx, nic, ports.get(nic.mac)) for nic in found.spec.nics]

    async def pools(self) -> list[Pool]:
        """The pools of the house, for its operator."""
        async with self.store.read() as tx:
            return await tx.pools.select()


async def _elastic(tx: Transaction, elastic: Elastic) -> ElasticView:
    port = await tx.ports.get(elastic.port) if elastic.port else None
    network = await tx.networks.get(elastic.network) if elastic.network else None
    if port is None or network is None:
        return ElasticView(elastic)
    return ElasticView(elastic, network_name=network.name, machine_name=port.name, mac=port.mac)


async def _nic(tx: Transaction, nic: NicSpec, port: Port | None) -> NicView:
    if port is None:
        return NicView(nic)
    elastics = await tx.elastics.select(port=port.id)
    return NicView(nic, address6=port.address6, elastic=elastics[0].address if elastics else "")


def _may_see(asker: Asker, port: Port) -> bool:
    return asker.house or port.project == asker.project
