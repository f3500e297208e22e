"""What groups let through, as lines each of which says one thing: rules, once they are spelled out.

Both the kernel's rules (`formats.netfilter`) and whoever explains them are made of these lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from typing import NamedTuple

from guesthouse.model.network import Direction, Group, Protocol, Rule

_VERSIONS: dict[Protocol, tuple[int, ...]] = {Protocol.ICMP: (4,), Protocol.ICMP6: (6,)}


class Allow(NamedTuple):
    """One line: packets of one version of IP, of a protocol, from or to one lot of others, pass.

    `first` and `last` are those of `Rule`. The others are the addresses of `cidr`, or whoever is in `group`.
    """

    version: int
    protocol: Protocol
    first: int
    last: int
    cidr: str
    group: str


def allows(group: Group, direction: Direction) -> tuple[Allow, ...]:
    """What a group lets through in a direction, in the order of its rules."""
    return tuple(line for rule in group.rules if rule.direction is direction for line in _lines(rule))


def _lines(rule: Rule) -> Iterator[Allow]:
    written: tuple[int, ...] = (ip_network(rule.cidr).version,) if rule.cidr else (4, 6)
    for version in _VERSIONS.get(rule.protocol, written):
        if version in written:
            yield Allow(version, rule.protocol, rule.first_port, rule.last_port, rule.cidr, rule.group)
