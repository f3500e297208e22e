"""Launch templates: what RunInstances is told, kept under a name, in versions.

Rules
-----
1. A template is a record, and each of its versions is one: the arguments as they were said. They are held against what
   RunInstances understands as they are kept, and against what there is as they are used.
2. A request's own arguments come before those of the template that it names; devices and tags are put together, each by
   its name.
3. Versions are numbered from 1 on, and no number is used twice. The default one cannot be deleted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from guesthouse.doors.ec2 import ids
from guesthouse.doors.ec2.rows import DOOR, Call, tag_set
from guesthouse.engine.door_intents import Forget, Keep, Piece, Rewrite
from guesthouse.engine.intents import Intent
from guesthouse.engine.stock import Stock
from guesthouse.formats.awsquery.fault import Fault
from guesthouse.formats.cloudids import ec2_id
from guesthouse.model.dialect import DoorRecord

KIND, VERSION = "launch-template", "launch-template-version"
NOUNS = ("door_records", "tags")
_NAME = re.compile(r"[a-zA-Z0-9().\-/_]{3,128}")
_LATEST, _DEFAULT = "$Latest", "$Default"


def templates(stock: Stock) -> Iterable[dict[str, Any]]:
    """The project's launch templates."""
    return [template(stock, record) for record in _templates(stock)]


def template(stock: Stock, record: DoorRecord) -> dict[str, Any]:
    """One launch template."""
    return {
        "LaunchTemplateId": ec2_id("lt", record.id),
        "LaunchTemplateName": record.name,
        "CreateTime": record.created_at,
        "CreatedBy": record.document["by"],
        "DefaultVersionNumber": record.document["default"],
        "LatestVersionNumber": max(_versions(stock, record), default=record.document["latest"]),
        "Tags": tag_set(stock.tags.get(record.id, {})),
    }


def version(record: DoorRecord, kept: DoorRecord) -> dict[str, Any]:
    """One version of a launch template."""
    number = kept.document["number"]
    return {
        "LaunchTemplateId": ec2_id("lt", record.id),
        "LaunchTemplateName": record.name,
        "VersionNumber": number,
        "VersionDescription": kept.document.get("description"),
        "CreateTime": kept.created_at,
        "CreatedBy": record.document["by"],
        "DefaultVersion": number == record.document["default"],
        "LaunchTemplateData": kept.document["data"],
    }


def completed(stock: Stock, said: Mapping[str, Any]) -> Mapping[str, Any]:
    """What RunInstances is told, with what its launch template says that it does not."""
    named = said.get("LaunchTemplate")
    if not named:
        return said
    kept = _version(stock, find(stock, named), str(named.get("Version") or _DEFAULT)).document["data"]
    found = {**kept, **said}
    for member, key in (("BlockDeviceMappings", "DeviceName"), ("TagSpecifications", "ResourceType")):
        both = [*(kept.get(member) or ()), *(said.get(member) or ())]
        found[member] = list({each.get(key): each for each in both}.values())
    return found


async def create(call: Call) -> Mapping[str, Any]:
    """Make a template with its first version."""
    name = call["LaunchTemplateName"]
    if not _NAME.fullmatch(name):
        text = f"Invalid launch template name '{name[:128]}': 3 to 128 letters, digits and ( ) . - / _"
        raise Fault("InvalidLaunchTemplateName.MalformedException", text)
    stock = await call.stock(*NOUNS)
    if any(record.name == name for record in _templates(stock)):
        raise Fault("InvalidLaunchTemplateName.AlreadyExistsException", "Launch template name already in use.")
    who = f"arn:aws:iam::{stock.project.number:012d}:user/{call.asker.role.value}"
    keep = Keep(door=DOOR, kind=KIND, name=name, document={"default": 1, "latest": 1, "by": who})
    (id,) = await call.make(Piece(intent=keep, kind=VERSION, document=_document(call, 1), tags=call.tags(KIND)))
    after = await call.stock(*NOUNS)
    return {"LaunchTemplate": template(after, after.records[id])}


