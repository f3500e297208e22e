"""Security groups: those of the house's networks, with names of any letters."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from guesthouse.doors.ec2 import ids
from guesthouse.doors.ec2.networks import kept, permissions, vpcs
from guesthouse.doors.ec2.networks.permissions import Said
from guesthouse.doors.ec2.rows import Call, Run, owner, tag_set
from guesthouse.engine.door_intents import Forget, Piece
from guesthouse.engine.network_intents import GroupCreate, GroupDelete, RuleAdd, RuleChange, RuleRemove
from guesthouse.engine.stock import Stock
from guesthouse.formats.awsquery.fault import Fault
from guesthouse.formats.cloudids import ec2_id
from guesthouse.model.network import Direction, Group, Protocol, Rule

_NAME = re.compile(r"[a-zA-Z0-9 ._\-:/()#,@\[\]+=&;{}!$*]{1,255}")
_EVERYWHERE = "0.0.0.0/0"


def groups(stock: Stock) -> Iterable[dict[str, Any]]:
    """All groups of the project."""
    return [group(stock, each) for each in stock.groups.values()]


def group(stock: Stock, found: Group) -> dict[str, Any]:
    """One group."""
    return {
        "GroupId": ec2_id("sg", found.id),
        "GroupName": kept.group_name(stock, found),
        "Description": found.description,
        "OwnerId": owner(stock),
        "VpcId": ec2_id("vpc", found.network),
        "SecurityGroupArn": _arn(stock, found),
        "IpPermissions": permissions.permissions(stock, found, Direction.IN),
        "IpPermissionsEgress": permissions.permissions(stock, found, Direction.OUT),
        "Tags": tag_set(stock.tags.get(found.id, {})),
    }


def _arn(stock: Stock, found: Group) -> str:
    return f"arn:aws:ec2:local-1:{owner(stock)}:security-group/{ec2_id('sg', found.id)}"


def for_vpcs(stock: Stock) -> Iterable[dict[str, Any]]:
    """All groups of the project, by the VPC in which they can be used: here none is shared."""
    for each in groups(stock):
        shown = {name: each[name] for name in ("GroupId", "GroupName", "Description", "OwnerId", "Tags")}
        yield {**shown, "PrimaryVpcId": each["VpcId"]}


def of_vpc(stock: Stock, arguments: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], bool]:
    """Choose those of one VPC; raises `Fault` where there is none."""
    wanted = ec2_id("vpc", ids.one(stock.networks, "vpc", ids.only(arguments.get("VpcId"), "VpcId")).id)
    return lambda item: bool(item["PrimaryVpcId"] == wanted)


async def create(call: Call) -> Mapping[str, Any]:
    """Make a group that lets everything out, and nothing in."""
    name, text = ids.only(call["GroupName"], "GroupName"), ids.only(call["Description"], "GroupDescription")
    for value, what in ((name, "groupName"), (text, "groupDescription")):
        if not _NAME.fullmatch(value):
            said = (
                f"Value ({value[:50]}) for parameter {what} is invalid. Character sets beyond ASCII are not supported."
            )
            raise Fault("InvalidParameterValue", said)
    if name.startswith("sg-"):
        raise Fault("InvalidParameterValue", "Group names may not be in the format sg-*.")
    stock = await call.stock(*kept.NOUNS) if call["VpcId"] else await vpcs.with_default(call)
    network = ids.one(stock.networks, "vpc", call["VpcId"]) if call["VpcId"] else vpcs.default_of(stock)
    assert network is not None
    if any(each.network == network.id and kept.group_name(stock, each) == name for each in stock.groups.values()):
        said = f"The security group '{name}' already exists for VPC '{ec2_id('vpc', network.id)}'"
        raise Fault("InvalidGroup.Duplicate", said)
    own = f"sg-{secrets.token_hex(4)}"
    made = await call.make(
        Piece(
            intent=GroupCreate(network=network.id, name=own, description=text),
            kind=kept.GROUP,
            document={"name": name},
            tags=call.tags(kept.GROUP),
        ),
        Piece(intent=RuleAdd(network=network.id, group=own, direction=Direction.OUT, cidr=_EVERYWHERE)),
        wait_s=kept.WAIT_S,
    )
    after = await call.stock(*kept.NOUNS)
    found = after.groups[made[0]]
    return {
        "GroupId": ec2_id("sg", found.id),
        "SecurityGroupArn": _arn(after, found),
        "Tags": tag_set(call.tags(kept.GROUP)),
    }


async def delete(call: Call) -> Mapping[str, Any]:
    """Delete a group that nothing is in, and no rule names."""
    stock, found = await _one(call)
    if kept.group_name(stock, found) == "default":
        said = f'the specified group: "{ec2_id("sg", found.id)}" name: "default" cannot be deleted by a user'
        raise Fault("CannotDelete", said)
    record = kept.record(stock, found.id, kept.GROUP)
    forget = [Forget(record=record.id)] if record else []
    await call.do(*forget, GroupDelete(network=found.network, group=found.id), wait_s=kept.WAIT_S)
    return {"Return": True, "GroupId": ec2_id("sg", found.id)}


def authorize(direction: Direction) -> Run:
    """Let more through."""

    async def run(call: Call) -> Mapping[str, Any]:
        stock, found = await _one(call)
        wanted = _said(call, stock, found)
        there = {permissions.of_rule(rule).what for rule in _rules(found, direction)}
        for said in wanted:
            if said.what in there:
                others = said.cidr or ec2_id("sg", said.group)
                text = f'the specified rule "peer: {others}, {said.protocol}, ALLOW" already exists'
                raise Fault("InvalidPermission.Duplicate", text)
            there.add(said.what)
        tags = call.tags(kept.RULE)
        pieces = (Piece(intent=_add(found, direction, said), tags=tags) for said in wanted)
        await call.make(*pieces, wait_s=kept.WAIT_S)
        after = await call.stock(*kept.NOUNS)
        new = [rule for rule in after.groups[found.id].rules if all(rule.id != each.id for each in found.rules)]
        return {
            "Return": True,
            "SecurityGroupRules": [permissions.rule_of(after, found, rule) for rule in new],
        }

    return run


def revoke(direction: Direction) -> Run:
    """Let less through."""

    async def run(call: Call) -> Mapping[str, Any]:
        stock, found = await _one(call)
        going = _named(call, stock, found, direction)
        intents = (RuleRemove(network=found.network, group=found.id, rule=rule.id) for rule in going)
        await call.do(*intents, wait_s=kept.WAIT_S)
        return {"Return": True, "RevokedSecurityGroupRules": []}

    return run


def _named(call: Call, stock: Stock, found: Group, direction: Direction) -> list[Rule]:
    """The rules that are meant, by their ids or by what they say; raises `Fault` where one is not there."""
    rules = _rules(found, direction)
    if call["SecurityGroupRuleIds"]:
        return [_by_id(rules, id) for id in dict.fromkeys(call["SecurityGroupRuleIds"])]
    by_what = {permissions.of_rule(rule).what: rule for rule in rules}
    going = {}
    for said in _said(call, stock, found):
        if said.what not in by_what:
            raise Fault("InvalidPermission.NotFound", "The specified rule does not exist in this security group.")
        going[by_what[said.what].id] = by_what[said.what]
    return list(going.values())


def describe_rules(direction: Direction) -> Run:
    """Say something else of rules that are there."""

    async def run(call: Call) -> Mapping[str, Any]:
        stock, found = await _one(call)
        rules = _rules(found, direction)
        texts: dict[str, str] = {}
        for each in call["SecurityGroupRuleDescriptions"] or ():
            texts[_by_id(rules, ids.only(each.get("SecurityGroupRuleId"), "SecurityGroupRuleId")).id] = each.get(
                "Description", ""
            )
        by_what = {permissions.of_rule(rule).what: rule for rule in rules}
        for said in permissions.read(stock, found, call["IpPermissions"] or ()):
            if said.what not in by_what:
                raise Fault("InvalidPermission.NotFound", "The specified rule does not exist in this security group.")
            texts[by_what[said.what].id] = said.description
        if not texts:
            raise Fault("MissingParameter", "The request must contain IpPermissions or SecurityGroupRuleDescriptions")
        changed = (
            _change(found, rule, permissions.of_rule(rule)._replace(description=texts[rule.id]))
            for rule in rules
            if rule.id in texts
        )
        await call.do(*changed, wait_s=kept.WAIT_S)
        return {"Return": True}

    return run


async def modify_rules(call: Call) -> Mapping[str, Any]:
    """Have rules say something else; they keep their ids."""
    stock, found = await _one(call)
    changes = []
    for each in ids.only(call["SecurityGroupRules"], "SecurityGroupRules"):
        rule = _by_id(found.rules, ids.only(each.get("SecurityGroupRuleId"), "SecurityGroupRuleId"))
        changes.append(_change(found, rule, _new(stock, found, each.get("SecurityGroupRule") or {})))
    await call.do(*changes, wait_s=kept.WAIT_S)
    return {"Return": True}


def _new(stock: Stock, found: Group, said: Mapping[str, Any]) -> Said:
    others: dict[str, list[dict[str, Any]]] = {}
    for name, list_, member in (
        ("CidrIpv4", "IpRanges", "CidrIp"),
        ("CidrIpv6", "Ipv6Ranges", "CidrIpv6"),
        ("ReferencedGroupId", "UserIdGroupPairs", "GroupId"),
    ):
        if said.get(name) is not None:
            others[list_] = [{member: said[name], "Description": said.get("Description", "")}]
    if len(others) != 1:
        text = "Exactly one of CidrIpv4, CidrIpv6, ReferencedGroupId is to be said of a rule"
        raise Fault("InvalidParameterCombination" if others else "MissingParameter", text)
    return permissions.read(stock, found, [{**said, **others}])[0]


def _add(found: Group, direction: Direction, said: Said) -> RuleAdd:
    return RuleAdd(network=found.network, group=found.id, direction=direction, **_words(said))


def _change(found: Group, rule: Rule, said: Said) -> RuleChange:
    return RuleChange(network=found.network, group=found.id, rule=rule.id, direction=rule.direction, **_words(said))


def _words(said: Said) -> dict[str, Any]:
    has_numbers = said.protocol is not Protocol.ANY
    return {
        "protocol": said.protocol,
        "first_port": said.first if has_numbers else None,
        "last_port": said.last if has_numbers else None,
        "cidr": said.cidr,
        "peer": said.group,
        "description": said.description,
    }


def _said(call: Call, stock: Stock, found: Group) -> list[Said]:
    """What a request says of rules: as permissions, or, of one, in arguments of its own."""
    listed = list(call["IpPermissions"] or ())
    if call["IpProtocol"] is not None:
        plain = {name: call[name] for name in ("IpProtocol", "FromPort", "ToPort") if call[name] is not None}
        if call["CidrIp"] is not None:
            plain["IpRanges"] = [{"CidrIp": call["CidrIp"]}]
        listed.append(plain)
    elif call["SourceSecurityGroupName"] is not None:
        pair = [{"GroupName": call["SourceSecurityGroupName"]}]
        listed.append({"IpProtocol": "-1", "UserIdGroupPairs": pair})
    if not listed:
        raise Fault("MissingParameter", "The request must contain the parameter IpPermissions")
    return permissions.read(stock, found, listed)


def _rules(found: Group, direction: Direction) -> Sequence[Rule]:
    return [rule for rule in found.rules if rule.direction is direction]


def _by_id(rules: Iterable[Rule], id: str) -> Rule:
    for rule in rules:
        if ec2_id("sgr", rule.id) == id:
            return rule
    raise Fault("InvalidSecurityGroupRuleId.NotFound", f"The security group rule ID '{id[:100]}' does not exist")


async def _one(call: Call) -> tuple[Stock, Group]:
    """What the project has, and the group that is meant; one named alone is of the default VPC."""
    stock = await call.stock(*kept.NOUNS)
    if call["GroupId"] is not None:
        return stock, ids.one(stock.groups, "sg", call["GroupId"])
    name, default = ids.only(call["GroupName"], "GroupId"), vpcs.default_of(stock)
    for found in _of_network(stock, default.id if default else ""):
        if kept.group_name(stock, found) == name:
            return stock, found
    raise Fault("InvalidGroup.NotFound", f"The security group '{name[:100]}' does not exist in default VPC")


def _of_network(stock: Stock, network: str) -> Iterator[Group]:
    return (each for each in stock.groups.values() if each.network == network)
