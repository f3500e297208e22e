"""Volumes: made, attached, grown, detached, deleted."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from guesthouse.catalog.places import ZONE, ZONE_ID
from guesthouse.doors.ec2 import ids, kept
from guesthouse.doors.ec2.images import view as images
from guesthouse.doors.ec2.images.devices import DEFAULT_TYPE
from guesthouse.doors.ec2.instances.described import disk_called
from guesthouse.doors.ec2.rows import Call
from guesthouse.doors.ec2.volumes import view
from guesthouse.doors.ec2.volumes.settling import until_idle, until_read
from guesthouse.engine import intents
from guesthouse.engine.door_intents import Piece
from guesthouse.engine.stock import Stock
from guesthouse.formats.awsquery.fault import Fault
from guesthouse.formats.cloudids import ec2_id
from guesthouse.model.machine import Machine, Power
from guesthouse.model.resources import Disk

_MIB_A_GIB = 1024


async def create(call: Call) -> Mapping[str, Any]:
    """A volume, empty or of a snapshot; without a size it is as large as that."""
    _check_zone(call)
    stock = await call.stock(*view.NOUNS)
    snapshot = ids.one(images.snapshots(stock), "snap", call["SnapshotId"]) if call["SnapshotId"] else None
    if snapshot is None and call["Size"] is None:
        raise Fault("MissingParameter", "The request must contain the parameter size or snapshotId")
    size_gib = call["Size"] if call["Size"] is not None else images.gib(snapshot.virtual_mib if snapshot else 0)
    said = {
        "type": call["VolumeType"] or DEFAULT_TYPE,
        "iops": call["Iops"],
        "throughput": call["Throughput"],
        "gib": size_gib,
        "snapshot": call["SnapshotId"],
    }
    name = f"vol-{secrets.token_hex(8)}"
    intent = intents.DiskCreate(name=name, size_mib=size_gib * _MIB_A_GIB, image=snapshot.id if snapshot else "")
    piece = Piece(
        intent=intent, kind=view.KIND, document={name: value for name, value in said.items() if value is not None},
        tags=call.tags("volume"),
    )  # fmt: skip
    (made,) = await call.make(piece)
    after = await call.stock(*view.NOUNS)
    return view.volume(after, after.disks[made])


async def attach(call: Call) -> Mapping[str, Any]:
    """Give a volume to an instance, at once; it outlasts the instance."""
    stock = await call.stock(*view.NOUNS)
    disk, machine = ids.one(stock.disks, "vol", call["VolumeId"]), ids.one(stock.machines, "i", call["InstanceId"])
    if disk.machine:
        raise Fault("VolumeInUse", f"{call['VolumeId']} is already attached to an instance")
    if call["Device"] in _devices(stock, machine):
        raise Fault("InvalidParameterValue", f"Invalid value '{call['Device']}' for unixDevice. Attachment point "
                    f"{call['Device']} is already in use")  # fmt: skip
    await until_idle(call, machine.id)
    await until_read(call, stock, disk)
    name = disk_called(call["Device"])
    attaching = Piece(intent=intents.DiskAttach(disk=disk.id, machine=machine.id, name=name, keep=True))
    await call.make(attaching, kept.rewriting(stock, disk.id, view.KIND, {"attached_at": stock.at}))
    after = await call.stock(*view.NOUNS)
    there = view.attachment(after, after.disks[disk.id])
    return {**there, "State": "attaching"} if there else {}


def _devices(stock: Stock, machine: Machine) -> set[str]:
    """The devices that a machine has: as their attachments said them, else as the guest has them."""
    found = (view.attachment(stock, disk) for disk in stock.disks.values() if disk.machine == machine.id)
    return {there["Device"] for there in found if there and "Device" in there}


async def detach(call: Call) -> Mapping[str, Any]:
    """Take a volume from its instance, which has to let go of it."""
    stock = await call.stock(*view.NOUNS)
    disk = ids.one(stock.disks, "vol", call["VolumeId"])
    there, machine = view.attachment(stock, disk), stock.machines.get(disk.machine)
    if there is None or machine is None:
        raise Fault("IncorrectState", f"Volume '{call['VolumeId']}' is in the 'available' state.")
    if call["InstanceId"] not in (None, there["InstanceId"]) or call["Device"] not in (None, there.get("Device")):
        said = f"'{call['VolumeId']}' is not attached to '{call['InstanceId'] or there['InstanceId']}'"
        raise Fault("InvalidAttachment.NotFound", f"{said} as device '{call['Device'] or there.get('Device')}'")
    if _is_root(machine, disk) and machine.power is not Power.STOPPED:
        raise Fault("OperationNotPermitted", f"Unable to detach root volume '{call['VolumeId']}' from instance "
                    f"'{there['InstanceId']}'")  # fmt: skip
    await until_idle(call, machine.id)
    forgets = kept.rewriting(stock, disk.id, view.KIND, {"attached_at": None})
    await call.make(Piece(intent=intents.DiskDetach(disk=disk.id)), forgets)
    return {**there, "State": "detaching"}


def _is_root(machine: Machine, disk: Disk) -> bool:
    spec = view.described(machine, disk)
    return spec is not None and spec.name == "root"


async def modify(call: Call) -> Mapping[str, Any]:
    """Make a volume larger, while it is in use or not; its type is kept and told."""
    stock = await call.stock(*view.NOUNS)
    disk = ids.one(stock.disks, "vol", call["VolumeId"])
    said = kept.document(stock, disk.id, view.KIND)
    original = {
        "Size": images.gib(disk.size_mib),
        "VolumeType": said.get("type", DEFAULT_TYPE),
        "Iops": said.get("iops"),
        "Throughput": said.get("throughput"),
    }
    target = {name: call[name] if call[name] is not None else value for name, value in original.items()}
    if target == original:
        raise Fault("InvalidParameterValue", "The volume is so already: name a larger Size, or another VolumeType")
    if target["Size"] < original["Size"]:
        raise Fault("InvalidParameterValue", "New size cannot be smaller than existing size")
    await until_idle(call, disk.machine)
    await until_read(call, stock, disk)
    pieces = []
    if target["Size"] > original["Size"]:
        pieces.append(Piece(intent=intents.DiskResize(disk=disk.id, size_mib=target["Size"] * _MIB_A_GIB)))
    noted = {"original": _said(original), "target": _said(target), "at": stock.at}
    words = {"type": target["VolumeType"], "iops": target["Iops"], "throughput": target["Throughput"]}
    pieces.append(kept.rewriting(stock, disk.id, view.KIND, {**_said(words), "modification": noted}))
    await call.make(*pieces)
    after = await call.stock(*view.NOUNS)
    return {"VolumeModification": view.modification(after, after.disks[disk.id], noted)}


def _said(words: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in words.items() if value is not None}


async def delete(call: Call) -> None:
    """Delete a volume that no instance has."""
    stock = await call.stock(*view.NOUNS)
    disk = ids.one(stock.disks, "vol", call["VolumeId"])
    there = view.attachment(stock, disk)
    if there is not None:
        raise Fault("VolumeInUse", f"Volume {call['VolumeId']} is currently attached to {there['InstanceId']}")
    await until_read(call, stock, disk)
    await call.do(intents.DiskDelete(disk=disk.id))


async def describe_attribute(call: Call) -> Mapping[str, Any]:
    """What a volume does after an error: its machine stands still until somebody has mended it."""
    disk = ids.one((await call.stock("disks")).disks, "vol", call["VolumeId"])
    if call["Attribute"] == "productCodes":
        return {"VolumeId": ec2_id("vol", disk.id), "ProductCodes": []}
    return {"VolumeId": ec2_id("vol", disk.id), "AutoEnableIO": {"Value": False}}


def _check_zone(call: Call) -> None:
    zone, id = call["AvailabilityZone"], call["AvailabilityZoneId"]
    if zone is None and id is None:
        raise Fault("MissingParameter", "The request must contain the parameter AvailabilityZone")
    if zone not in (None, ZONE) or id not in (None, ZONE_ID):
        raise Fault("InvalidZone.NotFound", f"The zone '{zone or id}' does not exist.")
