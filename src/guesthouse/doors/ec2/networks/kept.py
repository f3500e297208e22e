"""What the door keeps of networks that EC2 alone knows, by kind; and the ids that are made of the house's.

Rules
-----
1. A record of a thing of the house has that as its subject: a VPC's has the routes of its main table, a subnet's has
   what EC2 gives to those who are launched there, a group's its name in EC2, of any letters.
2. Route tables and gateways are records alone. What they mean is in the subnets of the house (`routing`).
"""

from __future__ import annotations

import hashlib

from guesthouse.doors.ec2.kept import document, record
from guesthouse.doors.ec2.rows import DOOR
from guesthouse.engine.stock import Stock
from guesthouse.formats.cloudids import EC2_DIGITS
from guesthouse.model.dialect import DoorRecord
from guesthouse.model.network import Elastic, Group

VPC, SUBNET, GROUP, INTERFACE = "vpc", "subnet", "security-group", "network-interface"
RULE = "security-group-rule"
TABLE, INTERNET_GATEWAY, NAT_GATEWAY = "route-table", "internet-gateway", "natgateway"
NOUNS = ("networks", "subnets", "groups", "ports", "elastics", "machines", "door_records", "tags", "pools")
__all__ = ["document", "record"]
WAIT_S = 60.0
"""How long a change of networks may take: it takes milliseconds, unless many wait."""


def records(stock: Stock, kind: str) -> dict[str, DoorRecord]:
    """The records of a kind, by their ids."""
    return {id: each for id, each in stock.records.items() if (each.door, each.kind) == (DOOR, kind)}


def group_name(stock: Stock, group: Group) -> str:
    """A group's name as EC2's clients gave it."""
    return str(document(stock, group.id, GROUP).get("name", group.name))


def joint_id(prefix: str, *ids: str) -> str:
    """The id of what two things have in common."""
    return f"{prefix}-{hashlib.sha256(' '.join(ids).encode()).hexdigest()[:EC2_DIGITS]}"


def association_id(elastic: Elastic) -> str:
    """The id of what leads an elastic address to a port."""
    return joint_id("eipassoc", elastic.id, elastic.port)
