"""Instances as they are listed: made of the records of a moment when they are asked for, and their XML made once.

Rules
-----
1. As long as a project's stock does not change, its instances are the same ones.
2. When it has changed, an instance that is made of the same as before has the same XML. It is made of what its machine
   has (disks, ports, addresses, what the door keeps of it and of its ports), and of all there is of things that many
   share.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from guesthouse.engine.stock import Stock
from guesthouse.formats.awsquery.answer import Lasting
from guesthouse.model.dialect import DoorRecord
from guesthouse.model.machine import Machine

_KEPT = "instances"
# What machines have of their own; all other nouns are shared by many.
_OWN = frozenset({"machines", "disks", "ports", "elastics", "door_records", "tags"})

Make = Callable[[Stock, Machine | None, DoorRecord | None], Mapping[str, Any]]


def lasting(
    stock: Stock, records: Mapping[str, DoorRecord], make: Make, known: Make, outer: Make
) -> Collection[Lasting]:
    """All instances, oldest first. `make` makes one of a machine, and of the door's record of it; `known` the members
    that are asked for often, `outer` those that are no part of it."""
    if _KEPT not in stock.kept:
        shared = {noun: there for noun, there in stock.nouns.items() if noun not in _OWN}
        others = {id: record for id, record in stock.records.items() if not record.subject}
        before_shared, before = stock.before.pop(_KEPT, (None, {}))
        if before_shared != (shared, others):
            before = {}
        found = []
        for id in dict.fromkeys([*stock.machines, *records]):
            machine, record = stock.machines.get(id), records.get(id)
            things = (stock, machine, record)
            of = _made_of(stock, id, machine)
            each = Lasting(partial(make, *things), known(*things), outer(*things), of, before.get(id))
            found.append((_begun(machine, record), id, each))
        found.sort(key=lambda begun: begun[0])
        stock.kept[_KEPT] = ((shared, others), {id: each for _, id, each in found})
    made: dict[str, Lasting] = stock.kept[_KEPT][1]
    return made.values()


def _begun(machine: Machine | None, record: DoorRecord | None) -> float:
    return machine.created_at if machine else record.created_at if record else 0.0


def _made_of(stock: Stock, id: str, machine: Machine | None) -> tuple[Any, ...]:
    ports = stock.ports_of.get(id)
    addresses = [stock.elastic_of[port.id] for port in (ports or {}).values() if port.id in stock.elastic_of]
    about = [stock.records_of.get(port.id) for port in (ports or {}).values()]
    return machine, stock.records_of.get(id), ports, about, stock.disks_of.get(id), addresses
