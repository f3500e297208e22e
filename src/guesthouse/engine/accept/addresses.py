"""Accepting what is asked of elastic addresses, and of the pools that they are from.

A pool is the house's; an address is its project's until it is released. Where it leads is a part of its network.
"""

from __future__ import annotations

import msgspec

from guesthouse.decide import addresses
from guesthouse.decide.addresses import MODES, Block
from guesthouse.engine import network_intents as intents
from guesthouse.engine.accept.desk import Desk
from guesthouse.engine.accept.networks import changing, routed_blocks
from guesthouse.engine.accept.room import check_project
from guesthouse.engine.accept.tenants import Removed
from guesthouse.engine.network_undo import Former, changed, gone
from guesthouse.engine.resolve import find_elastic, find_port
from guesthouse.model.errors import Conflict, Failed, Invalid, NotFound
from guesthouse.model.machine import Machine
from guesthouse.model.network import Elastic, Network, Pool, Port
from guesthouse.model.resources import Operation


async def pool_add(desk: Desk, intent: intents.PoolAdd) -> Pool:
    """Let projects have the addresses of a block."""
    addresses.check_pool(intent.cidr)
    subject = f"pool {intent.cidr}"
    taken = [Block(pool.cidr, "a pool already") for pool in await desk.tx.pools.select()]
    taken += await routed_blocks(desk)
    addresses.refuse_overlap(intent.cidr, taken, subject)
    return await desk.tx.pools.insert(Pool(id=desk.new_id(), cidr=intent.cidr))


async def pool_remove(desk: Desk, intent: intents.PoolRemove) -> Removed:
    """Take a pool back of which nobody has an address."""
    found = await desk.tx.pools.select(cidr=intent.cidr)
    subject = f"pool {intent.cidr}"
    if not found:
        raise NotFound(
            f"there is no pool {intent.cidr!r}", subject=subject, field="cidr", value=intent.cidr,
            hint="`guest address pool list` shows the pools",
        )  # fmt: skip
    if held := [
        each.address for each in await desk.tx.elastics.select() if addresses.in_pool(each.address, intent.cidr)
    ]:
        raise Conflict(
            f"{len(held)} addresses of {subject} are allocated", subject=subject, field="cidr", value=held[0],
            hint="have them released first; `guest address list` in each project shows its own",
        )  # fmt: skip
    await desk.tx.pools.delete(found[0].id)
    return Removed(found[0].id, intent.cidr)


async def allocate(desk: Desk, intent: intents.AddressAllocate) -> Elastic:
    """Keep an address for the project."""
    elastic = Elastic(id=desk.new_id(), project=desk.asker.project, address=await _free(desk, intent.address))
    return await desk.tx.elastics.insert(elastic)


async def lend(desk: Desk, network: Network, port: Port) -> Elastic:
    """Have a free address lead to a port, for as long as it does; raises `Invalid` where none can lead to."""
    if not (MODES[network.mode].elastic and port.address):
        hint = "machines are public on networks in mode nat or private"
        raise Invalid(f"network {network.name} has no elastic addresses", field="public", value=True, hint=hint)
    address = await _free(desk, "")
    elastic = Elastic(
        id=desk.new_id(), project=desk.asker.project, address=address, network=network.id, port=port.id, lent=True
    )
    return await desk.tx.elastics.insert(elastic)


async def _free(desk: Desk, wanted: str) -> str:
    """The lowest free address of the pools, or the `wanted` one; raises `Invalid`, `Conflict` or `NoCapacity`."""
    await check_project(desk, nics=1)
    pools = [pool.cidr for pool in await desk.tx.pools.select()]
    held = {each.address for each in await desk.tx.elastics.select()}
    own = set((await desk.networks.addresses()).own) if pools else set()
    if wanted:
        address = addresses.check_elastic(wanted, pools)
        if address in held | own:
            raise Conflict(
                f"address {address} is taken", subject=f"address {address}", field="address", value=address,
                hint="name none for the lowest free one",
            )  # fmt: skip
        return address
    return addresses.next_elastic(pools, held | own)


async def attach(desk: Desk, intent: intents.AddressAttach) -> Operation:
    """Have an address lead to one of a machine's NICs."""
    elastic = await find_elastic(desk.tx.elastics, desk.asker.project, intent.address)
    machine = await desk.machine(intent.machine)
    network, port = await _port(desk, machine, intent.mac)
    if elastic.port == port.id:
        return await desk.open("network.change", msgspec.structs.replace(network, project=elastic.project), done=True)
    if elastic.port:
        raise Conflict(
            f"address {elastic.address} leads to another NIC already", subject=f"address {elastic.address}",
            field="address", value=elastic.address, hint=f"`guest address detach {elastic.address}` first",
        )  # fmt: skip
    for other in await desk.tx.elastics.select(port=port.id):
        raise Conflict(
            f"address {other.address} leads to this NIC of machine {machine.name}", subject=f"machine {machine.name}",
            field="mac", value=port.mac, hint=f"`guest address detach {other.address}` first",
        )  # fmt: skip
    leads = {"network": network.id, "port": port.id}
    await desk.tx.elastics.update(elastic.id, {}, **leads)
    return await changing(desk, network, changed("elastics", elastic, **leads))


