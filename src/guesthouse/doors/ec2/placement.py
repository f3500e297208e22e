"""Placement groups: records that instances name.

Rules
-----
1. All machines are on one host: whatever a group's strategy, its instances are as near as can be, and share that host's
   fate. A group of strategy ``spread`` takes one instance, since a second one would have to be elsewhere.
2. A group that instances name cannot be deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from guesthouse.doors.ec2.rows import DOOR, Call, owner, tag_set
from guesthouse.engine.door_intents import Forget, Keep, Piece
from guesthouse.engine.stock import Stock
from guesthouse.formats.awsquery.fault import Fault
from guesthouse.formats.cloudids import ec2_id
from guesthouse.model.dialect import DoorRecord

KIND = "placement-group"
NOUNS = ("door_records", "tags", "machines")
_CLUSTER, _SPREAD, _PARTITION = "cluster", "spread", "partition"
_PARTITIONS = 2


def groups(stock: Stock) -> Iterable[dict[str, Any]]:
    """The project's placement groups."""
    return [group(stock, record) for record in stock.records.values() if _is_group(record)]


def group(stock: Stock, record: DoorRecord) -> dict[str, Any]:
    """One placement group."""
    id = ec2_id("pg", record.id)
    return {
        "GroupName": record.name,
        "State": "available",
        "Strategy": record.document["strategy"],
        "PartitionCount": record.document.get("partitions"),
        "GroupId": id,
        "Tags": tag_set(stock.tags.get(record.id, {})),
        "GroupArn": f"arn:aws:ec2:local-1:{owner(stock)}:placement-group/{record.name}",
        "SpreadLevel": "host" if record.document["strategy"] == _SPREAD else None,
    }


async def create(call: Call) -> Mapping[str, Any]:
    """Make a group."""
    name, strategy = call["GroupName"], call["Strategy"] or _CLUSTER
    if not name or len(name) > 255:
        raise Fault("MissingParameter", "The request must contain the parameter GroupName")
    stock = await call.stock("door_records")
    if any(_is_group(record) and record.name == name for record in stock.records.values()):
        raise Fault("InvalidPlacementGroup.Duplicate", f"The Placement Group '{name}' already exists.")
    partitions = call["PartitionCount"]
    if partitions is not None and strategy != _PARTITION:
        raise Fault("InvalidParameterCombination", "PartitionCount is for the strategy partition alone")
    document = {"strategy": strategy}
    if strategy == _PARTITION:
        document["partitions"] = partitions or _PARTITIONS
    keep = Keep(door=DOOR, kind=KIND, name=name, document=document)
    await call.make(Piece(intent=keep, tags=call.tags(KIND)))
    after = await call.stock(*NOUNS)
    return {"PlacementGroup": next(each for each in groups(after) if each["GroupName"] == name)}


async def delete(call: Call) -> None:
    """Delete a group that no instance names."""
    stock = await call.stock(*NOUNS)
    record = _named(stock, call["GroupName"] or "")
    if _members(stock, record):
        raise Fault("InvalidPlacementGroup.InUse", f"The placement group '{record.name}' is in use")
    await call.do(Forget(record=record.id))


def group_named(stock: Stock, place: Mapping[str, Any]) -> str | None:
    """The id of the record of the group in which an instance is to be, None where it is to be in none."""
    said = place.get("GroupName") or place.get("GroupId")
    if not said:
        return None
    record = _named(stock, said)
    if record.document["strategy"] == _SPREAD and _members(stock, record):
        text = f"The placement group '{record.name}' spreads its instances, and there is one host here"
        raise Fault("InsufficientInstanceCapacity", text, 500)
    return record.id


def _named(stock: Stock, said: str) -> DoorRecord:
    for record in stock.records.values():
        if _is_group(record) and said in (record.name, ec2_id("pg", record.id)):
            return record
    raise Fault("InvalidPlacementGroup.Unknown", f"The Placement Group '{said}' is unknown.")


def _members(stock: Stock, group: DoorRecord) -> list[str]:
    """The machines in a group that are there."""
    return [
        record.subject
        for record in stock.records.values()
        if record.document.get("placement_group") == group.id and record.subject in stock.machines
    ]


def _is_group(record: DoorRecord) -> bool:
    return record.door == DOOR and record.kind == KIND
