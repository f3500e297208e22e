"""Undoing a change of a network: what its operation's context keeps for that, and how it is written back.

Rules
-----
1. What is kept is what the change itself touched, and no more: what others changed meanwhile stays.
2. Writing it back again has the same result.
"""

from __future__ import annotations

from typing import Any

import msgspec

from guesthouse.model.network import Elastic, Group, Network, Port, Rule, Subnet
from guesthouse.model.resources import Operation
from guesthouse.ports import Table, Transaction

_RECORDS: dict[str, type[msgspec.Struct]] = {
    "networks": Network,
    "subnets": Subnet,
    "groups": Group,
    "ports": Port,
    "elastics": Elastic,
}


class Former(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a record was: the whole `record` where it is gone now, or `fields` that had other values.

    Of a group `came` are ids of rules that it did not have, `went` are rules that it had. With none of these there
    was no such record.
    """

    table: str
    id: str
    record: dict[str, Any] | None = None
    fields: dict[str, Any] | None = None
    came: tuple[str, ...] = ()
    went: tuple[Rule, ...] = ()


def made(table: str, record: Any) -> Former:
    """For a record that is new."""
    return Former(table=table, id=record.id)


def gone(table: str, record: Any) -> Former:
    """For a record that is removed."""
    return Former(table=table, id=record.id, record=msgspec.to_builtins(record))


def changed(table: str, record: Any, *names: str) -> Former:
    """For a record of which these fields are to change."""
    return Former(
        table=table, id=record.id, fields={name: msgspec.to_builtins(getattr(record, name)) for name in names}
    )


def kept(*formers: Former, **result: str) -> dict[str, Any]:
    """The context of an operation that changes a network; `result` is what it will have led to."""
    return {"before": msgspec.to_builtins(formers), "result": result}


async def write_back(tx: Transaction, operation: Operation) -> None:
    """Have everything as it was before the operation."""
    for former in reversed(msgspec.convert(operation.context.get("before", ()), tuple[Former, ...])):
        await _write_back(tx, former)


async def _write_back(tx: Transaction, former: Former) -> None:
    table: Table[Any, Any] = getattr(tx, former.table)
    now = await table.get(former.id)
    if former.record is not None:
        if now is None:
            await table.insert(msgspec.convert(former.record, _RECORDS[former.table]))
    elif now is None:
        return
    elif former.fields is not None:
        await table.update(former.id, {}, **former.fields)
    elif former.came or former.went:
        stay = [rule for rule in now.rules if rule.id not in former.came]
        back = [rule for rule in former.went if rule.id not in {each.id for each in stay}]
        await table.update(former.id, {}, rules=(*stay, *back))
    else:
        await table.delete(former.id)
