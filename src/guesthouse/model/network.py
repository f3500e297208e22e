"""Networks and all that is on them: subnets, ports, groups, elastic addresses.

Rules
-----
1. A network is a layer-2 world of its own; its mode says who reaches whom:

   ========== ================== ================== =================== ================
   mode       machine to outside outside to machine machine and machine machine and host
   ========== ================== ================== =================== ================
   nat        yes                by what is opened  yes                 yes
   bridge     yes                yes                yes                 yes
   host-only  no                 no                 yes                 yes
   private    by its groups      elastic addresses  by its groups       no
   ========== ================== ================== =================== ================

   A machine on a ``nat`` network opens single ports by forwards, or all that its groups let in by an elastic address.

2. ``nat`` and ``host-only`` networks have one subnet, ``private`` ones any number, ``bridge`` ones none: there somebody
   else gives the addresses.
3. A port is a NIC's place on a network: one MAC address, one address of its subnet, its groups. No MAC address is
   twice in a house, no address twice in a network; two networks may have the same addresses.
4. Groups judge what passes a port, in both directions, and remember connections: the answer to what was let through
   passes. A port with groups lets through what one rule of one of them allows; a port without any lets all through
   that its mode allows.
5. Of a private network's subnet the `Outlet` says which ways lead to the outside and back.
6. A port that `stays` outlasts its machine, and may be there before it: a NIC with its MAC address gets its place.
7. Of a subnet the first address is the gateway's, which is also its name server; nobody else gets that, nor the
   subnet's own and the broadcast address.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from guesthouse.model.machine import Forward

METADATA_IPV4, METADATA_IPV6 = "169.254.169.254", "fd00:ec2::254"
"""Where a machine finds its metadata, on every network that is ours."""


class NetworkMode(StrEnum):
    """Who reaches whom, see the table above."""

    NAT = "nat"
    BRIDGE = "bridge"
    HOST_ONLY = "host-only"
    PRIVATE = "private"


class NetworkState(StrEnum):
    MAKING = "making"
    READY = "ready"
    DELETING = "deleting"


class Outlet(StrEnum):
    """Which machines of a subnet have a way to the outside. Groups judge what takes it."""

    ALL = "all"
    """Those with an elastic address by that, the others by an address that they share."""
    SHARED = "shared"
    """All by an address that they share; elastic ones lead nowhere."""
    ELASTIC = "elastic"
    """Those with an elastic address, and no others."""
    NONE = "none"


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """A network. `number` is its own in the house: names of links and addresses of its uplink are made of it.

    A `shared` one serves every project. `link` is the host's interface or bridge of one in mode ``bridge``. `cidr`
    is the block of a ``private`` one that all its subnets lie in, "" for any. `domain` is where its machines have
    their names in DNS, `mtu` in bytes, 0 for that of the way out. `generation` counts the changes of all that is on
    it, `observed_generation` is the one that the host has.
    """

    id: str
    project: str
    name: str
    mode: NetworkMode
    number: int
    host: str = ""
    shared: bool = False
    link: str = ""
    cidr: str = ""
    domain: str = ""
    mtu: int = 0
    ipv6: bool = False
    state: NetworkState = NetworkState.MAKING
    generation: int = 1
    observed_generation: int = 0
    created_at: float = 0.0


class Subnet(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a network with addresses of its own; all are written as `ipaddress` writes them.

    `number` is its own in the network. Addresses from `first` to `last` are given to who names none. `cidr6` is a
    /64, empty where there is no IPv6. `gate` is the id of the port whose elastic address those share that go out by
    a shared one, "" for the network's own address.
    """

    id: str
    project: str
    network: str
    name: str
    number: int
    cidr: str
    gateway: str
    first: str
    last: str
    cidr6: str = ""
    gateway6: str = ""
    outlet: Outlet = Outlet.ALL
    gate: str = ""
    created_at: float = 0.0


class Direction(StrEnum):
    """As the machine sees it."""

    IN = "in"
    OUT = "out"


class Protocol(StrEnum):
    ANY = "any"
    TCP = "tcp"
    UDP = "udp"
    ICMP = "icmp"
    ICMP6 = "icmp6"


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may pass: the protocol, ports `first_port` to `last_port` at the one who is asked (both 0: all), the others.

    Of ICMP `first_port` is the type and `last_port` the code, -1 for all. The others are the addresses of `cidr`, or
    whoever is in the group with the id `group`; exactly one of the two is given.
    """

    id: str
    direction: Direction
    protocol: Protocol = Protocol.ANY
    first_port: int = 0
    last_port: int = 0
    cidr: str = ""
    group: str = ""
    description: str = ""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """A security group of a network."""

    id: str
    project: str
    network: str
    name: str
    description: str = ""
    rules: tuple[Rule, ...] = ()
    created_at: float = 0.0


class Port(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A NIC's place on a network; `number` is its own in the network, its TAP is called by it.

    `machine` is empty while none has it. `name` and `forwards` are what its machine's description says. `address`
    is empty on a network whose addresses somebody else gives. `groups` are ids. A `guarded` one sends from its own
    addresses only; routers and appliances are not.
    """

    id: str
    project: str
    network: str
    subnet: str
    machine: str
    name: str
    mac: str
    number: int
    address: str = ""
    address6: str = ""
    groups: tuple[str, ...] = ()
    guarded: bool = True
    stays: bool = False
    forwards: tuple[Forward, ...] = ()
    created_at: float = 0.0


class Elastic(msgspec.Struct, frozen=True, kw_only=True):
    """An address of the outside that a project keeps, and the port of a network that it leads to, "" while to none.

    A `lent` one goes back when it leads there no more.
    """

    id: str
    project: str
    address: str
    network: str = ""
    port: str = ""
    lent: bool = False
    created_at: float = 0.0


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses of the outside that lead to this house, from which projects take elastic ones."""

    id: str
    cidr: str
    created_at: float = 0.0


class PortWanted(msgspec.Struct, frozen=True, kw_only=True):
    """A port, its elastic address, and the name of its `project` where that is not the network's own.

    A `Forward` on a network of ours is a port of all addresses of the host.
    """

    port: Port
    elastic: str = ""
    project: str = ""

    @property
    def machine(self) -> str:
        """The name of its machine."""
        return self.port.name

    @property
    def forwards(self) -> tuple[Forward, ...]:
        return self.port.forwards


class NetworkWanted(msgspec.Struct, frozen=True, kw_only=True):
    """All that a host needs to know of a network: what its links, rules, leases and names are made of.

    `connections` is how many a port may have begun at a time, 0 for any number; the host itself decides on it.
    """

    network: Network
    subnets: tuple[Subnet, ...] = ()
    ports: tuple[PortWanted, ...] = ()
    groups: tuple[Group, ...] = ()
    connections: int = 0
