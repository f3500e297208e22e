"""Networks as a host wants them, for tests: one of each mode, with as little as possible said of each."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network
from uuid import UUID

from guesthouse.model.machine import Forward
from guesthouse.model.network import (
    Direction,
    Group,
    Network,
    NetworkMode,
    NetworkWanted,
    Port,
    PortWanted,
    Protocol,
    Rule,
    Subnet,
)

PROJECT = str(UUID(int=1))


def an_id(number: int) -> str:
    return str(UUID(int=number))


def a_subnet(number: int = 1, cidr: str = "10.0.0.0/24", cidr6: str = "fd00:1::/64") -> Subnet:
    network, network6 = ip_network(cidr), ip_network(cidr6)
    return Subnet(
        id=an_id(0x5_0000 + number),
        project=PROJECT,
        network=an_id(1),
        name=f"subnet-{number}",
        number=number,
        cidr=cidr,
        gateway=str(network[1]),
        first=str(network[10]),
        last=str(network[-2]),
        cidr6=cidr6,
        gateway6=str(network6[1]),
    )


def a_port(
    number: int,
    groups: Iterable[str] = (),
    *,
    subnet: Subnet | None = None,
    guarded: bool = True,
    forwards: tuple[Forward, ...] = (),
    elastic: str = "",
) -> PortWanted:
    """The port that has the subnet's address `number` + 10 in both versions of IP."""
    subnet = subnet or a_subnet()
    port = Port(
        id=an_id(0x7_0000 + number),
        project=PROJECT,
        network=an_id(1),
        subnet=subnet.id,
        machine=an_id(0x8_0000 + number),
        name=f"m{number}",
        mac=f"52:54:00:00:{number // 256:02x}:{number % 256:02x}",
        number=number,
        address=str(ip_network(subnet.cidr)[number + 10]),
        address6=str(ip_network(subnet.cidr6)[number + 16]) if subnet.cidr6 else "",
        groups=tuple(groups),
        guarded=guarded,
        forwards=forwards,
    )
    return PortWanted(port=port, elastic=elastic)


def a_rule(direction: str, protocol: str = "any", ports: tuple[int, int] = (0, 0), **others: str) -> Rule:
    first, last = ports
    return Rule(
        id=an_id(0x9_0000),
        direction=Direction(direction),
        protocol=Protocol(protocol),
        first_port=first,
        last_port=last,
        **others,
    )


def a_group(number: int, *rules: Rule) -> Group:
    return Group(id=an_id(0x6_0000 + number), project=PROJECT, network=an_id(1), name=f"group-{number}", rules=rules)


def all_of(direction: str) -> tuple[Rule, Rule]:
    """The rules by which everything passes in a direction."""
    return a_rule(direction, cidr="0.0.0.0/0"), a_rule(direction, cidr="::/0")


def a_network(
    mode: str,
    ports: Iterable[PortWanted] = (),
    groups: Iterable[Group] = (),
    *,
    number: int = 1,
    subnets: Iterable[Subnet] | None = None,
    connections: int = 0,
) -> NetworkWanted:
    network = Network(
        id=an_id(number), project=PROJECT, name=f"network-{number}", mode=NetworkMode(mode), number=number, ipv6=True
    )
    return NetworkWanted(
        network=network,
        subnets=tuple((a_subnet(),) if subnets is None else subnets),
        ports=tuple(ports),
        groups=tuple(groups),
        connections=connections,
    )
