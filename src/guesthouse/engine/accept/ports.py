"""Places of NICs on networks: who is where, at which address, in which groups.

Rules
-----
1. A NIC's place is written down with the description that wants it. The address that it got is in the description from
   then on; a snapshot of it so knows where the guest will look for itself.
2. A place stays a NIC's until neither the description nor the guest has that NIC (`engine.leaving`).
3. A NIC keeps its MAC address when it moves: by that the guest's configuration knows it. It has its new place at once;
   the old one is kept, by a MAC address that no NIC has, until the guest has let go of the NIC. So no MAC address is
   twice in a house, nobody gets the old address meanwhile, and there is a way back.
4. A port that no machine has becomes a NIC's with its MAC address. One that stays does not move: it is where it is.
5. A NIC that is to be public is lent an elastic address, which goes back with its place.
6. On a network of another project are only those of a `shared` one. What is not to be had does not exist.
"""

from __future__ import annotations

from typing import Any

import msgspec

from guesthouse.decide.addresses import address6, lowest_free
from guesthouse.decide.places import check_address, free_address
from guesthouse.engine.accept.addresses import lend
from guesthouse.engine.accept.desk import Desk
from guesthouse.engine.accept.networks import DEFAULT_GROUP, usable_network
from guesthouse.engine.network_undo import changed, gone, made
from guesthouse.engine.resolve import find_network
from guesthouse.engine.wanted import touch
from guesthouse.model.errors import Conflict, Invalid, NoCapacity, NotFound
from guesthouse.model.machine import Forward, MachineSpec, NicSpec
from guesthouse.model.names import make_mac
from guesthouse.model.network import Network, NetworkMode, Port, Subnet

_FORWARDING = frozenset({NetworkMode.NAT})
_FIRST_PORT, _LAST_PORT = 40000, 59999
_SSH = 22


async def take_places(desk: Desk, machine: str, spec: MachineSpec) -> MachineSpec:
    """Give the NICs of a machine, by its id, their places; the description with the addresses that they got.

    Raises `NotFound`, `Invalid`, `Conflict` or `NoCapacity` where one cannot be had.
    """
    nics = [await _take(desk, machine, spec.name, nic) for nic in spec.nics]
    return msgspec.structs.replace(spec, nics=tuple(nics))


async def _take(desk: Desk, machine: str, name: str, nic: NicSpec) -> NicSpec:
    found = await desk.tx.ports.select(mac=nic.mac)
    if found and found[0].machine != machine:
        found = [await _adopt(desk, machine, name, found[0])]
    if not nic.network:
        _refuse_place(nic)
    network = await find_network(desk.tx.networks, desk.asker.project, nic.network) if nic.network else None
    if found and network is not None and await _stays(desk, nic, network, found[0]):
        described = await _keep(desk, name, nic, network, found[0])
        await _lend(desk, nic, network)
        return described
    if found:
        _refuse_move(found[0])
        await _set_out(desk, found[0])
    if network is None:
        return nic
    described = await _enter(desk, machine, name, nic, await usable_network(desk, nic.network))
    if found:
        await _arrive(desk, nic, found[0])
    await _lend(desk, nic, network)
    return described


async def _adopt(desk: Desk, machine: str, name: str, port: Port) -> Port:
    """A place that no machine has, as this one's; raises `Conflict` where a machine has it, or it is a stranger's.

    Nothing is kept to undo that: it is free again when the guest has let go of the NIC, as after any other end of it.
    """
    if port.machine or port.project != desk.asker.project:
        raise Conflict(f"MAC address {port.mac} is taken", field="mac", value=port.mac, hint="leave it out")
    await desk.tx.ports.update(port.id, {}, machine=machine, name=name)
    await _touch_by_id(desk, port.network)
    return msgspec.structs.replace(port, machine=machine, name=name)


def _refuse_move(port: Port) -> None:
    if port.stays:
        raise Conflict(
            f"the place of NIC {port.mac} is kept: the NIC cannot be elsewhere",
            field="network",
            value=port.mac,
            hint="take the NIC away, and give the machine another one",
        )


