"""Undoing a change of networks, and of machines' places on them: what is kept for that, and how it is written back.

Rules
-----
1. What is kept is what the change itself wrote, field by field, and what was there before. What follows from it
   (IPv6 addresses) is made anew.
2. A field goes back while it is still as this change wrote it. Where a change that waits has written it too, that one
   keeps its wish, and learns what there was before: should it fail as well, it leads back to that.
3. What was made goes again, unless others have taken it up; a change of it that waits will then fail. What was removed
   comes back, unless its name, number or addresses are somebody else's by now.
4. It is written back once: in the same transaction the operation forgets it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from guesthouse.decide.addresses import MODES, is_one_in_other, overlap
from guesthouse.engine.wanted import readdress
from guesthouse.model.errors import Conflict
from guesthouse.model.network import Elastic, Group, Network, Port, Rule, Subnet
from guesthouse.model.resources import Operation
from guesthouse.ports import Table, Transaction

_RECORDS: dict[str, type[Subnet | Group | Port | Elastic]] = {
    "subnets": Subnet,
    "groups": Group,
    "ports": Port,
    "elastics": Elastic,
}
_LOST = "lost"


class Former(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a record was: the whole `record` where it was removed, or `fields` that had other values than was `wrote`.

    Of a group `came` are ids of rules that it did not have, `went` are rules that it had. With none of these there
    was no such record.
    """

    table: str
    id: str
    record: dict[str, Any] | None = None
    fields: dict[str, Any] = {}
    wrote: dict[str, Any] = {}
    came: tuple[str, ...] = ()
    went: tuple[Rule, ...] = ()


def made(table: str, record: Any) -> Former:
    """For a record that is new."""
    return Former(table=table, id=record.id)


def gone(table: str, record: Any) -> Former:
    """For a record that is removed."""
    return Former(table=table, id=record.id, record=msgspec.to_builtins(record))


def changed(table: str, record: Any, **said: object) -> Former:
    """For a record of which these fields get these values."""
    before = {name: _plain(getattr(record, name)) for name in said}
    return Former(table=table, id=record.id, fields=before, wrote={name: _plain(value) for name, value in said.items()})


def _plain(value: object) -> Any:
    """A field as it comes back out of an operation's context."""
    return msgspec.json.decode(msgspec.json.encode(value))


def kept(*formers: Former, **result: str) -> dict[str, Any]:
    """The context of an operation that changes networks; `result` is what it will have led to."""
    return {"before": msgspec.to_builtins(formers), "result": result}


def refuse_lost(operation: Operation) -> None:
    """Raise `Conflict` where what an operation is to change is gone, with the change that had made it."""
    if lost := operation.context.get(_LOST):
        raise Conflict(
            f"{lost} is gone: what had made it failed, and was undone",
            subject=operation.subject_name,
            hint=f"make {lost} again, and then ask again",
        )


async def write_back(tx: Transaction, operation: Operation) -> list[Former]:
    """Have what is the operation's own as it was before; what it had kept for that."""
    context = (await tx.operations.get(operation.id) or operation).context
    formers = msgspec.convert(context.get("before", ()), list[Former])
    told = [_Waiting(each) for each in await _waiting_behind(tx, operation)]
    for former in reversed(formers):
        with contextlib.suppress(Conflict):  # its name or its place is somebody else's now
            await _write_back(tx, former, told)
    for each in told:
        await tx.operations.update(each.id, {}, context=each.context)
    await tx.operations.update(operation.id, {}, context={**context, "before": []})
    return formers


async def _waiting_behind(tx: Transaction, operation: Operation) -> list[Operation]:
    """Changes of networks that were accepted after an operation, and are not done yet; oldest first."""
    rows = await tx.operations.scan(kind="network.change", ended_at=0.0)
    ids = [row.id for row in rows]
    after = ids[ids.index(operation.id) + 1 :] if operation.id in ids else []
    found = [await tx.operations.get(id) for id in after]
    return [each for each in found if each is not None]


class _Waiting:
    """A change that waits, and its context, which may learn that there was something else before."""

    def __init__(self, operation: Operation) -> None:
        self.id, self.context = operation.id, dict(operation.context)

    def about(self, former: Former) -> list[dict[str, Any]]:
        """What it keeps of the same record."""
        kept = self.context.get("before", ())
        return [each for each in kept if (each["table"], each["id"]) == (former.table, former.id)]

    def forget(self, former: Former) -> None:
        """Keep nothing of that record."""
        about = self.about(former)
        self.context["before"] = [each for each in self.context.get("before", ()) if each not in about]


async def _write_back(tx: Transaction, former: Former, told: list[_Waiting]) -> None:
    table: Table[Any, Any] = getattr(tx, former.table)
    now = await table.get(former.id)
    if former.record is not None:
        if now is None and not await _is_taken(tx, former):
            await table.insert(msgspec.convert(former.record, _RECORDS[former.table]))
    elif former.fields:
        if now is not None:
            await _set_back(tx, former, now, told)
    elif former.came or former.went:
        await _rules_back(tx, former, now, told)
    else:
        await _unmake(tx, former, now, told)


