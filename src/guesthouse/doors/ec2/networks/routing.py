"""What EC2's route tables and gateways mean: which ways lead outside from the subnets of the house.

Rules
-----
1. A subnet is in the table that it is associated with, else in its VPC's main one. That is the VPC's own, which lies in
   the VPC's record, until another table is put in its place; the own one may then be deleted.
2. A route to everywhere by an internet gateway that is attached to the VPC is a way for who has a public address. One
   by a NAT gateway is a way for all, by that one's address, while its own subnet has a way by an internet gateway. With
   neither there is no way.
3. Of a network that this door did not make the subnets stay as they are, unless they are put into a table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from guesthouse.doors.ec2.networks import kept
from guesthouse.engine.door_intents import Piece, Rewrite
from guesthouse.engine.network_intents import SubnetChange
from guesthouse.engine.stock import Stock
from guesthouse.formats.awsquery.fault import Fault
from guesthouse.formats.cloudids import ec2_id
from guesthouse.model.dialect import DoorRecord
from guesthouse.model.network import Outlet, Subnet

EVERYWHERE = "0.0.0.0/0"
_MAIN = "main"


@dataclass
class Table:
    """A route table; `routes` are destinations with the ids of the gateways' records, `subnets` ids of the house's."""

    record: DoorRecord
    vpc: str
    is_main: bool
    routes: dict[str, str]
    subnets: list[str]

    @property
    def id(self) -> str:
        return ec2_id("rtb", self.record.id)


class Routing:
    """The tables and gateways of a project, to be changed; `pieces` is then what is to be asked of the house."""

    def __init__(self, stock: Stock) -> None:
        self._stock = stock
        self._vpcs = kept.records(stock, kept.VPC)
        mains = {each.document.get(_MAIN, id) for id, each in self._vpcs.items()}
        records = {id: each for id, each in self._vpcs.items() if each.document.get("own", True)}
        records |= kept.records(stock, kept.TABLE)
        self.tables = {id: _table(each, is_main=id in mains) for id, each in records.items()}
        # Tables of networks that are gone otherwise go with them.
        self.tables = {id: table for id, table in self.tables.items() if table.vpc in stock.networks}
        self.attached: dict[str, str] = {
            id: each.document.get("vpc", "") for id, each in kept.records(stock, kept.INTERNET_GATEWAY).items()
        }
        self.nats = {
            id: each for id, each in kept.records(stock, kept.NAT_GATEWAY).items() if each.subject in stock.ports
        }

    def table(self, id: str) -> Table:
        """The table with this EC2 id; raises `Fault`."""
        for table in self.tables.values():
            if table.id == id:
                return table
        raise Fault("InvalidRouteTableID.NotFound", f"The routeTable ID '{id[:100]}' does not exist")

    def table_of(self, subnet: Subnet) -> Table | None:
        """The table that a subnet is in; None on a network without any."""
        for table in self.tables.values():
            if subnet.id in table.subnets:
                return table
        return next((table for table in self.tables.values() if table.is_main and table.vpc == subnet.network), None)

    def is_attached(self, gateway: str, vpc: str) -> bool:
        """Whether a route by this record is one by an internet gateway of the VPC."""
        return self.attached.get(gateway) == vpc

    def way(self, subnet: Subnet) -> tuple[Outlet, str]:
        """Which ways lead outside from a subnet, and the port that its machines share for that."""
        table = self.table_of(subnet)
        if table is None:
            return subnet.outlet, subnet.gate
        by = table.routes.get(EVERYWHERE, "")
        if self.is_attached(by, table.vpc):
            return Outlet.ELASTIC, ""
        nat = self.nats.get(by)
        if nat is None or not self._leads_out(nat):
            return Outlet.NONE, ""
        return Outlet.SHARED, nat.subject

    def _leads_out(self, nat: DoorRecord) -> bool:
        port = self._stock.ports[nat.subject]
        table = self.table_of(self._stock.subnets[port.subnet])
        return table is not None and self.is_attached(table.routes.get(EVERYWHERE, ""), table.vpc)

    def pieces(self) -> list[Piece]:
        """What makes records and subnets as this says; nothing where they are."""
        return [*self._rewritten(), *self._changed()]

    def _rewritten(self) -> Iterator[Piece]:
        for table in self.tables.values():
            parts: dict[str, Any] = {"routes": table.routes, "subnets": table.subnets}
            if parts != {name: table.record.document.get(name, type(part)()) for name, part in parts.items()}:
                yield Piece(intent=Rewrite(record=table.record.id, parts=parts))
        for table in self.tables.values():
            of = next((each for each in self._vpcs.values() if each.subject == table.vpc), None)
            if table.is_main and of is not None and of.document.get(_MAIN, of.id) != table.record.id:
                yield Piece(intent=Rewrite(record=of.id, parts={_MAIN: table.record.id}))
        for id, vpc in self.attached.items():
            if vpc != self._stock.records[id].document.get("vpc", ""):
                yield Piece(intent=Rewrite(record=id, parts={"vpc": vpc}))

    def _changed(self) -> Iterator[Piece]:
        for subnet in self._stock.subnets.values():
            outlet, gate = self.way(subnet)
            if (outlet, gate) != (subnet.outlet, subnet.gate):
                change = SubnetChange(network=subnet.network, subnet=subnet.id, outlet=outlet, gate=gate)
                yield Piece(intent=change)


def _table(record: DoorRecord, *, is_main: bool) -> Table:
    kept_ = record.document
    return Table(record, record.subject, is_main, dict(kept_.get("routes", {})), list(kept_.get("subnets", ())))