async def _lend(desk: Desk, nic: NicSpec, network: Network) -> None:
    """Lend a public NIC an elastic address where it has none; take back that of one that is not public any more."""
    (port,) = await desk.tx.ports.select(mac=nic.mac)
    led = await desk.tx.elastics.select(port=port.id)
    if nic.public and not led:
        elastic = await lend(desk, network, port)
        desk.before.append(made("elastics", elastic))
        await _touch_by_id(desk, network.id)
    for elastic in led:
        if elastic.lent and not nic.public:
            desk.before.append(gone("elastics", elastic))
            await desk.tx.elastics.delete(elastic.id)
            await _touch_by_id(desk, network.id)


def _refuse_place(nic: NicSpec) -> None:
    for field in ("subnet", "address", "groups", "public"):
        if getattr(nic, field):
            raise Invalid(f"a NIC without a network has no {field}", field=field, hint="name its network too")


async def _stays(desk: Desk, nic: NicSpec, network: Network, port: Port) -> bool:
    """Whether a NIC is where it is wanted."""
    subnet = await desk.tx.subnets.get(port.subnet) if port.subnet else None
    elsewhere = nic.subnet and subnet is not None and nic.subnet not in (subnet.name, subnet.id)
    return port.network == network.id and not elsewhere and nic.address in ("", port.address)


async def _set_out(desk: Desk, port: Port) -> None:
    """Keep the old place of a NIC that moves, or leaves for user mode; what the host leads there goes with the NIC."""
    said = {"mac": await nobodys_mac(desk), "forwards": ()}
    desk.before.append(changed("ports", port, **said))
    await desk.tx.ports.update(port.id, {}, **said)
    await _touch_by_id(desk, port.network)


async def _arrive(desk: Desk, nic: NicSpec, left: Port) -> None:
    """Note the new place of a NIC that has moved. An elastic address goes with it where the network is the same."""
    (port,) = await desk.tx.ports.select(mac=nic.mac)
    desk.before.append(made("ports", port))
    for elastic in await desk.tx.elastics.select(port=left.id) if port.network == left.network else ():
        desk.before.append(changed("elastics", elastic, port=port.id))
        await desk.tx.elastics.update(elastic.id, {}, port=port.id)


async def nobodys_mac(desk: Desk) -> str:
    """A MAC address that no place has."""
    while await desk.tx.ports.select(mac=(mac := make_mac(desk.random))):
        pass
    return mac


async def _enter(desk: Desk, machine: str, name: str, nic: NicSpec, network: Network) -> NicSpec:
    """A new place on a network."""
    port = await desk.tx.ports.insert(await new_port(desk, machine, name, nic, network))
    await _touch(desk, network)
    subnet = await desk.tx.subnets.get(port.subnet) if port.subnet else None
    groups = await groups_of(desk, nic.groups, network)
    return _described(nic, network, subnet, address=port.address, groups=tuple(groups), forwards=port.forwards)


async def new_port(desk: Desk, machine: str, name: str, nic: NicSpec, network: Network) -> Port:
    """A place for a NIC on a network, as yet written down nowhere; raises as `take_places`."""
    ports = await desk.tx.ports.select(network=network.id)
    taken = {port.address for port in ports}
    subnet, address = await _seat(desk, nic, network, taken)
    groups = await groups_of(desk, nic.groups, network)
    return Port(
        id=desk.new_id(),
        project=desk.asker.project,
        network=network.id,
        subnet=subnet.id if subnet else "",
        machine=machine,
        name=name,
        mac=nic.mac,
        number=lowest_free(port.number for port in ports),
        address=address,
        address6=address6(subnet, address) if subnet else "",
        groups=tuple(groups.values()),
        forwards=await _forwards(desk, nic, network, nic.mac),
    )


async def _keep(desk: Desk, name: str, nic: NicSpec, network: Network, port: Port) -> NicSpec:
    """The place that a NIC has, with what is said otherwise of it now."""
    subnet = await desk.tx.subnets.get(port.subnet) if port.subnet else None
    groups = await groups_of(desk, nic.groups or (port.groups if port.stays else ()), network)
    forwards = await _forwards(desk, nic, network, nic.mac)
    said = {"name": name, "groups": tuple(groups.values()), "forwards": forwards}
    if any(getattr(port, field) != value for field, value in said.items()):
        desk.before.append(changed("ports", port, **said))
        await desk.tx.ports.update(port.id, {}, **said)
        await _touch(desk, network)
    return _described(nic, network, subnet, address=port.address, groups=tuple(groups), forwards=forwards)


def _described(nic: NicSpec, network: Network, subnet: Subnet | None, **place: Any) -> NicSpec:
    """The NIC with its place in the words of a description."""
    return msgspec.structs.replace(nic, network=network.name, subnet=subnet.name if subnet else "", **place)


