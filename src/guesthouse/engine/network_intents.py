"""What may be asked of networks, whatever the dialect; the rules are those of `engine.intents`.

A group is found by its network: names are unique there. Of shared networks every project may use groups of its own.
"""

from __future__ import annotations

from guesthouse.engine.intents import Intent
from guesthouse.model.network import Direction, NetworkMode, Outlet, Protocol


class NetworkCreate(Intent, frozen=True, kw_only=True):
    """Make a network. `cidr` is its subnet's in modes nat and host-only, a free one when not said; in mode private
    the block that its subnets are to lie in, any when not said. `first` and `last` are what DHCP gives to machines
    that name no address. `link` is the host's interface or bridge for mode bridge.

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
    """Give a private network a subnet more. An empty name is chosen. `outlet` says which ways lead outside and back.

    `number` is its own in the network, 0 for the lowest that is free: its IPv6 block is made of that.
    """

    network: str
    cidr: str
    name: str = ""
    first: str = ""
    last: str = ""
    outlet: Outlet = Outlet.ALL
    number: int = 0


class SubnetChange(Intent, frozen=True, kw_only=True):
    """Change which ways lead outside from a private network's subnet; fields that are None stay.

    `gate` is the id of a port that stays and has an elastic address: that is then the one which machines share, who go
    out by a shared one. An empty one is the network's own.
    """

    network: str
    subnet: str
    outlet: Outlet | None = None
    gate: str | None = None


class PortCreate(Intent, frozen=True, kw_only=True):
    """Keep a place on a network that no machine has yet; a NIC with its MAC address will have it.

    What is not said is chosen, as for a NIC. Where its machine goes, it stays.
    """

    network: str
    subnet: str = ""
    address: str = ""
    groups: tuple[str, ...] = ()


class PortChange(Intent, frozen=True, kw_only=True):
    """Change a port, by its id; fields that are None stay. The groups of one that a machine has are its NIC's.

    A `guarded` one sends from its own addresses only. One that `stays` outlasts its machine.
    """

    port: str
    groups: tuple[str, ...] | None = None
    guarded: bool | None = None
    stays: bool | None = None


class PortDelete(Intent, frozen=True, kw_only=True):
    """Give a place up that no machine has."""

    port: str


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


class RuleChange(RuleAdd, frozen=True, kw_only=True):
    """Have a rule say all this instead of what it said; it keeps its id."""

    rule: str


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


class AddressLead(Intent, frozen=True, kw_only=True):
    """Have an elastic address lead to a port, by its id. To `move` is to lead it away from
    another port of the network for that, and others away from this one.
    """

    address: str
    port: str
    move: bool = False


class AddressDetach(Intent, frozen=True, kw_only=True):
    address: str


class AddressRelease(Intent, frozen=True, kw_only=True):
    """Give an elastic address back."""

    address: str