async def _set_back(tx: Transaction, former: Former, now: Any, told: list[_Waiting]) -> None:
    back = {}
    for name, value in former.fields.items():
        heir = next((each for w in told for each in w.about(former) if name in each.get("fields", {})), None)
        if heir is not None:
            heir["fields"][name] = value
        elif _plain(getattr(now, name)) == former.wrote.get(name):
            back[name] = value
    for name in [*back]:
        if (refused := _NO_MORE.get((former.table, name))) is not None and await refused(tx, now, former.fields):
            del back[name]
    if not back:
        return
    table: Table[Any, Any] = getattr(tx, former.table)
    await table.update(former.id, {}, **back)
    if former.table == "networks" and "ipv6" in back:
        await readdress(tx, msgspec.structs.replace(now, **back))


async def _rules_back(tx: Transaction, former: Former, group: Group | None, told: list[_Waiting]) -> None:
    """The rules as they were; of a group that a change which waits has removed, as that one keeps it."""
    if group is not None:
        rules = await _rules_before(tx, former, group)
        await tx.groups.update(former.id, {}, rules=rules)
        return
    for each in (each for w in told for each in w.about(former) if each.get("record") is not None):
        each["record"]["rules"] = msgspec.to_builtins(
            await _rules_before(tx, former, msgspec.convert(each["record"], Group))
        )


async def _rules_before(tx: Transaction, former: Former, group: Group) -> tuple[Rule, ...]:
    stay = [rule for rule in group.rules if rule.id not in former.came]
    said = {_said(rule) for rule in stay}
    for rule in former.went:
        peer_is_there = not rule.group or rule.group == group.id or await tx.groups.get(rule.group) is not None
        if _said(rule) not in said and peer_is_there:
            stay.append(rule)
    return tuple(stay)


def _said(rule: Rule) -> Rule:
    return msgspec.structs.replace(rule, id="", description="")


async def _unmake(tx: Transaction, former: Former, now: Any, told: list[_Waiting]) -> None:
    if now is None:
        for each in told:  # one of them has removed it, and is not to bring it back
            each.forget(former)
        return
    if await _is_taken_up(tx, now):
        return
    table: Table[Any, Any] = getattr(tx, former.table)
    await table.delete(former.id)
    for each in told:
        if each.about(former):
            each.context[_LOST] = f"{former.table.removesuffix('s')} {getattr(now, 'name', '') or now.id}"


async def _is_taken_up(tx: Transaction, made: Subnet | Group | Port | Elastic) -> bool:
    """Whether a port has its place there, another group's rule names it, or a machine has taken a port that stays."""
    if isinstance(made, Port):
        return (made.stays and bool(made.machine)) or bool(await tx.subnets.select(network=made.network, gate=made.id))
    ports = await tx.ports.select(network=made.network)
    groups = [group for group in await tx.groups.select(network=made.network) if group.id != made.id]
    return any(made.id in (port.subnet, *port.groups) for port in ports) or any(
        rule.group == made.id for group in groups for rule in group.rules
    )


async def _is_taken(tx: Transaction, former: Former) -> bool:
    """Whether the addresses of a subnet are another one's now; names and numbers the store itself keeps apart."""
    if former.table != "subnets" or former.record is None:
        return False
    others = await tx.subnets.select(network=former.record["network"])
    return any(overlap(former.record["cidr"], each.cidr) for each in others)


# --- values that cannot come back -----------------------------------------------------------------------------


async def _port_is_gone(tx: Transaction, now: Any, fields: dict[str, Any]) -> bool:
    return bool(fields["port"]) and await tx.ports.get(fields["port"]) is None


async def _domain_is_taken(tx: Transaction, now: Network, fields: dict[str, Any]) -> bool:
    others = [
        each for each in await tx.networks.scan() if MODES[each.mode].routed and each.id != now.id and each.domain
    ]
    return MODES[now.mode].routed and any(is_one_in_other(fields["domain"], each.domain) for each in others)


async def _strangers_use_it(tx: Transaction, now: Network, fields: dict[str, Any]) -> bool:
    owners = {port.project for port in await tx.ports.select(network=now.id)}
    owners |= {group.project for group in await tx.groups.select(network=now.id)}
    return not fields["shared"] and bool(owners - {now.project})


async def _forwards_are_taken(tx: Transaction, now: Port, fields: dict[str, Any]) -> bool:
    others = [port for port in await tx.ports.select() if port.id != now.id]
    held = {(each.host_port, each.protocol) for port in others for each in port.forwards}
    return any((each["host_port"], each["protocol"]) in held for each in fields["forwards"])


_NO_MORE: dict[tuple[str, str], Callable[[Transaction, Any, dict[str, Any]], Awaitable[bool]]] = {
    ("elastics", "network"): _port_is_gone,
    ("elastics", "port"): _port_is_gone,
    ("networks", "domain"): _domain_is_taken,
    ("networks", "shared"): _strangers_use_it,
    ("ports", "forwards"): _forwards_are_taken,
}
