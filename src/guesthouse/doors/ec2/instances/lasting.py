"""Instances as they are listed: made of the records of a moment when they are asked for, and their XML made once.

Rules
-----
1. As long as a project's stock does not change, its instances are the same ones.
2. When it has changed, an instance that is made of the same as before stays, with its XML. It is made of what its
   machine has (disks, ports, addresses, what the door keeps of it and of its ports), and of all there is of things that
   many share.
3. Of networks that is what is shown of them: they are written with every launch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from guesthouse.engine.stock import Stock
from guesthouse.formats.awsquery.answer import Lasting, Source
from guesthouse.model.dialect import DoorRecord
from guesthouse.model.machine import Machine

_KEPT = "instances"
# What machines have of their own; all other nouns are shared by many.
_OWN = frozenset({"machines", "disks", "ports", "elastics", "door_records", "tags", "networks"})

Things = tuple[Stock, Machine | None, DoorRecord | None]
"""The stock, a machine unless it is gone, and what the door keeps of it."""
Views = Source[Things]
Records = Mapping[str, DoorRecord]
"""The door's records of instances, by machines."""


@dataclass
class _Instances:
    """All instances of a project by their machines' ids, oldest first, with what each is made of; and the stock now."""

    stock: Stock
    records: Records
    shared: Any
    views: Views
    made_of: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    found: dict[str, Lasting[str]] = field(default_factory=dict)

    def things(self, id: str) -> Things:
        return self.stock, self.stock.machines.get(id), self.records.get(id)

    def source(self) -> Source[str]:
        views, of = self.views, self._of_things
        quick = {name: of(view) for name, view in views.quick.items()}
        return Source(of(views.whole), (views.outer[0], of(views.outer[1])), quick, of(views.tags))

    def _of_things(self, view: Callable[[Things], Any]) -> Callable[[str], Any]:
        return lambda id: view(self.things(id))

    def fill(self, before: _Instances | None) -> None:
        """Make all; what is made of the same as before is taken from there."""
        source = self.source()
        same = before if before is not None and before.shared == self.shared else None
        there = same.made_of if same else {}
        ids = dict.fromkeys([*self.stock.machines, *self.records])
        for id in sorted(ids, key=self._begun):
            of = self.made_of[id] = _made_of(*self.things(id), id)
            if same is not None and there.get(id) == of:
                self.found[id] = same.found[id]
                self.found[id].source = source
            else:
                self.found[id] = Lasting(source, id)

    def _begun(self, id: str) -> float:
        _, machine, record = self.things(id)
        return machine.created_at if machine else record.created_at if record else 0.0


def lasting(stock: Stock, records: Callable[[], Records], views: Views) -> Collection[Lasting[str]]:
    """All instances, oldest first, as `views` shows them."""
    if _KEPT not in stock.kept:
        made = _Instances(stock, records(), _shared(stock), views)
        made.fill(stock.before.pop(_KEPT, None))
        stock.kept[_KEPT] = made
    found: _Instances = stock.kept[_KEPT]
    return found.found.values()


def _shared(stock: Stock) -> Any:
    """What many instances are made of."""
    nouns = {noun: there for noun, there in stock.nouns.items() if noun not in _OWN}
    alone = {id: record for id, record in stock.records.items() if not record.subject}
    return nouns, alone, {id: network.domain for id, network in stock.networks.items()}


def _made_of(stock: Stock, machine: Machine | None, record: DoorRecord | None, id: str) -> tuple[Any, ...]:
    """What one instance is made of."""
    ports = tuple(stock.ports_of.get(id, {}).values())
    about = tuple([each for port in ports for each in stock.records_of.get(port.id, ())])
    addresses = tuple([stock.elastic_of[port.id] for port in ports if port.id in stock.elastic_of])
    disks = tuple([stock.disks.get(disk.disk) for disk in machine.spec.disks]) if machine else ()
    return machine, record, ports, about, addresses, disks
