"""Tags: put on things, taken off, listed.

Rules
-----
1. Any thing of the project that has an id may have tags; those of instances are the labels of their machines.
2. All things that one request names are tagged, or none is.
3. A tag is taken off by its name; where its value is said too, only where it has that one.
4. Things of the dialect alone are records of the door whose kind is EC2's name of that kind of things.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guesthouse.doors.ec2 import ids
from guesthouse.doors.ec2.rows import DOOR, Call, tags_in
from guesthouse.engine.door_intents import Piece, Tagged
from guesthouse.engine.stock import Stock
from guesthouse.formats.awsquery.fault import Fault
from guesthouse.formats.cloudids import ec2_id


@dataclass(frozen=True)
class Kind:
    """Things with one prefix of ids: what EC2 calls their kind, and the noun that they are here."""

    type: str
    noun: str

    def things(self, stock: Stock) -> dict[str, Any]:
        """The project's own, by their ids."""
        found = stock.nouns[self.noun]
        return {id: thing for id, thing in found.items() if thing.project == stock.project.id and self._is_one(thing)}

    def _is_one(self, thing: Any) -> bool:
        if self.noun == _IMAGES:
            return bool(thing.data == (self.type == "snapshot"))
        # A VPC's record is its main route table.
        kinds = ("route-table", "vpc") if self.type == "route-table" else (self.type,)
        return self.noun != _RECORDS or (thing.door == DOOR and thing.kind in kinds)


class RuleKind(Kind):
    """Rules of security groups: they lie in their groups."""

    def things(self, stock: Stock) -> dict[str, Any]:
        return {rule.id: rule for group in super().things(stock).values() for rule in group.rules}


_RECORDS, _IMAGES = "door_records", "images"
KINDS = {
    "i": Kind("instance", "machines"),
    "ami": Kind("image", _IMAGES),
    "vol": Kind("volume", "disks"),
    "snap": Kind("snapshot", _IMAGES),
    "key": Kind("key-pair", "keys"),
    "vpc": Kind("vpc", "networks"),
    "subnet": Kind("subnet", "subnets"),
    "sg": Kind("security-group", "groups"),
    "sgr": RuleKind("security-group-rule", "groups"),
    "eni": Kind("network-interface", "ports"),
    "eipalloc": Kind("elastic-ip", "elastics"),
    "rtb": Kind("route-table", _RECORDS),
    "igw": Kind("internet-gateway", _RECORDS),
    "nat": Kind("natgateway", _RECORDS),
    "dopt": Kind("dhcp-options", _RECORDS),
    "acl": Kind("network-acl", _RECORDS),
    "lt": Kind("launch-template", _RECORDS),
    "pg": Kind("placement-group", _RECORDS),
    "sir": Kind("spot-instances-request", _RECORDS),
}
"""By the prefix of their ids."""
NOUNS = (*dict.fromkeys(kind.noun for kind in KINDS.values()), "tags")


def tag_descriptions(stock: Stock) -> Iterable[dict[str, Any]]:
    """All tags of the project; each with ``Tags``, by which filters find it."""
    for prefix, kind in KINDS.items():
        for id, thing in kind.things(stock).items():
            for name, text in sorted(_of(stock, id, thing).items()):
                yield {
                    "Key": name,
                    "ResourceId": ec2_id(prefix, id),
                    "ResourceType": kind.type,
                    "Value": text,
                    "Tags": [{"Key": name, "Value": text}],
                }


def plain(stock: Stock, items: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Tags as answers have them."""
    return [{name: value for name, value in item.items() if name != "Tags"} for item in items]


async def create(call: Call) -> None:
    """Put tags on things; what was there by a name is replaced."""
    put = tags_in(call["Tags"])
    found = _named(await call.stock(*NOUNS), call["Resources"])
    await call.make(*(Piece(intent=Tagged(subject=id, put=put)) for id in found))


async def delete(call: Call) -> None:
    """Take tags off things, all of them where none is named; what is not there is no error, as with EC2."""
    stock = await call.stock(*NOUNS)
    pieces = []
    for id, thing in _named(stock, call["Resources"]).items():
        there = _of(stock, id, thing)
        if take := tuple(there) if call["Tags"] is None else tuple(_taken(there, call["Tags"])):
            pieces.append(Piece(intent=Tagged(subject=id, take=take)))
    await call.make(*pieces)


def _taken(there: Mapping[str, str], tags: Sequence[Mapping[str, str]]) -> Iterable[str]:
    for tag in tags:
        name = tag.get("Key", "")
        if name in there and tag.get("Value", there[name]) == there[name]:
            yield name


def _of(stock: Stock, id: str, thing: Any) -> Mapping[str, str]:
    """The tags of one thing."""
    return thing.spec.labels if id in stock.machines else stock.tags.get(id, {})


def _named(stock: Stock, wanted: Sequence[str]) -> dict[str, Any]:
    """The things with these EC2 ids, by the house's; raises `Fault` for the first that is not there."""
    found = {}
    for id in wanted:
        prefix = id.rpartition("-")[0]
        if prefix not in KINDS:
            raise Fault("InvalidID", f"The ID '{id[:100]}' is not valid")
        thing = ids.one(KINDS[prefix].things(stock), prefix, id)
        found[thing.id] = thing
    return found
