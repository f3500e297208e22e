"""The shapes of networks that are not the model's own; the rules are those of `documents`."""

from __future__ import annotations

import msgspec

from guesthouse.doors.native.documents import Asked
from guesthouse.model.machine import NicSpec
from guesthouse.model.network import Elastic, Group, Network, Port, Subnet
from guesthouse.ports import Lease


class OfNetwork(Asked, frozen=True, kw_only=True):
    network: str


class OfGroup(OfNetwork, frozen=True, kw_only=True):
    group: str


class OfAddress(Asked, frozen=True, kw_only=True):
    address: str


class NicItem(NicSpec, frozen=True, kw_only=True):
    """A NIC of a machine, with its IPv6 address and the elastic address that leads to it."""

    address6: str = ""
    elastic: str = ""


class NetworkItem(Network, frozen=True, kw_only=True):
    """A network in a list, with the blocks of addresses that it has."""

    cidrs: tuple[str, ...] = ()


class NetworkDocument(Network, frozen=True, kw_only=True):
    """A network with its subnets, and with those of the asker's NICs that are on it and the leases that they have.

    The operator of the house is shown everybody's.
    """

    subnets: tuple[Subnet, ...] = ()
    ports: tuple[Port, ...] = ()
    leases: tuple[Lease, ...] = ()


class GroupDocument(Group, frozen=True, kw_only=True):
    """A group with the names of the machines in it; `peers` has those of the groups that its rules name by id."""

    peers: dict[str, str] = msgspec.field(default_factory=dict)
    machines: tuple[str, ...] = ()


class AddressDocument(Elastic, frozen=True, kw_only=True):
    """An elastic address, and the names of the network and the machine that it leads to, and the NIC's MAC address."""

    network_name: str = ""
    machine_name: str = ""
    mac: str = ""
