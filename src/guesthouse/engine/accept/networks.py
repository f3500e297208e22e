"""Accepting what is asked of networks and their subnets.

Rules
-----
1. A network is its project's; others may use a shared one, and cannot change it.
2. What touches the host itself, or other projects, is for the operator of the house: mode bridge, shared networks,
   and which addresses outside of the house's own block the host routes.
3. A change of a network that is ready is accepted while others wait: each is done in its turn.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from guesthouse.decide import addresses
from guesthouse.decide.addresses import MODES, Block
from guesthouse.engine import network_intents as intents
from guesthouse.engine.accept.desk import Desk
from guesthouse.engine.accept.room import check_project
from guesthouse.engine.network_undo import Former, changed, kept
from guesthouse.engine.resolve import find, find_network
from guesthouse.engine.wanted import readdress, touch
from guesthouse.model.errors import Conflict, Denied, Invalid, NoCapacity
from guesthouse.model.names import check_name
from guesthouse.model.network import Direction, Group, Network, NetworkMode, NetworkState, Port, Rule, Subnet
from guesthouse.model.resources import Operation

DEFAULT_GROUP = "default"
_EVERYBODY = ("0.0.0.0/0", "::/0")


async def create(desk: Desk, intent: intents.NetworkCreate) -> Operation:
    """Make a network, with the subnet or the group that its mode brings."""
    check_name(intent.name, "network")
    said = {name: getattr(intent, name) for name in ("cidr", "first", "last", "domain", "link", "ipv6")}
    addresses.check_mode(intent.mode, said)
    addresses.check_mtu(intent.mtu, ipv6=intent.ipv6)
    if intent.mode is NetworkMode.PRIVATE and intent.cidr:
        addresses.check_block(intent.cidr)
    if not desk.asker.house and (intent.shared or intent.mode is NetworkMode.BRIDGE):
        field = "shared" if intent.shared else "mode"
        raise Denied("only the operator of the house may make a shared network, or one in mode bridge", field=field)
    await refuse_without_networks(desk)
    await check_project(desk, networks=1)
    others = await desk.tx.networks.scan()
    network = Network(
        id=desk.new_id(),
        project=desk.asker.project,
        name=intent.name,
        mode=intent.mode,
        number=addresses.lowest_free(each.number for each in others),
        host=desk.host,
        shared=intent.shared,
        link=intent.link,
        cidr=intent.cidr if intent.mode is NetworkMode.PRIVATE else "",
        mtu=intent.mtu,
        ipv6=intent.ipv6,
    )
    network = msgspec.structs.replace(network, domain=_domain(network, intent.domain, others))
    subnet = await _first_subnet(desk, network, intent) if MODES[intent.mode].routed else None
    network = await desk.tx.networks.insert(network)
    if subnet is not None:
        await desk.tx.subnets.insert(subnet)
    if intent.mode is NetworkMode.PRIVATE:
        await desk.tx.groups.insert(_default_group(desk, network))
    return await desk.open("network.create", network)


async def change(desk: Desk, intent: intents.NetworkChange) -> Operation:
    """Change what of a network can change while machines are on it."""
    network = await own_network(desk, intent.network)
    said = {name: getattr(intent, name) for name in ("domain", "mtu", "ipv6", "shared")}
    said = {name: value for name, value in said.items() if value is not None}
    if not said:
        raise Invalid(
            "nothing is said that is to change", field="network", hint="name a domain, an MTU, IPv6 or shared"
        )
    addresses.check_mode(network.mode, {name: said.get(name) for name in ("domain", "ipv6")} | {"link": network.link})
    addresses.check_mtu(said.get("mtu", network.mtu), ipv6=said.get("ipv6", network.ipv6))
    if "domain" in said:
        said["domain"] = _domain(network, said["domain"], await desk.tx.networks.scan())
    if "shared" in said:
        await _check_sharing(desk, network, shared=said["shared"])
    said = {name: value for name, value in said.items() if value != getattr(network, name)}
    if not said:
        return await desk.open("network.change", network, done=True)
    if "ipv6" in said:
        await readdress(desk.tx, msgspec.structs.replace(network, ipv6=said["ipv6"]))
    return await changing(desk, network, changed("networks", network, **said), fields=said)


async def delete(desk: Desk, intent: intents.NetworkDelete) -> Operation:
    """Remove a network that nobody uses."""
    await refuse_without_networks(desk)
    network = await find(desk.tx.networks, desk.asker.project, "network", intent.network)
    if under_way := await desk.open_operations(network.id):
        raise Conflict(
            f"network {network.name}: {under_way[-1].kind} is under way",
            subject=f"network {network.name}",
            field="operation",
            value=under_way[-1].id,
            hint=f"wait for it, or `guest operation cancel {under_way[-1].id}`",
        )
    await refuse_used(desk, network, await desk.tx.ports.select(network=network.id))
    strangers = [each for each in await desk.tx.groups.select(network=network.id) if each.project != network.project]
    if strangers:
        raise Conflict(
            f"network {network.name}: {len(strangers)} groups on it are of other projects",
            subject=f"network {network.name}",
            hint="have them deleted first (`guest group delete`)",
        )
    await desk.tx.networks.update(network.id, {}, state=NetworkState.DELETING)
    return await desk.open("network.delete", network)


# --- for all that is on networks ---


async def own_network(desk: Desk, ref: str) -> Network:
    """The asker's own network, ready to be changed."""
    return _ready(await find(desk.tx.networks, desk.asker.project, "network", ref))


