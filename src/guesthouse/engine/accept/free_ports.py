"""Accepting what is asked of ports that no machine has, or that outlast theirs."""

from __future__ import annotations

import msgspec

from guesthouse.decide.firewall import check_groups_of_port
from guesthouse.engine import network_intents as intents
from guesthouse.engine.accept.desk import Desk
from guesthouse.engine.accept.networks import changing, usable_network
from guesthouse.engine.accept.ports import groups_of, new_port, nobodys_mac
from guesthouse.engine.accept.room import check_project
from guesthouse.engine.accept.subnets import refuse_gate
from guesthouse.engine.leaving import end_port_records
from guesthouse.engine.network_undo import changed, gone, made
from guesthouse.engine.resolve import find_port
from guesthouse.model.errors import Conflict, Invalid
from guesthouse.model.machine import NicSpec
from guesthouse.model.network import Port
from guesthouse.model.resources import Operation


async def create(desk: Desk, intent: intents.PortCreate) -> Operation:
    """Keep a place on a network for a NIC to come."""
    network = await usable_network(desk, intent.network)
    await check_project(desk, nics=1)
    mac = await nobodys_mac(desk)
    nic = NicSpec(mac=mac, subnet=intent.subnet, address=intent.address, groups=intent.groups)
    port = msgspec.structs.replace(await new_port(desk, "", "", nic, network), stays=True)
    check_groups_of_port(port.groups)
    await desk.tx.ports.insert(port)
    return await changing(desk, network, made("ports", port), port=port.id)


async def change(desk: Desk, intent: intents.PortChange) -> Operation:
    """Change a port."""
    network, port = await find_port(desk.tx, desk.asker.project, intent.port)
    said: dict[str, object] = {"guarded": intent.guarded, "stays": intent.stays}
    if intent.groups is not None:
        said["groups"] = tuple((await groups_of(desk, intent.groups, network)).values())
        check_groups_of_port(tuple(intent.groups))
    said = {name: value for name, value in said.items() if value is not None}
    if not said:
        raise Invalid(
            "nothing is said that is to change", field="port", hint="name groups, a guard, or whether it stays"
        )
    said = {name: value for name, value in said.items() if value != getattr(port, name)}
    _refuse_half(port, said)
    if not said:
        return await desk.open("network.change", msgspec.structs.replace(network, project=port.project), done=True)
    await desk.tx.ports.update(port.id, {}, **said)
    return await changing(desk, network, changed("ports", port, **said), port=port.id)


async def delete(desk: Desk, intent: intents.PortDelete) -> Operation:
    """Give a place up. An elastic address that led there leads nowhere then."""
    network, port = await find_port(desk.tx, desk.asker.project, intent.port)
    if port.machine:
        raise Conflict(
            f"machine {port.name} has this port",
            subject=f"port {port.id}",
            field="machine",
            value=port.name,
            hint=f"take its NIC away first (`guest nic remove {port.name} {port.mac}`)",
        )
    await refuse_gate(desk, port)
    nowhere = {"network": "", "port": ""}
    led = await desk.tx.elastics.select(port=port.id)
    for elastic in led:
        await desk.tx.elastics.update(elastic.id, {}, **nowhere)
    await desk.tx.ports.delete(port.id)
    await end_port_records(desk.tx, port.id)
    return await changing(desk, network, *(changed("elastics", each, **nowhere) for each in led), gone("ports", port))


def _refuse_half(port: Port, said: dict[str, object]) -> None:
    """Raise `Conflict` for what would leave a port, and what is said of it elsewhere, at odds."""
    if "groups" in said and port.machine:
        raise Conflict(
            f"the groups of this port are those of a NIC of machine {port.name}",
            subject=f"port {port.id}",
            field="groups",
            hint=f"`guest nic set {port.name} {port.mac}` changes them",
        )
    if said.get("stays") is False and not port.machine:
        raise Conflict(
            "no machine has this port: nothing would end it",
            subject=f"port {port.id}",
            field="stays",
            hint="delete it instead",
        )