async def create_version(call: Call) -> Mapping[str, Any]:
    """Keep another version, which may begin as a copy of an earlier one."""
    stock = await call.stock(*NOUNS)
    record = find(stock, call.arguments)
    data: Mapping[str, Any] = {}
    if call["SourceVersion"]:
        data = _version(stock, record, call["SourceVersion"]).document["data"]
    number = record.document["latest"] + 1
    document = _document(call, number, data)
    keep = Keep(door=DOOR, kind=VERSION, name=f"{record.id}:{number}", subject=record.id, document=document)
    made, _ = await call.do(keep, Rewrite(record=record.id, parts={"latest": number}))
    return {"LaunchTemplateVersion": version(record, (await call.stock("door_records")).records[made])}


async def modify(call: Call) -> Mapping[str, Any]:
    """Have another version be the one that is taken where none is named."""
    stock = await call.stock(*NOUNS)
    record = find(stock, call.arguments)
    number = _version(stock, record, ids.only(call["DefaultVersion"], "SetDefaultVersion")).document["number"]
    await call.do(Rewrite(record=record.id, parts={"default": number}))
    after = await call.stock(*NOUNS)
    return {"LaunchTemplate": template(after, after.records[record.id])}


async def delete(call: Call) -> Mapping[str, Any]:
    """Delete a template with all its versions; machines that were launched by it are their own."""
    stock = await call.stock(*NOUNS)
    record = find(stock, call.arguments)
    gone = template(stock, record)
    versions = (Forget(record=kept.id) for kept in _versions(stock, record).values())
    await call.do(*versions, Forget(record=record.id))
    return {"LaunchTemplate": gone}


async def delete_versions(call: Call) -> Mapping[str, Any]:
    """Delete those of the versions that can be."""
    stock = await call.stock(*NOUNS)
    record = find(stock, call.arguments)
    about = {"LaunchTemplateId": ec2_id("lt", record.id), "LaunchTemplateName": record.name}
    done: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    going: list[Intent] = []
    for written in dict.fromkeys(call["Versions"]):
        kept = _versions(stock, record).get(int(written)) if written.isdigit() else None
        item = {**about, "VersionNumber": int(written) if written.isdigit() else 0}
        if kept is None:
            error = {"Code": "launchTemplateVersionDoesNotExist", "Message": f"There is no version {written}"}
            refused.append({**item, "ResponseError": error})
        elif kept.document["number"] == record.document["default"]:
            error = {"Code": "unexpectedError", "Message": "The default version cannot be deleted"}
            refused.append({**item, "ResponseError": error})
        else:
            going.append(Forget(record=kept.id))
            done.append(item)
    if going:
        await call.do(*going)
    return {
        "SuccessfullyDeletedLaunchTemplateVersions": done,
        "UnsuccessfullyDeletedLaunchTemplateVersions": refused,
    }


async def data_of(call: Call) -> Mapping[str, Any]:
    """What RunInstances would have to be told to launch an instance like one that there is."""
    from guesthouse.doors.ec2.instances import view

    stock = await call.stock(*view.NOUNS)
    machine = ids.one(stock.machines, "i", call["InstanceId"])
    shown = view.instance(stock, machine, view.record_of(stock, machine.id))
    data = {
        name: shown[name] for name in ("ImageId", "InstanceType", "KeyName", "HibernationOptions") if shown.get(name)
    }
    if shown["SubnetId"]:
        nics = shown["NetworkInterfaces"]
        data["NetworkInterfaces"] = [
            {
                "DeviceIndex": nic["Attachment"]["DeviceIndex"],
                "SubnetId": nic["SubnetId"],
                "Groups": [group["GroupId"] for group in nic["Groups"]],
            }
            for nic in nics
        ]
    if shown["Tags"]:
        data["TagSpecifications"] = [{"ResourceType": "instance", "Tags": shown["Tags"]}]
    return {"LaunchTemplateData": data}


# What a listed version has beside what is told of it: what it is known by, and whether it is the latest.
_KEY, _IS_LATEST = "key", "latest"