async def lead(desk: Desk, intent: intents.AddressLead) -> Operation:
    """Have an address lead to a port; what was lent to that goes back."""
    elastic = await find_elastic(desk.tx.elastics, desk.asker.project, intent.address)
    network, port = await find_port(desk.tx, desk.asker.project, intent.port)
    subject = f"address {elastic.address}"
    if not (port.address and MODES[network.mode].elastic):
        hint = "they lead to ports of networks in mode nat or private"
        raise Conflict(f"no elastic address leads to network {network.name}", subject=subject, field="port", hint=hint)
    if elastic.port == port.id:
        return await desk.open("network.change", msgspec.structs.replace(network, project=elastic.project), done=True)
    if elastic.network not in ("", network.id):
        hint = f"`guest address detach {elastic.address}` first"
        raise Conflict(f"{subject} leads to another network", subject=subject, field="address", hint=hint)
    others = await desk.tx.elastics.select(port=port.id)
    kept = next((each for each in others if not each.lent), None)
    if not intent.move and (elastic.port or kept):
        said = f"{kept.address} leads to this port" if kept else f"{subject} leads to another port"
        hint = "`guest address detach` first"
        raise Conflict(f"{said} already", subject=subject, field="address", value=elastic.address, hint=hint)
    before = [await _lead_away(desk, other) for other in others]
    leads = {"network": network.id, "port": port.id}
    await desk.tx.elastics.update(elastic.id, {}, **leads)
    return await changing(desk, network, *before, changed("elastics", elastic, **leads))


async def _lead_away(desk: Desk, elastic: Elastic) -> Former:
    """Have an address lead nowhere, and note that; a lent one goes back to its pool."""
    if elastic.lent:
        await desk.tx.elastics.delete(elastic.id)
        return gone("elastics", elastic)
    nowhere = {"network": "", "port": ""}
    await desk.tx.elastics.update(elastic.id, {}, **nowhere)
    return changed("elastics", elastic, **nowhere)


async def detach(desk: Desk, intent: intents.AddressDetach) -> Operation:
    """Have an address lead nowhere; the project keeps it."""
    elastic = await find_elastic(desk.tx.elastics, desk.asker.project, intent.address)
    network = await desk.tx.networks.get(elastic.network) if elastic.network else None
    if network is None:
        raise Conflict(
            f"address {elastic.address} leads to no machine", subject=f"address {elastic.address}", field="address",
            value=elastic.address, hint="`guest address list` shows where addresses lead",
        )  # fmt: skip
    return await changing(desk, network, await _lead_away(desk, elastic))


async def release(desk: Desk, intent: intents.AddressRelease) -> Removed:
    """Give an address back that leads nowhere."""
    elastic = await find_elastic(desk.tx.elastics, desk.asker.project, intent.address)
    if elastic.port:
        raise Conflict(
            f"address {elastic.address} leads to a machine", subject=f"address {elastic.address}", field="address",
            value=elastic.address, hint=f"`guest address detach {elastic.address}` first",
        )  # fmt: skip
    await desk.tx.elastics.delete(elastic.id)
    return Removed(elastic.id, elastic.address)


async def _port(desk: Desk, machine: Machine, mac: str) -> tuple[Network, Port]:
    """The NIC of a machine that an elastic address can lead to."""
    found = []
    for port in await desk.tx.ports.select(machine=machine.id):
        network = await desk.tx.networks.get(port.network)
        if network is None:
            raise Failed(f"the network of {port.mac} is gone", subject=f"machine {machine.name}")
        if port.address and MODES[network.mode].elastic and mac in ("", port.mac):
            found.append((network, port))
    if not found:
        raise Conflict(
            f"machine {machine.name} has no NIC{f' {mac}' if mac else ''} on a network with elastic addresses",
            subject=f"machine {machine.name}",
            field="mac" if mac else "machine",
            value=mac or machine.name,
            hint="they lead to NICs on networks in mode nat or private",
        )
    if len(found) > 1:
        macs = ", ".join(port.mac for _, port in found)
        raise Invalid(
            f"machine {machine.name} has several NICs: {macs}", field="mac", hint="say which, by its MAC address"
        )
    return found[0]
