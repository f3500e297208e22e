"""NICs of machines on networks of this host: each QEMU has a TAP of its network, by a descriptor."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass

from guesthouse.decide.observed import Desired
from guesthouse.host.networks.local import LocalNetworks
from guesthouse.host.networks.taps import idle_tap
from guesthouse.model.machine import NicSpec
from guesthouse.qemu.placed import Placed


@dataclass(frozen=True)
class Wiring:
    """What it takes to put machines on networks."""

    networks: LocalNetworks

    def seen(self, desired: Desired) -> dict[str, int]:
        """The generations that this host has of the machine's networks, by id."""
        return {each.network.id: self.networks.generation(each.network) for each in desired.networks}

    async def apply(self, desired: Desired) -> None:
        """Have the machine's networks as they are wanted; raises as `ports.NetworkHost.apply`."""
        for wanted in desired.networks:
            await self.networks.apply(wanted)

    @asynccontextmanager
    async def taps(self, desired: Desired, nics: Iterable[NicSpec]) -> AsyncIterator[dict[str, int]]:
        """TAPs for those of the machine's NICs that are on networks, by MAC address; ours are closed with the block.

        The networks are there then, with all that they need to know of the machine. Raises `Conflict` or `Failed`
        where that cannot be.
        """
        macs, found = {nic.mac for nic in nics}, {}
        with ExitStack() as stack:
            for wanted in desired.networks:
                for port in (each.port for each in wanted.ports if each.port.machine == desired.machine.id):
                    if port.mac in macs:
                        found[port.mac] = await self.networks.attach(wanted, port)
                        stack.callback(os.close, found[port.mac])
            yield found


@contextmanager
def idle_taps(placed: Placed) -> Iterator[dict[str, int]]:
    """TAPs that lead nowhere, for a QEMU whose vCPUs never run: a NIC's state tells what kind its other end was."""
    found = {}
    with ExitStack() as stack:
        for mac in (nic.mac for nic in placed.nics if nic.tap):
            found[mac] = idle_tap()
            stack.callback(os.close, found[mac])
        yield found
