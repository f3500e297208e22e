"""What may be asked of networks, whatever the dialect; the rules are those of `engine.intents`.

A group is found by its network: names are unique there. Of shared networks every project may use groups of its own.
"""

from __future__ import annotations

from guesthouse.engine.intents import Intent
from guesthouse.model.network import Direction, NetworkMode, Protocol


class NetworkCreate(Intent, frozen=True, kw_only=True):
    """Make a network. `cidr` is its subnet's in modes nat and host-only, a free one when not said; `first` and `last`
    are what DHCP gives to machines that name no address. `link` is the host's interface or bridge for mode bridge.

    A `shared` one serves every project.
    """

    name: str
    mode: NetworkMode = NetworkMode.NAT
    cidr: str = ""
    first: str = ""
    last: str = ""
    domain: str = ""
    mtu: int = 0
    link: str = ""
    ipv6: bool = False
    shared: bool = False


class NetworkChange(Intent, frozen=True, kw_only=True):
    """Change a network: fields that are None stay. An empty domain is the one that it would have by itself."""

    network: str
    domain: str | None = None
    mtu: int | None = None
    ipv6: bool | None = None
    shared: bool | None = None


class NetworkDelete(Intent, frozen=True, kw_only=True):
    network: str


class SubnetCreate(Intent, frozen=True, kw_only=True):
    """Give a private network a subnet more. An empty name is chosen."""

    network: str
    cidr: str
    name: str = ""
    first: str = ""
    last: str = ""


class SubnetDelete(Intent, frozen=True, kw_only=True):
    network: str
    subnet: str


class GroupCreate(Intent, frozen=True, kw_only=True):
    """Make a group. Without rules it lets nothing through."""

    network: str
    name: str
    description: str = ""


class GroupDelete(Intent, frozen=True, kw_only=True):
    network: str
    group: str


class RuleAdd(Intent, frozen=True, kw_only=True):
    """Let something through: from or to the addresses of `cidr`, or whoever is in the group `peer`.

    Without ports all of them; `last_port` is `first_port` where it is not said. Of ICMP they are type and code.
    """

    network: str
    group: str
    direction: Direction = Direction.IN
    protocol: Protocol = Protocol.ANY
    first_port: int | None = None
    last_port: int | None = None
    cidr: str = ""
    peer: str = ""
    description: str = ""


class RuleRemove(Intent, frozen=True, kw_only=True):
    network: str
    group: str
    rule: str


class PoolAdd(Intent, frozen=True, kw_only=True):
    """Let projects have the addresses of a block; they must lead to this host."""

    cidr: str


class PoolRemove(Intent, frozen=True, kw_only=True):
    cidr: str


class AddressAllocate(Intent, frozen=True, kw_only=True):
    """Take an elastic address: the lowest free one, or that one."""

    address: str = ""


class AddressAttach(Intent, frozen=True, kw_only=True):
    """Have an elastic address lead to a machine; `mac` says to which NIC of several."""

    address: str
    machine: str
    mac: str = ""


class AddressDetach(Intent, frozen=True, kw_only=True):
    address: str


class AddressRelease(Intent, frozen=True, kw_only=True):
    """Give an elastic address back."""

    address: str
