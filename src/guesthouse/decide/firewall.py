"""Whether the rules of groups make sense, before anything is looked up or changed.

Rules
-----
1. Every check names the field, the value and the fix.
2. A rule says whom it is about in one way: by addresses, or by a group.
3. What could never match is refused, as are two rules that say the same: somebody meant something else.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network
from typing import NamedTuple

from guesthouse.decide.validate import check_range
from guesthouse.model.errors import Invalid
from guesthouse.model.names import is_id
from guesthouse.model.network import Protocol, Rule

MAX_RULES = 200
MAX_GROUPS_OF_PORT = 16
MAX_DESCRIPTION = 255


class Numbers(NamedTuple):
    """What `first_port` and `last_port` mean to a protocol: the least and the most of each."""

    first: tuple[int, int]
    last: tuple[int, int]
    version: int = 0
    """The version of IP that alone has this protocol, 0 where both have."""


_NONE, _PORTS, _ICMP = (0, 0), (0, 65535), (-1, 255)
_NUMBERS = {
    Protocol.ANY: Numbers(_NONE, _NONE),
    Protocol.TCP: Numbers(_PORTS, _PORTS),
    Protocol.UDP: Numbers(_PORTS, _PORTS),
    Protocol.ICMP: Numbers(_ICMP, _ICMP, 4),
    Protocol.ICMP6: Numbers(_ICMP, _ICMP, 6),
}


def check_rules(rules: Iterable[Rule]) -> None:
    """Raise `Invalid` for the first of a group's rules that cannot be, or is there twice."""
    seen: dict[object, Rule] = {}
    for rule in rules:
        check_rule(rule)
        said = (rule.direction, rule.protocol, rule.first_port, rule.last_port, rule.cidr, rule.group)
        if said in seen:
            raise Invalid(
                f"a rule for {_others(rule)} is there twice", field="rules", value=rule.id, hint="remove one of them"
            )
        seen[said] = rule
    if len(seen) > MAX_RULES:
        raise Invalid(f"{len(seen)} rules", field="rules", value=len(seen), hint=f"{MAX_RULES} at most in a group")


def check_rule(rule: Rule) -> None:
    """Raise `Invalid` for the first thing in a rule that cannot be."""
    _check_others(rule)
    _check_numbers(rule)
    if len(rule.description) > MAX_DESCRIPTION or not rule.description.isprintable():
        raise Invalid(
            "the description of a rule is too long, or more than a line",
            field="description",
            value=rule.description[:40],
            hint=f"one line, {MAX_DESCRIPTION} characters at most",
        )


def check_groups_of_port(groups: tuple[str, ...]) -> None:
    """Raise `Invalid` when a port is in a group twice, or in too many."""
    if len(set(groups)) != len(groups):
        raise Invalid("a group is named twice", field="groups", value=", ".join(groups), hint="name each once")
    if len(groups) > MAX_GROUPS_OF_PORT:
        raise Invalid(f"{len(groups)} groups", field="groups", value=len(groups), hint=f"{MAX_GROUPS_OF_PORT} at most")


def _others(rule: Rule) -> str:
    return rule.cidr or f"group {rule.group}"


def _check_others(rule: Rule) -> None:
    if bool(rule.cidr) == bool(rule.group):
        said = f"both {rule.cidr} and group {rule.group}" if rule.cidr else "nobody"
        hint = "give either addresses, like 10.0.0.0/24 or 0.0.0.0/0 for all, or a group"
        raise Invalid(f"a rule is about {said}", field="cidr", value=rule.cidr, hint=hint)
    if rule.group and not is_id(rule.group):
        raise Invalid(f"{rule.group!r} is not the id of a group", field="group", value=rule.group, hint="see its `id`")
    if rule.cidr:
        _check_cidr(rule)


def _check_cidr(rule: Rule) -> None:
    try:
        network = ip_network(rule.cidr, strict=False)
    except ValueError as error:
        hint = "an address and the length of its prefix, like 10.0.0.0/24 or fd00::/64; 0.0.0.0/0 for all of IPv4"
        raise Invalid(f"{rule.cidr!r} is no block of addresses", field="cidr", value=rule.cidr, hint=hint) from error
    if str(network) != rule.cidr:
        raise Invalid(f"{rule.cidr} is not how this is written", field="cidr", value=rule.cidr, hint=f"write {network}")
    version = _NUMBERS[rule.protocol].version
    if version and version != network.version:
        other = Protocol.ICMP if network.version == 4 else Protocol.ICMP6
        raise Invalid(
            f"{rule.protocol} does not exist between addresses of IPv{network.version}",
            field="protocol",
            value=str(rule.protocol),
            hint=f"take {other} for {rule.cidr}",
        )


def _check_numbers(rule: Rule) -> None:
    numbers = _NUMBERS[rule.protocol]
    if rule.protocol is Protocol.ANY and (rule.first_port or rule.last_port):
        hint = "name the protocol, tcp or udp, or leave out the ports"
        raise Invalid("a rule for all protocols has no ports", field="protocol", value=str(rule.protocol), hint=hint)
    check_range("first_port", rule.first_port, *numbers.first)
    check_range("last_port", rule.last_port, *numbers.last)
    if numbers.version and rule.first_port < 0 <= rule.last_port:
        hint = "give the type too as first_port, or -1 as last_port for all codes"
        raise Invalid("a code of ICMP without a type", field="last_port", value=rule.last_port, hint=hint)
    if numbers.first == _PORTS and not rule.first_port <= rule.last_port:
        hint = f"{rule.first_port} as last_port too for that one port; both 0 for all"
        raise Invalid(
            f"ports from {rule.first_port} to {rule.last_port}", field="last_port", value=rule.last_port, hint=hint
        )
    if numbers.first == _PORTS and not rule.first_port and rule.last_port:
        hint = "ports begin at 1; both 0 for all"
        raise Invalid(f"ports from 0 to {rule.last_port}", field="first_port", value=0, hint=hint)
