"""Rules of groups: what is refused, by which field, and what is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.firewall.test_groups import rules
from tests.firewall.wanted import a_group, a_rule

from guesthouse.decide.firewall import (
    MAX_GROUPS_OF_PORT,
    MAX_RULES,
    check_groups_of_port,
    check_rule,
    check_rules,
)
from guesthouse.model.errors import Invalid
from guesthouse.model.network import Rule

GROUP = a_group(1).id


@pytest.mark.parametrize(
    ("rule", "field", "fix"),
    [
        (a_rule("in"), "cidr", "either addresses"),
        (a_rule("in", cidr="10.0.0.0/8", group=GROUP), "cidr", "either addresses"),
        (a_rule("in", group="web"), "group", "`id`"),
        (a_rule("in", cidr="10.0.0.0/33"), "cidr", "prefix"),
        (a_rule("in", cidr="all"), "cidr", "prefix"),
        (a_rule("in", cidr="10.0.0.1/24"), "cidr", "write 10.0.0.0/24"),
        (a_rule("in", cidr="10.0.0.1"), "cidr", "write 10.0.0.1/32"),
        (a_rule("in", cidr="FD00::/64"), "cidr", "write fd00::/64"),
        (a_rule("in", cidr="10.0.0.0/255.255.255.0"), "cidr", "write 10.0.0.0/24"),
        (a_rule("in", "icmp", (-1, -1), cidr="::/0"), "protocol", "icmp6 for ::/0"),
        (a_rule("in", "icmp6", (-1, -1), cidr="0.0.0.0/0"), "protocol", "icmp for 0.0.0.0/0"),
        (a_rule("in", "any", (22, 22), cidr="0.0.0.0/0"), "protocol", "tcp or udp"),
        (a_rule("in", "tcp", (-1, 22), cidr="0.0.0.0/0"), "first_port", "from 0 to 65535"),
        (a_rule("in", "tcp", (22, 65536), cidr="0.0.0.0/0"), "last_port", "from 0 to 65535"),
        (a_rule("in", "tcp", (22, 0), cidr="0.0.0.0/0"), "last_port", "22 as last_port"),
        (a_rule("in", "udp", (23, 22), cidr="0.0.0.0/0"), "last_port", "both 0"),
        (a_rule("in", "udp", (0, 22), cidr="0.0.0.0/0"), "first_port", "begin at 1"),
        (a_rule("in", "icmp", (256, -1), cidr="0.0.0.0/0"), "first_port", "from -1 to 255"),
        (a_rule("in", "icmp", (8, 256), cidr="0.0.0.0/0"), "last_port", "from -1 to 255"),
        (a_rule("in", "icmp", (-1, 0), cidr="0.0.0.0/0"), "last_port", "type"),
        (a_rule("in", cidr="0.0.0.0/0", description="x" * 256), "description", "255"),
        (a_rule("in", cidr="0.0.0.0/0", description="a\nb"), "description", "one line"),
    ],
)
def test_what_is_refused(rule: Rule, field: str, fix: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_rule(rule)
    assert refused.value.field == field
    assert fix in refused.value.hint


@given(rules())
def test_what_is_not(rule: Rule) -> None:
    """Rules as the other tests draw them, but for ICMP of the wrong version of IP."""
    version = {"icmp": 4, "icmp6": 6}.get(rule.protocol)
    if rule.cidr and version and (":" in rule.cidr) != (version == 6):
        with pytest.raises(Invalid):
            check_rule(rule)
    else:
        check_rule(rule)


def test_two_that_say_the_same() -> None:
    one = a_rule("in", "tcp", (22, 22), cidr="0.0.0.0/0")
    check_rules((one, a_rule("out", "tcp", (22, 22), cidr="0.0.0.0/0")))
    with pytest.raises(Invalid, match="twice"):
        check_rules((one, a_rule("in", "tcp", (22, 22), cidr="0.0.0.0/0", description="again")))


def test_how_many_there_may_be() -> None:
    many = [a_rule("in", "tcp", (port, port), cidr="0.0.0.0/0") for port in range(1, MAX_RULES + 2)]
    check_rules(many[:-1])
    with pytest.raises(Invalid, match=f"{MAX_RULES + 1} rules"):
        check_rules(many)


@given(st.integers(min_value=0, max_value=MAX_GROUPS_OF_PORT + 4), st.booleans())
def test_groups_of_a_port(count: int, twice: bool) -> None:
    groups = tuple(a_group(number).id for number in range(count))
    groups += groups[:1] if twice else ()
    if len(groups) > MAX_GROUPS_OF_PORT or (twice and count):
        with pytest.raises(Invalid):
            check_groups_of_port(groups)
    else:
        check_groups_of_port(groups)
