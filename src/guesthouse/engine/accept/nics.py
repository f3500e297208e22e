"""Accepting what is asked of NICs. A NIC is part of its machine's description: that is changed, in this transaction."""

from __future__ import annotations

import msgspec

from guesthouse.decide.complete import with_macs
from guesthouse.engine import nic_intents as intents
from guesthouse.engine.accept.desk import Desk
from guesthouse.engine.accept.machines import change_to
from guesthouse.model.errors import Conflict, Invalid, NotFound
from guesthouse.model.machine import Machine, NicSpec
from guesthouse.model.resources import Operation


async def add(desk: Desk, intent: intents.NicAdd) -> Operation:
    """Give a machine a NIC more."""
    machine = await desk.machine_to_change(intent.machine, described=True)
    if any(nic.mac == intent.mac for nic in machine.spec.nics):
        raise Conflict(
            f"machine {machine.name} has a NIC {intent.mac} already",
            subject=f"machine {machine.name}",
            field="mac",
            value=intent.mac,
            hint="leave the MAC address out: the house then chooses one",
        )
    said = {name: getattr(intent, name) for name in NicSpec.__struct_fields__}
    return await _change(desk, machine, (*machine.spec.nics, NicSpec(**said)))


async def change(desk: Desk, intent: intents.NicChange) -> Operation:
    """Have a NIC be in other groups."""
    machine = await desk.machine_to_change(intent.machine, described=True)
    nic = _nic(machine, intent.nic)
    return await _replace(desk, machine, nic, msgspec.structs.replace(nic, groups=intent.groups))


async def move(desk: Desk, intent: intents.NicMove) -> Operation:
    """Have a NIC be elsewhere."""
    machine = await desk.machine_to_change(intent.machine, described=True)
    nic = _nic(machine, intent.nic)
    if not (intent.network or intent.subnet or intent.address):
        raise Invalid("nowhere to move to", field="network", hint="name a network, a subnet or an address")
    network = intent.network or nic.network
    groups = (nic.groups if network == nic.network else ()) if intent.groups is None else intent.groups
    moved = msgspec.structs.replace(nic, network=network, subnet=intent.subnet, address=intent.address, groups=groups)
    return await _replace(desk, machine, nic, moved)


async def remove(desk: Desk, intent: intents.NicRemove) -> Operation:
    """Take a NIC away; its address is free when the guest has let go of it."""
    machine = await desk.machine_to_change(intent.machine, described=True)
    nic = _nic(machine, intent.nic)
    return await _change(desk, machine, tuple(each for each in machine.spec.nics if each is not nic))


async def _replace(desk: Desk, machine: Machine, nic: NicSpec, by: NicSpec) -> Operation:
    return await _change(desk, machine, tuple(by if each is nic else each for each in machine.spec.nics))


async def _change(desk: Desk, machine: Machine, nics: tuple[NicSpec, ...]) -> Operation:
    return await change_to(desk, machine, with_macs(desk.random, msgspec.structs.replace(machine.spec, nics=nics)))


def _nic(machine: Machine, ref: str) -> NicSpec:
    """The NIC with that MAC address, or the only one on that network."""
    found = [nic for nic in machine.spec.nics if ref and ref.lower() in (nic.mac, nic.network)]
    if len(found) == 1:
        return found[0]
    raise (Conflict if found else NotFound)(
        f"machine {machine.name} has {f'{len(found)} NICs on network' if found else 'no NIC'} {ref!r}",
        subject=f"machine {machine.name}",
        field="nic",
        value=ref,
        hint=f"`guest nic list {machine.name}` shows their MAC addresses",
    )
