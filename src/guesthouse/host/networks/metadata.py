"""Where machines ask for their metadata: sockets of a network's namespace, for the door that answers on them.

Source: socket(7), ipv6(7); linux/in6.h: with IPV6_FREEBIND an address may be used while it is still tentative.
"""

from __future__ import annotations

import contextlib
import socket

from guesthouse.host.networks.namespace import Namespace
from guesthouse.model.network import METADATA_IPV4, METADATA_IPV6, Network, NetworkMode
from guesthouse.ports import MetadataDoor

PORT = 80
_IPV6_FREEBIND = 78


class Listening:
    """Which networks the door answers on, and in which namespaces."""

    def __init__(self, door: MetadataDoor | None) -> None:
        self._door = door
        self._served: dict[str, int] = {}

    async def begin(self, network: Network, namespace: Namespace) -> None:
        """Have the door answer on a network; one that is answered on already is left alone."""
        if self._door is None or network.mode is NetworkMode.BRIDGE:
            return
        if self._served.get(network.id) != (inode := namespace.inode()):
            await self._door.open(network.id, namespace.enter(sockets))
            self._served[network.id] = inode

    async def end(self, network: Network) -> None:
        """Have nobody answer there any more."""
        if self._door is not None and self._served.pop(network.id, None) is not None:
            await self._door.close(network.id)


def sockets() -> list[socket.socket]:
    """The sockets of the metadata addresses in this thread's namespace, bound and not yet listening."""
    with contextlib.ExitStack() as stack:
        made = [stack.enter_context(socket.socket(family)) for family in (socket.AF_INET, socket.AF_INET6)]
        four, six = made
        for each in made:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        six.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        four.bind((METADATA_IPV4, PORT))
        six.bind((METADATA_IPV6, PORT))
        stack.pop_all()
    return made
