"""The host's side of networks."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from guesthouse.model.network import Network, NetworkWanted
from guesthouse.ports.facts import Finding


class MetadataDoor(Protocol):
    """Who answers machines that ask for their metadata."""

    async def open(self, network: str, sockets: Sequence[socket.socket]) -> None:
        """Answer on a network (an id) at these sockets of streams, which are closed with it."""

    async def close(self, network: str) -> None:
        """Answer there no more."""


class NetworkHost(Protocol):
    """Networks as links, rules and services of this box."""

    async def apply(self, wanted: NetworkWanted) -> None:
        """Have the network as it is wanted, whatever there was; what is there already is left, and so are connections.

        Raises `Conflict` or `Failed` where this box cannot have it, before anything has changed.
        """

    async def differs(self, wanted: NetworkWanted) -> Sequence[str]:
        """What of the network is not as it is wanted, in words; nothing when it is."""

    async def remove(self, network: Network) -> None:
        """Have no such network any more; there is none is as good."""

    def follow(self) -> AsyncIterator[str]:
        """Ids of networks that are no longer as they were applied."""


@dataclass(frozen=True)
class Lease:
    """An address that a machine has asked for and got; `mac` is empty with IPv6."""

    address: str
    mac: str
    expires_at: float


@dataclass(frozen=True)
class HostAddresses:
    """What this box has without our networks: addresses of its own, and blocks to which it knows a way."""

    own: tuple[str, ...] = ()
    reached: tuple[str, ...] = ()


class NetworkFacts(Protocol):
    """What of networks this box can have, and has."""

    async def refusal(self) -> Finding | None:
        """Why this box can have no networks; None where it can."""

    async def addresses(self) -> HostAddresses:
        """Addresses that a network must not have, for they are somebody else's here."""

    def leases(self, network: Network) -> Sequence[Lease]:
        """What machines of the network have asked for, as its name server has written it down."""

    def reached(self) -> bool:
        """Whether this box itself reaches machines at their addresses, on networks whose mode lets it."""
