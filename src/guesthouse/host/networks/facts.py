"""What of networks this box can have, and has."""

from __future__ import annotations

from collections.abc import Sequence

from guesthouse.host.networks import findings
from guesthouse.host.networks.hostside import elsewhere
from guesthouse.host.networks.local import LocalNetworks
from guesthouse.model.network import Network
from guesthouse.ports import Finding, HostAddresses, Lease


class LocalNetworkFacts:
    """Implements `ports.NetworkFacts`."""

    def __init__(self, networks: LocalNetworks) -> None:
        self._networks = networks
        self._can = False

    async def refusal(self) -> Finding | None:
        """Why this box can have no networks; None where it can, which stays so for the life of a daemon."""
        if self._networks.refused is not None:
            return self._networks.refused
        refused = None if self._can else await findings.refusal(self._networks.host.ground)
        self._can = refused is None
        return refused

    async def check(self) -> Sequence[Finding]:
        """What ``guest host check`` tells of networks."""
        if self._networks.refused is not None:
            return [self._networks.refused]
        return await findings.check(self._networks.host.table, self._networks.host.ground)

    async def addresses(self) -> HostAddresses:
        """Addresses that a network must not have, for they are somebody else's here."""
        return elsewhere(self._networks.host.tag, await self._networks.host.look())

    def reached(self) -> bool:
        """Whether this box itself reaches machines at their addresses, on networks whose mode lets it."""
        return not self._networks.host.ground.is_own

    def leases(self, network: Network) -> Sequence[Lease]:
        """What machines of the network have asked for, as its name server has written it down."""
        return [Lease(each.address, each.mac, each.expires_at) for each in self._networks.leases(network)]
