"""Rules of security groups in EC2's words, of both its APIs: permissions, which join what differs in its others alone,
and rules, one by one.

Rules
-----
1. EC2's protocols are names or numbers; "-1" is every one, and has no ports. All ports are 0 to 65535, or -1.
2. Of ICMP the ports are type and code, -1 for all.
3. Blocks of addresses are written as `ipaddress` writes them. Prefix lists there are none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_network
from typing import Any, NamedTuple

from guesthouse.doors.ec2 import ids
from guesthouse.doors.ec2.networks import kept
from guesthouse.doors.ec2.rows import owner, tag_set
from guesthouse.engine.stock import Stock
from guesthouse.formats.awsquery.fault import Fault
from guesthouse.formats.cloudids import ec2_id
from guesthouse.model.network import Direction, Group, Protocol, Rule

_PROTOCOLS = {
    "-1": Protocol.ANY, "all": Protocol.ANY, "tcp": Protocol.TCP, "6": Protocol.TCP, "udp": Protocol.UDP,
    "17": Protocol.UDP, "icmp": Protocol.ICMP, "1": Protocol.ICMP, "icmpv6": Protocol.ICMP6, "58": Protocol.ICMP6,
}  # fmt: skip
_NAMES = {Protocol.ANY: "-1", Protocol.ICMP6: "icmpv6"}
_PORTS = (Protocol.TCP, Protocol.UDP)
_LAST = 65535


class Said(NamedTuple):
    """What a rule lets through; `description` is no part of that."""

    protocol: Protocol
    first: int
    last: int
    cidr: str = ""
    group: str = ""
    description: str = ""

    @property
    def what(self) -> tuple[object, ...]:
        return self[:-1]


def of_rule(rule: Rule) -> Said:
    """A rule of the house."""
    return Said(rule.protocol, rule.first_port, rule.last_port, rule.cidr, rule.group, rule.description)


def read(stock: Stock, group: Group, permissions: Iterable[Mapping[str, Any]]) -> list[Said]:
    """All that permissions say of a group; raises `Fault`."""
    return [said for each in permissions for said in _of_permission(stock, group, each)]


def _of_permission(stock: Stock, group: Group, permission: Mapping[str, Any]) -> Iterator[Said]:
    numbers = numbers_of(permission)
    found = []
    for name, member in (("IpRanges", "CidrIp"), ("Ipv6Ranges", "CidrIpv6")):
        for each in permission.get(name, ()):
            cidr = block(ids.only(each.get(member), f"IpPermissions.{name}.{member}"), v6=member == "CidrIpv6")
            found.append(Said(*numbers, cidr=cidr, description=each.get("Description", "")))
    for each in permission.get("UserIdGroupPairs", ()):
        peer = _peer(stock, group, each)
        found.append(Said(*numbers, group=peer.id, description=each.get("Description", "")))
    if not found:
        said = (
            "The request must contain at least one of IpRanges, Ipv6Ranges, UserIdGroupPairs in each of IpPermissions"
        )
        raise Fault("MissingParameter", said)
    return iter(found)


def _peer(stock: Stock, group: Group, pair: Mapping[str, Any]) -> Group:
    if pair.get("UserId") not in (None, owner(stock)):
        raise Fault("InvalidGroup.NotFound", f"The security group of account {pair['UserId']} does not exist")
    if pair.get("GroupId") is not None:
        peer = ids.one(stock.groups, "sg", pair["GroupId"])
        if peer.network != group.network:
            said = f"You have specified two resources that belong to different networks: {pair['GroupId']}"
            raise Fault("InvalidGroup.NotFound", said)
        return peer
    wanted = ids.only(pair.get("GroupName"), "GroupId")
    for peer in stock.groups.values():
        if peer.network == group.network and kept.group_name(stock, peer) == wanted:
            return peer
    raise Fault("InvalidGroup.NotFound", f"The security group '{wanted[:100]}' does not exist")


def numbers_of(said: Mapping[str, Any]) -> tuple[Protocol, int, int]:
    """Protocol and ports as the house has them; raises `Fault`."""
    name = str(ids.only(said.get("IpProtocol"), "IpProtocol")).lower()
    if name not in _PROTOCOLS:
        raise Fault("InvalidParameterValue", f"Invalid value '{name[:20]}' for IP protocol. Unknown protocol.")
    protocol = _PROTOCOLS[name]
    first, last = said.get("FromPort"), said.get("ToPort")
    if protocol is Protocol.ANY:
        return protocol, 0, 0
    if protocol not in _PORTS:
        return protocol, -1 if first is None else first, -1 if last is None else last
    if first is None or last is None:
        raise Fault("MissingParameter", "The request must contain the parameters FromPort and ToPort")
    if (first, last) in ((-1, -1), (0, _LAST)):
        return protocol, 0, 0
    if not 0 <= first <= last <= _LAST:
        raise Fault("InvalidParameterValue", f"Invalid value '{first}-{last}' for portRange.")
    # Nobody can be asked at port 0.
    return protocol, max(first, 1), max(last, 1)


def block(cidr: str, *, v6: bool) -> str:
    """A block of addresses of a version of IP; raises `Fault`."""
    try:
        found = ip_network(cidr, strict=False)
    except ValueError:
        found = None
    if found is None or found.version != (6 if v6 else 4) or "/" not in cidr:
        raise Fault("InvalidParameterValue", f"CIDR block {cidr[:50]} is malformed")
    return str(found)


def permissions(stock: Stock, group: Group, direction: Direction) -> list[dict[str, Any]]:
    """The rules of a group in one direction, joined by what they let through."""
    found: dict[tuple[Protocol, int, int], dict[str, Any]] = {}
    for rule in group.rules:
        if rule.direction is not direction:
            continue
        key = (rule.protocol, rule.first_port, rule.last_port)
        there = found.setdefault(key, {
            **_numbers(rule, all_=False), "IpRanges": [], "Ipv6Ranges": [], "PrefixListIds": [], "UserIdGroupPairs": [],
        })  # fmt: skip
        text = {"Description": rule.description} if rule.description else {}
        if rule.group:
            pair = {"GroupId": ec2_id("sg", rule.group), "UserId": owner(stock), **text}
            there["UserIdGroupPairs"].append(pair)
        elif ":" in rule.cidr:
            there["Ipv6Ranges"].append({"CidrIpv6": rule.cidr, **text})
        else:
            there["IpRanges"].append({"CidrIp": rule.cidr, **text})
    return list(found.values())


def rules(stock: Stock) -> Iterable[dict[str, Any]]:
    """All rules of all groups, one by one."""
    return [rule_of(stock, group, rule) for group in stock.groups.values() for rule in group.rules]


def rule_of(stock: Stock, group: Group, rule: Rule) -> dict[str, Any]:
    """One rule."""
    found: dict[str, Any] = {
        "SecurityGroupRuleId": ec2_id("sgr", rule.id),
        "GroupId": ec2_id("sg", group.id),
        "GroupOwnerId": owner(stock),
        "IsEgress": rule.direction is Direction.OUT,
        **_numbers(rule, all_=True),
        "Description": rule.description or None,
        "Tags": tag_set(stock.tags.get(rule.id, {})),
    }
    if rule.group:
        peer = stock.groups.get(rule.group, group)
        found["ReferencedGroupInfo"] = {
            "GroupId": ec2_id("sg", rule.group), "UserId": owner(stock), "VpcId": ec2_id("vpc", peer.network),
        }  # fmt: skip
    else:
        found["CidrIpv6" if ":" in rule.cidr else "CidrIpv4"] = rule.cidr
    return {name: value for name, value in found.items() if value is not None}


def _numbers(rule: Rule, *, all_: bool) -> dict[str, Any]:
    """Protocol and ports; those of every protocol are not said, unless `all_` are."""
    name = _NAMES.get(rule.protocol, rule.protocol.value)
    if rule.protocol is Protocol.ANY:
        return {"IpProtocol": name, **({"FromPort": -1, "ToPort": -1} if all_ else {})}
    first, last = rule.first_port, rule.last_port
    if rule.protocol in _PORTS and (first, last) == (0, 0):
        last = _LAST
    return {"IpProtocol": name, "FromPort": first, "ToPort": last}