def versions(stock: Stock) -> Iterable[dict[str, Any]]:
    """The versions of all launch templates, oldest first."""
    return [
        {_KEY: kept.id, _IS_LATEST: number == max(_versions(stock, record)), **version(record, kept)}
        for record in _templates(stock)
        for number, kept in _versions(stock, record).items()
    ]


def is_asked_for(item: Mapping[str, Any], arguments: Mapping[str, Any]) -> bool:
    """Whether a listed version is one of those that are asked for."""
    for member in ("LaunchTemplateId", "LaunchTemplateName"):
        if arguments.get(member) not in (None, item[member]):
            return False
    known = {str(item["VersionNumber"]), *((_LATEST,) if item[_IS_LATEST] else ())}
    known |= {_DEFAULT} if item["DefaultVersion"] else set()
    wanted = arguments.get("Versions")
    low, high = (_number(arguments, name, end) for name, end in (("MinVersion", 0), ("MaxVersion", 2**31)))
    return (not wanted or bool(known & set(wanted))) and low <= item["VersionNumber"] <= high


def _number(arguments: Mapping[str, Any], name: str, otherwise: int) -> int:
    text = str(arguments.get(name) or otherwise)
    if not (text.isascii() and text.isdigit()):
        raise Fault("InvalidParameterValue", f"Value ({text[:100]}) for parameter {name} is invalid. It is a version")
    return int(text)


def as_told(
    stock: Stock, items: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any]
) -> Sequence[Mapping[str, Any]]:
    """Versions as answers have them; raises `Fault` where what is asked for is not there."""
    wanted = arguments.get("Versions") or ()
    if arguments.get("LaunchTemplateId") or arguments.get("LaunchTemplateName"):
        record = find(stock, arguments)
        for each in wanted:
            _version(stock, record, each)
    elif not wanted or set(wanted) - {_LATEST, _DEFAULT}:
        text = "Name a launch template, or ask for the versions $Latest or $Default of all"
        raise Fault("MissingParameter", text)
    return [{name: value for name, value in item.items() if name not in (_KEY, _IS_LATEST)} for item in items]


def find(stock: Stock, said: Mapping[str, Any]) -> DoorRecord:
    """The template that is named, by its id or its name; raises `Fault`."""
    id, name = said.get("LaunchTemplateId"), said.get("LaunchTemplateName")
    if id and name:
        text = "A request can name a launch template by its id or its name, not by both"
        raise Fault("InvalidParameterCombination", text)
    if id:
        return ids.one({record.id: record for record in _templates(stock)}, "lt", id)
    for record in _templates(stock):
        if record.name == name:
            return record
    if not name:
        raise Fault("MissingParameter", "The request must contain the parameter LaunchTemplateId")
    text = f"The specified launch template, with template name {name}, does not exist."
    raise Fault("InvalidLaunchTemplateName.NotFoundException", text)


def _templates(stock: Stock) -> list[DoorRecord]:
    return [record for record in stock.records.values() if record.door == DOOR and record.kind == KIND]


def _versions(stock: Stock, record: DoorRecord) -> dict[int, DoorRecord]:
    kept = (each for each in stock.records_of.get(record.id, ()) if each.kind == VERSION)
    return {each.document["number"]: each for each in kept}


def _version(stock: Stock, record: DoorRecord, said: str) -> DoorRecord:
    versions = _versions(stock, record)
    known = {_LATEST: max(versions), _DEFAULT: record.document["default"]}
    number = known.get(said) or (int(said) if said.isdigit() else 0)
    if number not in versions:
        text = f"Could not find the specified version {said} for the launch template with ID {ec2_id('lt', record.id)}."
        raise Fault("InvalidLaunchTemplateId.VersionNotFound", text)
    return versions[number]


def _document(call: Call, number: int, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    data = {**(before or {}), **ids.only(call["LaunchTemplateData"], "LaunchTemplateData")}
    found = {"number": number, "description": call["VersionDescription"], "data": msgspec.to_builtins(data)}
    return {name: value for name, value in found.items() if value is not None}
