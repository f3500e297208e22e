"""Accepting what is asked of groups and their rules: each is a change of the network that they are on."""

from __future__ import annotations

import msgspec

from guesthouse.decide.addresses import MODES
from guesthouse.decide.firewall import MAX_DESCRIPTION, check_rule, check_rules
from guesthouse.engine import network_intents as intents
from guesthouse.engine.accept.desk import Desk
from guesthouse.engine.accept.networks import DEFAULT_GROUP, changing, usable_network
from guesthouse.engine.network_undo import Former, gone, made
from guesthouse.engine.resolve import find
from guesthouse.model.errors import Conflict, Invalid, NotFound
from guesthouse.model.names import check_name
from guesthouse.model.network import Group, Network, NetworkMode, Protocol, Rule
from guesthouse.model.resources import Operation

MAX_GROUPS = 100
"""Of one project on one network."""

_ALL = {Protocol.ICMP: -1, Protocol.ICMP6: -1}


async def create(desk: Desk, intent: intents.GroupCreate) -> Operation:
    """Make a group without rules."""
    check_name(intent.name, "group")
    if len(intent.description) > MAX_DESCRIPTION or not intent.description.isprintable():
        hint = f"one line, {MAX_DESCRIPTION} characters at most"
        raise Invalid("the description is too long, or more than a line", field="description", hint=hint)
    network = await _with_groups(desk, intent.network)
    others = await desk.tx.groups.select(network=network.id, project=desk.asker.project)
    if len(others) >= MAX_GROUPS:
        hint = f"{MAX_GROUPS} at most; delete one that no machine needs"
        raise Conflict(f"there are {len(others)} groups on network {network.name}", field="network", hint=hint)
    group = await desk.tx.groups.insert(
        Group(
            id=desk.new_id(), project=desk.asker.project, network=network.id, name=intent.name,
            description=intent.description,
        )
    )  # fmt: skip
    return await changing(desk, network, made("groups", group), group=group.id)


async def delete(desk: Desk, intent: intents.GroupDelete) -> Operation:
    """Remove a group that no machine is in, and no rule names."""
    network, group = await _group(desk, intent.network, intent.group)
    subject = f"group {group.name}"
    if group.name == DEFAULT_GROUP and network.mode is NetworkMode.PRIVATE:
        hint = "it goes with its network; its rules can be removed"
        raise Conflict("the default group of a private network stays", subject=subject, hint=hint)
    if ports := [port for port in await desk.tx.ports.select(network=network.id) if group.id in port.groups]:
        names = ", ".join(sorted({port.name or f"the port {port.address}" for port in ports}))
        hint = "take them out of it first"
        raise Conflict(f"machines are in {subject}: {names}", subject=subject, field="machines", value=names, hint=hint)
    for other in await desk.tx.groups.select(network=network.id, project=group.project):
        if other.id != group.id and any(rule.group == group.id for rule in other.rules):
            hint = "remove that rule first (`guest group rule remove`)"
            raise Conflict(
                f"a rule of group {other.name} names {subject}", subject=subject, field="group", value=other.name,
                hint=hint,
            )  # fmt: skip
    await desk.tx.groups.delete(group.id)
    return await changing(desk, network, gone("groups", group))


async def rule_add(desk: Desk, intent: intents.RuleAdd) -> Operation:
    """Let something more through what is in the group."""
    network, group = await _group(desk, intent.network, intent.group)
    rule = await _rule(desk, network, intent, desk.new_id())
    await _write_rules(desk, group, (*group.rules, rule), rule)
    return await changing(desk, network, Former(table="groups", id=group.id, came=(rule.id,)), rule=rule.id)


async def rule_change(desk: Desk, intent: intents.RuleChange) -> Operation:
    """Have a rule say something else."""
    network, group = await _group(desk, intent.network, intent.group)
    (old,) = _named(network, group, intent.rule)
    rule = await _rule(desk, network, intent, old.id)
    await _write_rules(desk, group, tuple(rule if each.id == old.id else each for each in group.rules), rule)
    former = Former(table="groups", id=group.id, came=(rule.id,), went=(old,))
    return await changing(desk, network, former, rule=rule.id)


async def _rule(desk: Desk, network: Network, intent: intents.RuleAdd, id: str) -> Rule:
    """The rule that is asked for."""
    peer = await _find(desk, network, intent.peer, field="peer") if intent.peer else None
    every = _ALL.get(intent.protocol, 0)
    first = every if intent.first_port is None else intent.first_port
    alone = every if intent.protocol in _ALL else first
    return Rule(
        id=id,
        direction=intent.direction,
        protocol=intent.protocol,
        first_port=first,
        last_port=alone if intent.last_port is None else intent.last_port,
        cidr=intent.cidr,
        group=peer.id if peer else "",
        description=intent.description,
    )


async def _write_rules(desk: Desk, group: Group, rules: tuple[Rule, ...], new: Rule) -> None:
    """Have a group have these rules, of which one is `new`."""
    check_rule(new)
    if any(_said(new) == _said(each) for each in group.rules if each.id != new.id):
        raise Conflict(f"group {group.name} has this rule already", subject=f"group {group.name}", field="rules")
    check_rules(rules)
    await desk.tx.groups.update(group.id, {}, rules=rules)


async def rule_remove(desk: Desk, intent: intents.RuleRemove) -> Operation:
    """Let something no longer through. Connections that are there are cut off by that, too."""
    network, group = await _group(desk, intent.network, intent.group)
    went = _named(network, group, intent.rule)
    await desk.tx.groups.update(group.id, {}, rules=tuple(rule for rule in group.rules if rule.id != intent.rule))
    return await changing(desk, network, Former(table="groups", id=group.id, went=went))


def _named(network: Network, group: Group, id: str) -> tuple[Rule, ...]:
    """The rule of a group with this id; raises `NotFound`."""
    found = tuple(rule for rule in group.rules if rule.id == id)
    if not found:
        raise NotFound(
            f"group {group.name} has no rule {id!r}",
            subject=f"group {group.name}",
            field="rule",
            value=id,
            hint=f"`guest group show {network.name} {group.name}` shows its rules",
        )
    return found


def _said(rule: Rule) -> Rule:
    """What a rule lets through, without what it is called."""
    return msgspec.structs.replace(rule, id="", description="")


async def _with_groups(desk: Desk, ref: str) -> Network:
    network = await usable_network(desk, ref)
    if not MODES[network.mode].groups:
        raise Conflict(
            f"network {network.name} is in mode {network.mode.value}, which has no groups: whose the addresses are, "
            "others decide",
            subject=f"network {network.name}",
            field="mode",
            value=network.mode.value,
            hint="groups go with modes nat, host-only and private",
        )
    return network


async def _group(desk: Desk, network: str, ref: str) -> tuple[Network, Group]:
    found = await _with_groups(desk, network)
    return found, await _find(desk, found, ref)


async def _find(desk: Desk, network: Network, ref: str, field: str = "group") -> Group:
    """The asker's own group on the network; on a shared one, others' do not exist."""
    return await find(desk.tx.groups, desk.asker.project, "group", ref, field=field, network=network.id)