async def usable_network(desk: Desk, ref: str) -> Network:
    """A network that the asker may use, its own or a shared one, ready; raises `NoCapacity` where there are none."""
    await refuse_without_networks(desk)
    return _ready(await find_network(desk.tx.networks, desk.asker.project, ref))


async def changing(
    desk: Desk, network: Network, *before: Former, fields: dict[str, object] | None = None, **result: str
) -> Operation:
    """Note that the host has work with a network, and open the operation, of the project that asked for it."""
    await refuse_without_networks(desk)
    network = await touch(desk.tx, network, **(fields or {}))
    asked = msgspec.structs.replace(network, project=desk.asker.project)
    return await desk.open("network.change", asked, context=kept(*before, **result), generation=network.generation)


async def refuse_without_networks(desk: Desk) -> None:
    """Raise `NoCapacity` where this host can have no networks, with the reason of `guest host check`."""
    refused = await desk.networks.refusal()
    if refused is not None:
        raise NoCapacity(f"this host can have no networks: {refused.found}", field="network", hint=refused.fix)


async def routed_blocks(desk: Desk) -> list[Block]:
    """Blocks of the networks that the host routes; of strangers' networks nothing is told but that."""
    networks = {each.id: each for each in await desk.tx.networks.scan() if MODES[each.mode].routed}
    found = []
    for subnet in await desk.tx.subnets.select():
        if (network := networks.get(subnet.network)) is not None:
            known = desk.asker.house or network.shared or network.project == desk.asker.project
            found.append(Block(subnet.cidr, f"network {network.name}'s" if known else "another network's"))
    return found


async def taken_blocks(desk: Desk) -> list[Block]:
    """Blocks that a network which the host routes must not have."""
    found = await routed_blocks(desk)
    found += [Block(pool.cidr, "a pool of elastic addresses") for pool in await desk.tx.pools.select()]
    host = await desk.networks.addresses()
    found += [Block(cidr, "reached by this host otherwise") for cidr in host.reached]
    return found + [Block(address, "this host's own") for address in host.own]


async def refuse_used(desk: Desk, network: Network, ports: Sequence[Port]) -> None:
    """Raise `Conflict` while machines are there, naming the asker's own."""
    if not ports:
        return
    own = sorted(
        {port.name or f"the port {port.address or port.mac}" for port in ports if port.project == desk.asker.project}
    )
    strangers = len({port.machine for port in ports if port.project != desk.asker.project})
    named = [*own[:10], *(("…",) if len(own) > 10 else ())]
    named += [f"{strangers} machines of other projects"] if strangers else []
    raise Conflict(
        f"network {network.name} is used by {', '.join(named)}",
        subject=f"network {network.name}",
        field="machines",
        value=", ".join(named),
        hint="give their NICs another network, or delete them first",
    )


