"""Words to ask a house with about networks, and NICs on them without a launch."""

from __future__ import annotations

from typing import Any

from guesthouse.engine import intents
from guesthouse.engine import network_intents as asked
from guesthouse.engine.engine import Engine
from guesthouse.engine.intents import Asker
from guesthouse.engine.network_views import NetworkView
from guesthouse.model.network import Network, NetworkMode, Port, Protocol
from guesthouse.model.resources import Quota, Role
from guesthouse.ports import Transaction

NAT = NetworkMode.NAT
EVERYBODY = "0.0.0.0/0"


def create(name: str = "lan", mode: NetworkMode = NetworkMode.PRIVATE, **words: Any) -> asked.NetworkCreate:
    return asked.NetworkCreate(name=name, mode=mode, **words)


def rule(group: str = "web", **words: Any) -> asked.RuleAdd:
    said = {"protocol": Protocol.TCP, "first_port": 80, "cidr": EVERYBODY} | words
    return asked.RuleAdd(network="lan", group=group, **said)


async def shown(engine: Engine, asker: Asker, ref: str = "lan") -> NetworkView:
    return await engine.networks.network(asker, ref)


async def tenant(engine: Engine, asker: Asker, name: str = "shop", **quota: int) -> Asker:
    """An operator of a project of its own."""
    await engine.accept(asker, intents.ProjectCreate(name=name, quota=Quota(**quota)))
    return Asker((await engine.access.local(name)).project, Role.OPERATOR)


async def a_port(tx: Transaction, network: Network, machine: str, number: int = 1, **words: Any) -> Port:
    """A NIC of a machine on a network, in its first subnet."""
    owner = (await tx.machines.select(name=machine))[0]
    subnet = (await tx.subnets.select(network=network.id))[0]
    said: dict[str, Any] = {
        "project": owner.project, "mac": f"52:54:00:00:{network.number:02x}:{number:02x}", "subnet": subnet.id,
        "address": subnet.first.rpartition(".")[0] + f".{number + 10}",
    }  # fmt: skip
    port = Port(
        id=f"{network.number}-{number}", network=network.id, machine=owner.id, name=machine, number=number,
        **(said | words),
    )  # fmt: skip
    return await tx.ports.insert(port)
