"""Attributes of AMIs and of snapshots: what they are said to be, and who may use them.

A permission is a share of the house's image: with one project, by its account, or with all (``all``: a public image,
which only the operator of the house can make). Who may launch from an AMI has its root disk; its record, with its name
as EC2's clients said it and its further devices, stays with its own project.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guesthouse.doors.ec2 import ids, kept
from guesthouse.doors.ec2.images import view
from guesthouse.doors.ec2.rows import Call
from guesthouse.engine import intents
from guesthouse.engine.door_intents import Piece
from guesthouse.engine.stock import Stock
from guesthouse.formats.awsquery.fault import Fault
from guesthouse.formats.cloudids import account, ec2_id
from guesthouse.model.errors import NotFound
from guesthouse.model.resources import Image


@dataclass(frozen=True)
class Kind:
    """AMIs or snapshots: how requests name one, and its permission."""

    prefix: str
    argument: str
    things: Callable[[Stock], Mapping[str, Image]]
    permission: str
    word: str
    groups: str


AMI = Kind("ami", "ImageId", view.amis, "LaunchPermission", "launchPermission", "UserGroups")
SNAPSHOT = Kind("snap", "SnapshotId", view.snapshots, "CreateVolumePermission", "createVolumePermission", "GroupNames")


async def describe_image(call: Call) -> Mapping[str, Any]:
    stock, image = await _own(call, AMI)
    said: dict[str, Any]
    match call["Attribute"]:
        case "description":
            said = {"Description": {"Value": view.record_of(stock, image.id, view.IMAGE).get("description", "")}}
        case "launchPermission":
            said = {"LaunchPermissions": view.may_use(stock, image)}
        case "blockDeviceMapping":
            record = view.record_of(stock, image.id, view.IMAGE)
            said = {"BlockDeviceMappings": view.mappings_of(stock, image, record)}
        case other:
            raise Fault("UnsupportedOperation", f"The attribute {other} of images is not supported here")
    return {"ImageId": ec2_id("ami", image.id), **said}


async def describe_snapshot(call: Call) -> Mapping[str, Any]:
    if call["Attribute"] != SNAPSHOT.word:
        raise Fault("UnsupportedOperation", f"The attribute {call['Attribute']} of snapshots is not supported here")
    stock, image = await _own(call, SNAPSHOT)
    return {"SnapshotId": ec2_id("snap", image.id), "CreateVolumePermissions": view.may_use(stock, image)}


async def modify_image(call: Call) -> None:
    """Change the description, or who may launch from it."""
    stock, image = await _own(call, AMI)
    description = (call["Description"] or {}).get("Value")
    if call["Attribute"] == "description":
        description = call["Value"]
    pieces = _permissions(call, AMI, stock, image)
    if description is not None:
        pieces.append(kept.rewriting(stock, image.id, view.IMAGE, {"description": description}))
    await _make(call, pieces)


async def modify_snapshot(call: Call) -> None:
    """Change who may make volumes of it."""
    stock, image = await _own(call, SNAPSHOT)
    await _make(call, _permissions(call, SNAPSHOT, stock, image))


async def reset_image(call: Call) -> None:
    stock, image = await _own(call, AMI)
    if call["Attribute"] != AMI.word:
        raise Fault("InvalidParameterValue", f"The attribute {call['Attribute']} cannot be reset")
    await _reset(call, stock, image)


async def reset_snapshot(call: Call) -> None:
    stock, image = await _own(call, SNAPSHOT)
    if call["Attribute"] != SNAPSHOT.word:
        raise Fault("InvalidParameterValue", f"The attribute {call['Attribute']} cannot be reset")
    await _reset(call, stock, image)


async def _own(call: Call, kind: Kind) -> tuple[Stock, Image]:
    stock = await call.stock(*view.NOUNS)
    return stock, view.own(stock, ids.one(kind.things(stock), kind.prefix, call[kind.argument]), kind.prefix)


async def _reset(call: Call, stock: Stock, image: Image) -> None:
    removed = [
        {"UserId": account(stock.accounts[each.project])} for each in stock.shares.values() if each.image == image.id
    ]
    pieces = _changes(image, removed, adds=False)
    if image.public:
        pieces += _changes(image, [{"Group": view.EVERYBODY}], adds=False)
    await call.make(*pieces)


def _permissions(call: Call, kind: Kind, stock: Stock, image: Image) -> list[Piece]:
    """What the permissions of a request ask for, in either of the two ways of saying them."""
    said = call[kind.permission] or {}
    pieces = [*_changes(image, said.get("Add", ()), adds=True), *_changes(image, said.get("Remove", ()), adds=False)]
    if call["OperationType"] or call["UserIds"] or call[kind.groups]:
        if call["Attribute"] not in (None, kind.word) or call["OperationType"] is None:
            raise Fault(
                "InvalidParameterCombination", f"OperationType, UserIds and {kind.groups} belong to {kind.word}"
            )
        whom = [
            *({"UserId": id} for id in call["UserIds"] or ()),
            *({"Group": name} for name in call[kind.groups] or ()),
        ]
        pieces += _changes(image, whom, adds=call["OperationType"] == "add")
    return pieces


def _changes(image: Image, whom: Sequence[Mapping[str, str]], *, adds: bool) -> list[Piece]:
    pieces = []
    for each in whom:
        user, group = each.get("UserId"), each.get("Group")
        if group is not None and group != view.EVERYBODY:
            raise _no_item(group, "group")
        if group is not None:
            pieces.append(Piece(intent=intents.ImageChange(image=image.id, public=adds)))
        if user is not None:
            if not (user.isdecimal() and len(user) == len(account(0))):
                raise _no_item(user, "userId")
            intent = intents.ImageShare if adds else intents.ImageUnshare
            pieces.append(Piece(intent=intent(image=image.id, project=user)))
    return pieces


async def _make(call: Call, pieces: Sequence[Piece]) -> None:
    if not pieces:
        raise Fault("InvalidParameterCombination", "No attributes specified.")
    try:
        await call.make(*pieces)
    except NotFound as error:
        if error.field == "project":
            raise _no_item(str(error.value), "userId") from error
        raise


def _no_item(said: str, kind: str) -> Fault:
    return Fault("InvalidAMIAttributeItemValue", f'Invalid attribute item value "{said}" for {kind} item type.')
