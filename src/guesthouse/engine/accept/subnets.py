"""Accepting what is asked of the subnets of private networks."""

from __future__ import annotations

from guesthouse.decide import addresses
from guesthouse.decide.addresses import Block
from guesthouse.decide.validate import check_range
from guesthouse.engine import network_intents as intents
from guesthouse.engine.accept.desk import Desk
from guesthouse.engine.accept.networks import changing, own_network, refuse_used
from guesthouse.engine.network_undo import changed, gone, made
from guesthouse.engine.resolve import find
from guesthouse.model.errors import Conflict, Invalid, NotFound
from guesthouse.model.names import check_name
from guesthouse.model.network import Network, NetworkMode, Port, Subnet
from guesthouse.model.resources import Operation


async def create(desk: Desk, intent: intents.SubnetCreate) -> Operation:
    """Give a private network a subnet more."""
    network = await _with_subnets(desk, intent.network)
    others = await desk.tx.subnets.select(network=network.id)
    if len(others) >= addresses.MAX_SUBNETS:
        hint = f"{addresses.MAX_SUBNETS} at most; delete one"
        raise Conflict(f"network {network.name} has {len(others)} subnets", field="network", hint=hint)
    number = _number(intent.number, {each.number for each in others})
    name = check_name(intent.name or f"subnet-{number}", "subnet")
    plain = Subnet(
        id=desk.new_id(), project=network.project, network=network.id, name=name, number=number, cidr=intent.cidr,
        gateway="", first=intent.first, last=intent.last, outlet=intent.outlet,
    )  # fmt: skip
    subnet = addresses.make_subnet(plain, ipv6=network.ipv6)
    addresses.check_inside(subnet.cidr, network.cidr, f"network {network.name}")
    held = [Block(each.cidr, f"subnet {each.name}") for each in others]
    addresses.refuse_overlap(subnet.cidr, held, f"subnet {name}")
    await desk.tx.subnets.insert(subnet)
    return await changing(desk, network, made("subnets", subnet), subnet=subnet.id)


def _number(wanted: int, taken: set[int]) -> int:
    """The number that a new subnet gets; raises `Conflict` where another one has it."""
    if not wanted:
        return addresses.lowest_free(taken)
    check_range("number", wanted, 1, addresses.MAX_SUBNETS)
    if wanted in taken:
        hint = "leave it out for the lowest that is free"
        raise Conflict(f"another subnet has the number {wanted}", field="number", value=wanted, hint=hint)
    return wanted


async def change(desk: Desk, intent: intents.SubnetChange) -> Operation:
    """Change which ways lead outside from a subnet, and back."""
    network = await _with_subnets(desk, intent.network)
    subnet = await find(desk.tx.subnets, network.project, "subnet", intent.subnet, network=network.id)
    said: dict[str, object] = {"outlet": intent.outlet, "gate": intent.gate}
    said = {name: value for name, value in said.items() if value is not None}
    if not said:
        raise Invalid("nothing is said that is to change", field="outlet", hint="name an outlet")
    if intent.gate:
        await _check_gate(desk, network, intent.gate)
    said = {name: value for name, value in said.items() if value != getattr(subnet, name)}
    if not said:
        return await desk.open("network.change", network, done=True)
    await desk.tx.subnets.update(subnet.id, {}, **said)
    return await changing(desk, network, changed("subnets", subnet, **said), subnet=subnet.id)


async def delete(desk: Desk, intent: intents.SubnetDelete) -> Operation:
    """Take a subnet on which no machine is from a private network."""
    network = await _with_subnets(desk, intent.network)
    subnet = await find(desk.tx.subnets, network.project, "subnet", intent.subnet, network=network.id)
    await refuse_used(desk, network, await desk.tx.ports.select(network=network.id, subnet=subnet.id))
    await desk.tx.subnets.delete(subnet.id)
    return await changing(desk, network, gone("subnets", subnet))


async def refuse_gate(desk: Desk, port: Port) -> None:
    """Raise `Conflict` for a port by whose elastic address a subnet goes out."""
    if through := [each.name for each in await desk.tx.subnets.select(network=port.network, gate=port.id)]:
        raise Conflict(
            f"subnets go out by this port: {', '.join(through)}",
            subject=f"port {port.id}",
            field="gate",
            value=port.id,
            hint="have them go out otherwise first (`guest subnet set`)",
        )


async def _check_gate(desk: Desk, network: Network, id: str) -> None:
    port = await desk.tx.ports.get(id)
    if port is None or port.project != desk.asker.project or port.network != network.id or not port.stays:
        raise NotFound(
            f"there is no port {id!r} on network {network.name} that stays",
            subject=f"port {id}",
            field="gate",
            value=id,
            hint="name one that is kept without a machine",
        )


async def _with_subnets(desk: Desk, ref: str) -> Network:
    network = await own_network(desk, ref)
    if network.mode is not NetworkMode.PRIVATE:
        raise Conflict(
            f"network {network.name} is in mode {network.mode.value}: its addresses stay as they are",
            subject=f"network {network.name}",
            field="mode",
            value=network.mode.value,
            hint="networks in mode private have any number of subnets",
        )
    return network
