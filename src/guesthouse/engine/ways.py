"""By which way a TCP port of a machine is reached.

Rules
-----
1. A NIC in user mode lets in what is forwarded: a port of the host's loopback leads there.
2. On a network whose machines the host reaches, whoever is on the host goes to the address itself, where no groups
   judge what comes.
3. All others are led: the house connects from within the network, as its gateway. Groups judge what machines and the
   outside send; the house's own way in is not theirs to close. It is a role that opens it, as it does the console.
4. A network in mode ``bridge`` has no gateway of ours, and somebody else gives the addresses: no way leads there.
"""

from __future__ import annotations

from dataclasses import dataclass

from guesthouse.model.errors import Conflict
from guesthouse.model.machine import Machine
from guesthouse.model.network import Network, NetworkMode, Port
from guesthouse.ports import Transaction

SSH = 22
_LOOPBACK = "127.0.0.1"
# The modes of networks whose machines the house reaches from within, and of those that are reached from the host too.
_LED = frozenset({NetworkMode.NAT, NetworkMode.HOST_ONLY, NetworkMode.PRIVATE})
_REACHED = frozenset({NetworkMode.NAT, NetworkMode.HOST_ONLY})


@dataclass(frozen=True)
class Way:
    """Where the house connects to: from within a network, or without one from the host itself.

    `led`: who asks has no other way than to have the house connect. `place` is the id of the port that the machine has
    on the network.
    """

    address: str
    port: int
    network: Network | None = None
    place: str = ""
    led: bool = True


async def way_to(tx: Transaction, machine: Machine, port: int, *, local: bool = False, reached: bool = True) -> Way:
    """The way to a TCP port, for who is on this host (`local`) or elsewhere; raises `Conflict` where there is none.

    `reached`: this host has ways to networks at all.
    """
    if host_port := _forwarded(machine, port):
        return Way(_LOOPBACK, host_port, led=not local)
    places = [place for place in await _places(tx, machine) if place[1].mode in _LED]
    if local and reached:
        for seat, network in places:
            if network.mode in _REACHED and not seat.groups:
                return Way(seat.address, port, network, seat.id, led=False)
    for seat, network in places:
        return Way(seat.address, port, network, seat.id)
    raise Conflict(
        f"machine {machine.name} has neither a port of this host that leads to its port {port} nor an address that the"
        " house reaches",
        subject=f"machine {machine.name}",
        field="port",
        value=port,
        hint=f"`guest forward add {machine.name} {port}` leads a port of the host there; "
        f"`guest console {machine.name}` needs no network",
    )


def _forwarded(machine: Machine, port: int) -> int:
    """The port of the host's loopback that leads there, 0 where none does."""
    if port == SSH and machine.ssh_port:
        return machine.ssh_port
    found = (each.host_port for each in machine.status.forwards if (each.guest_port, each.protocol) == (port, "tcp"))
    return next(found, 0)


async def _places(tx: Transaction, machine: Machine) -> list[tuple[Port, Network]]:
    """The machine's places with an address, in the order of its NICs; those that it is about to leave are none."""
    held = {port.mac: port for port in await tx.ports.select(machine=machine.id)}
    found: list[tuple[Port, Network]] = []
    for port in (held[nic.mac] for nic in machine.spec.nics if nic.mac in held):
        network = await tx.networks.get(port.network)
        if network is not None and port.address:
            found.append((port, network))
    return found