def _ready(network: Network) -> Network:
    if network.state is not NetworkState.READY:
        subject = f"network {network.name}"
        hint = "`guest operation list` shows what is being done with it"
        raise Conflict(f"{subject} is not ready: {network.state.value}", subject=subject, hint=hint)
    return network


async def _first_subnet(desk: Desk, network: Network, intent: intents.NetworkCreate) -> Subnet:
    taken = await taken_blocks(desk)
    plain = Subnet(
        id=desk.new_id(), project=network.project, network=network.id, name="main", number=1,
        cidr=intent.cidr or addresses.free_block(taken), gateway="", first=intent.first, last=intent.last,
    )  # fmt: skip
    subnet = addresses.make_subnet(plain, ipv6=network.ipv6)
    if not desk.asker.house and not addresses.is_houses(subnet.cidr):
        # The host, and with it everybody else here, would look for those addresses on this network alone.
        hint = f"take some of {addresses.HOUSE}, name none for free ones, or take mode private"
        said = f"only the operator of the house chooses which addresses lead to a network in mode {network.mode.value}"
        raise Denied(said, field="cidr", value=subnet.cidr, hint=hint)
    addresses.refuse_overlap(subnet.cidr, taken, f"network {network.name}")
    return subnet


def _domain(network: Network, said: str, others: Sequence[Network]) -> str:
    """Where the network's machines have their names. The host is told that of networks that it reaches.

    Such a domain is therefore nobody else's in the house, and below ``.internal``: who could choose any could have the
    host ask him for names of the whole world.
    """
    mode = MODES[network.mode]
    if "domain" not in mode.takes:
        return ""
    plain = f"{network.name}.{addresses.INSIDE}"
    known = {each.domain for each in others if MODES[each.mode].routed and each.id != network.id and each.domain}
    is_taken = any(addresses.is_one_in_other(said or plain, each) for each in known)
    if not said:
        return f"{network.name}-{network.number}.{addresses.INSIDE}" if is_taken and mode.routed else plain
    addresses.check_domain(said)
    if mode.routed and not said.endswith(".internal"):
        hint = f"take one below .internal, like {plain}, or a network in mode private"
        raise Invalid(f"the host would ask this network for {said}", field="domain", value=said, hint=hint)
    if mode.routed and is_taken:
        raise Conflict(
            f"domain {said} is taken in this house", field="domain", value=said, hint="take another, or none for one"
            " that is free",
        )  # fmt: skip
    return said


def _default_group(desk: Desk, network: Network) -> Group:
    group = desk.new_id()
    inner = Rule(id=desk.new_id(), direction=Direction.IN, group=group, description="from the same group")
    outer = [Rule(id=desk.new_id(), direction=Direction.OUT, cidr=cidr) for cidr in _EVERYBODY]
    words = "machines that are in no other group"
    return Group(
        id=group, project=network.project, network=network.id, name=DEFAULT_GROUP, description=words,
        rules=(inner, *outer),
    )  # fmt: skip


async def _check_sharing(desk: Desk, network: Network, *, shared: bool) -> None:
    if shared != network.shared and not desk.asker.house:
        raise Denied("only the operator of the house may share a network, or no longer", field="shared")
    if shared:
        return
    users = [port.project for port in await desk.tx.ports.select(network=network.id)]
    users += [group.project for group in await desk.tx.groups.select(network=network.id)]
    if strangers := sum(project != network.project for project in users):
        raise Conflict(
            f"network {network.name} is used by other projects: {strangers} NICs and groups on it are theirs",
            subject=f"network {network.name}",
            field="shared",
            hint="have them moved and deleted first",
        )