async def _touch(desk: Desk, network: Network) -> None:
    await _touch_by_id(desk, network.id)


async def _touch_by_id(desk: Desk, network: str) -> None:
    latest = await desk.tx.networks.get(network)
    assert latest is not None  # one with places on it cannot go
    await touch(desk.tx, latest)
    desk.beside.append(network)


async def _seat(desk: Desk, nic: NicSpec, network: Network, taken: set[str]) -> tuple[Subnet | None, str]:
    """The subnet and the address of a newcomer; neither on a network whose addresses somebody else gives."""
    subnets = await desk.tx.subnets.select(network=network.id)
    if network.mode is NetworkMode.BRIDGE:
        for field in ("subnet", "address"):
            if getattr(nic, field):
                hint = "leave it out: somebody else gives the addresses there"
                raise Invalid(f"network {network.name} has no {field}", field=field, hint=hint)
        return None, ""
    if nic.subnet:
        subnets = [subnet for subnet in subnets if nic.subnet in (subnet.name, subnet.id)]
    if not subnets:
        what = f"subnet {nic.subnet!r}" if nic.subnet else "subnet yet"
        raise NotFound(
            f"network {network.name} has no {what}",
            subject=f"network {network.name}",
            field="subnet",
            value=nic.subnet,
            hint=f"`guest network show {network.name}` shows its subnets",
        )
    if nic.address:
        subnet = next((each for each in subnets if _holds(each, nic.address)), subnets[0])
        return subnet, check_address(subnet, nic.address, taken)
    for subnet in subnets[:-1]:
        try:
            return subnet, free_address(subnet, taken)
        except NoCapacity:
            continue
    return subnets[-1], free_address(subnets[-1], taken)


def _holds(subnet: Subnet, address: str) -> bool:
    try:
        check_address(subnet, address, ())
    except Invalid:
        return False
    return True


async def groups_of(desk: Desk, wanted: tuple[str, ...], network: Network) -> dict[str, str]:
    """The groups of a NIC: ids by name. On a private network a NIC that names none is in the group `default`."""
    own = await desk.tx.groups.select(network=network.id, project=desk.asker.project)
    known = {group.name: group.id for group in own}
    if not wanted and network.mode is NetworkMode.PRIVATE and DEFAULT_GROUP in known:
        wanted = (DEFAULT_GROUP,)
    found: dict[str, str] = {}
    for ref in wanted:
        name = next((name for name, id in known.items() if ref in (name, id)), None)
        if name is None:
            raise NotFound(
                f"network {network.name} has no group {ref!r}",
                subject=f"network {network.name}",
                field="groups",
                value=ref,
                hint="`guest group list` shows the groups",
            )
        found[name] = known[name]
    return found


async def _forwards(desk: Desk, nic: NicSpec, network: Network, mac: str) -> tuple[Forward, ...]:
    """The forwards of a NIC, with ports of the host chosen where none is named."""
    if not nic.forwards:
        return ()
    if network.mode not in _FORWARDING:
        raise Invalid(
            f"network {network.name} forwards no ports: its mode is {network.mode.value}",
            field="forwards",
            hint="leave the forwards out" + ("; it is reached directly" if network.mode is NetworkMode.BRIDGE else ""),
        )
    held = {
        (f.host_port, f.protocol) for port in await desk.tx.ports.select() if port.mac != mac for f in port.forwards
    }
    chosen: list[Forward] = []
    for forward in nic.forwards:
        if forward.host_port and (forward.host_port, forward.protocol) in held:
            raise Conflict(
                f"port {forward.host_port}/{forward.protocol} of the host is forwarded to another machine",
                field="host_port",
                value=forward.host_port,
                hint="choose another, or 0 to have one chosen",
            )
        chosen.append(forward if forward.host_port else await _chosen(desk, forward, held))
        held.add((chosen[-1].host_port, chosen[-1].protocol))
    return tuple(chosen)


async def _chosen(desk: Desk, forward: Forward, held: set[tuple[int, str]]) -> Forward:
    for port in range(_FIRST_PORT, _LAST_PORT + 1):
        if (port, forward.protocol) not in held and await desk.facts.port_is_free(port, forward.protocol):
            return msgspec.structs.replace(forward, host_port=port)
    raise NoCapacity("no free port was found on the host", field="host_port", hint="name one")
