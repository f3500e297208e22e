"""AMIs: made of instances and of snapshots, copied, taken back."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from guesthouse.catalog.places import REGION
from guesthouse.doors.ec2 import ids, kept
from guesthouse.doors.ec2.images import devices, view
from guesthouse.doors.ec2.images.devices import Device
from guesthouse.doors.ec2.instances import view as instances
from guesthouse.doors.ec2.rows import Call
from guesthouse.doors.ec2.volumes.settling import until_idle
from guesthouse.engine import intents
from guesthouse.engine.door_intents import Piece
from guesthouse.engine.stock import Stock
from guesthouse.formats.awsquery.fault import Fault
from guesthouse.formats.cloudids import ec2_id
from guesthouse.model.errors import Invalid
from guesthouse.model.machine import DiskSpec, Machine, Power
from guesthouse.model.names import check_name
from guesthouse.model.resources import Image, ImageState

NOUNS = (*view.NOUNS, "machines", "disks")
_NAME = re.compile(r"[a-zA-Z0-9()\[\] ./\-'@_]{3,128}")
_NOT_OURS = re.compile(r"[^a-z0-9.:_-]+")


async def create(call: Call) -> Mapping[str, Any]:
    """An AMI of an instance: snapshots of its volumes, all of one moment, and a copy of the first."""
    stock = await call.stock(*NOUNS)
    machine = ids.one(stock.machines, "i", call["InstanceId"])
    _check_name(stock, call["Name"])
    disks = _volumes(machine, call["BlockDeviceMappings"] or ())
    reboot = machine.power is Power.RUNNING and not call["NoReboot"]
    names = [_new_name() for _ in disks]
    about = f"Created by CreateImage({ec2_id('i', machine.id)})"
    pieces = [
        Piece(
            intent=intents.ImageCreate(disk=disk.disk, name=name, data=True, reboot=reboot, by_snapshot=True),
            kind=view.SNAPSHOT,
            document={"volume": ec2_id("vol", disk.disk), "description": about, "gib": view.gib(disk.size_mib)},
            tags=call.tags("snapshot"),
        )
        for (disk, _), name in zip(disks, names, strict=True)
    ]
    there = [
        Device(name=device, snapshot=name, gib=view.gib(disk.size_mib), delete=not disk.keep)
        for (disk, device), name in zip(disks, names, strict=True)
    ]
    found = devices.over(stock, there, [each for each in call["BlockDeviceMappings"] or () if each.get("Ebs")])
    document = {"instance": ec2_id("i", machine.id)}
    pieces.append(_ami(call, stock, names[0], found, document))
    await until_idle(call, machine.id)
    made = await call.make(*pieces)
    if not reboot:
        await until_idle(call, machine.id)
    return {"ImageId": ec2_id("ami", made[-1])}


async def register(call: Call) -> Mapping[str, Any]:
    """An AMI of snapshots: the one of its root device, and those of others."""
    stock = await call.stock(*NOUNS)
    _check_name(stock, ids.only(call["Name"], "Name"))
    if call["Architecture"] not in (None, "x86_64"):
        raise Fault("InvalidParameterValue", f"The architecture {call['Architecture']} is none of this house: x86_64")
    found = devices.over(stock, [], call["BlockDeviceMappings"] or ())
    first = call["RootDeviceName"] or (found[0].name if found else "")
    root = next((device for device in found if device.name == first), None)
    if root is None or not root.snapshot:
        raise Fault("InvalidBlockDeviceMapping", f"The root device {first} has no snapshot: name one with SnapshotId")
    ordered = [root, *(device for device in found if device is not root)]
    (made,) = await call.make(_ami(call, stock, root.snapshot, ordered, {}))
    return {"ImageId": ec2_id("ami", made)}


async def copy(call: Call) -> Mapping[str, Any]:
    """An AMI of the project's own of one that it may use, with snapshots of its own."""
    stock = await call.stock(*NOUNS)
    check_region(call)
    source = ids.one(view.amis(stock), "ami", call["SourceImageId"])
    _check_name(stock, call["Name"])
    pieces, there = [], []
    named = devices.devices_of(stock, source)
    if not named and source.disk:
        named = [Device(name=view.ROOT_DEVICE, snapshot=source.name, gib=view.gib(source.virtual_mib))]
    for number, device in enumerate(named):
        # The root's content is the image's own: its snapshot may be gone.
        snapshot = source if number == 0 else view.snapshot_called(stock, device.snapshot)
        if snapshot is not None:
            there.append(Device(name=device.name, snapshot=_new_name(), gib=device.gib, delete=device.delete))
            about = f"Copied for a copy of {ec2_id('ami', source.id)}"
            document = {"volume": view.NO_VOLUME, "description": about, "gib": device.gib}
            intent = intents.ImageCopy(image=snapshot.id, name=there[-1].snapshot, data=True)
            pieces.append(Piece(intent=intent, kind=view.SNAPSHOT, document=document, tags=call.tags("snapshot")))
        else:
            there.append(device)
    tags = stock.tags.get(source.id, {}) if call["CopyImageTags"] else {}
    pieces.append(_ami(call, stock, source.id, there, {"source": ec2_id("ami", source.id)}, tags))
    made = await call.make(*pieces)
    return {"ImageId": ec2_id("ami", made[-1])}


async def deregister(call: Call) -> Mapping[str, Any]:
    """Nothing is launched from it any more; what was runs on. Its snapshots stay, unless told otherwise."""
    stock = await call.stock(*NOUNS)
    image = view.own(stock, ids.one(view.amis(stock), "ami", call["ImageId"]), "ami")
    pieces, results = going(stock, image), []
    if call["DeleteAssociatedSnapshots"]:
        for device in devices.devices_of(stock, image):
            snapshot = view.snapshot_called(stock, device.snapshot)
            if snapshot is not None:
                used = [user for user in users(stock, snapshot) if user.id != image.id]
                results.append(
                    {"SnapshotId": ec2_id("snap", snapshot.id), "ReturnCode": "in-use" if used else "success"}
                )
                pieces += [] if used else going(stock, snapshot)
    await call.make(*pieces)
    return {"Return": True, "DeleteSnapshotResults": results}


def going(stock: Stock, image: Image) -> list[Piece]:
    """What has an image go: as soon as nothing stands on it, or, while it is being made, by the end of that."""
    if image.state is ImageState.MAKING:
        making = [row.id for row in stock.operations.values() if row.subject == image.id]
        cancel = [Piece(intent=intents.OperationCancel(operation=id)) for id in making]
        return [*cancel, *kept.forgetting(stock, image.id)]
    return [Piece(intent=intents.ImageDelete(image=image.id, when_free=True))]


def users(stock: Stock, snapshot: Image) -> list[Image]:
    """The AMIs that have a snapshot among their devices."""
    if snapshot.project != stock.project.id:
        return []
    return [
        image
        for image in view.amis(stock).values()
        if any(device.snapshot == snapshot.name for device in devices.devices_of(stock, image))
    ]


def check_region(call: Call) -> None:
    """Raise `Fault` for a copy from another region: there is one here."""
    if call["SourceRegion"] not in (None, REGION):
        raise Fault("InvalidParameterValue", f"Invalid source region {call['SourceRegion']}: there is {REGION} alone")


def _ami(
    call: Call,
    stock: Stock,
    source: str,
    there: Sequence[Device],
    document: Mapping[str, Any],
    tags: Mapping[str, str] | None = None,
) -> Piece:
    said = {"name": call["Name"], "description": call["Description"], "devices": devices.documents(there), **document}
    return Piece(
        intent=intents.ImageCopy(image=source, name=_house_name(stock, call["Name"]), data=False),
        kind=view.IMAGE,
        document={name: value for name, value in said.items() if value is not None},
        tags={**(tags or {}), **call.tags("image")},
    )


def _volumes(machine: Machine, mappings: Sequence[Mapping[str, Any]]) -> list[tuple[DiskSpec, str]]:
    """The disks of a machine with their devices, its root first, without those that ``NoDevice`` leaves out."""
    left_out = {each.get("DeviceName") for each in mappings if each.get("NoDevice") is not None}
    found = [(disk, device) for disk, device in instances.devices(machine.spec) if device not in left_out]
    if not found:
        raise Fault(
            "InvalidParameterValue", f"Instance {ec2_id('i', machine.id)} does not have a volume to make an image of"
        )
    return sorted(found, key=lambda pair: pair[0].name != "root")


def _check_name(stock: Stock, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise Fault(
            "InvalidAMIName.Malformed",
            "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, "
            "'(', ')', '.', '-', '/', '_', '[', ']', '@', ''' and spaces",
        )
    for image in view.amis(stock).values():
        called = view.record_of(stock, image.id, view.IMAGE).get("name") or image.name
        if image.project == stock.project.id and called == name:
            raise Fault(
                "InvalidAMIName.Duplicate", f"AMI name {name} is already in use by AMI {ec2_id('ami', image.id)}"
            )


def _house_name(stock: Stock, name: str) -> str:
    """What the house calls an AMI: by its name, as far as that can be a name here that nobody has."""
    wanted = _NOT_OURS.sub("-", name.lower()).strip("-.:_")[:63]
    try:
        check_name(wanted, "image")
    except Invalid:
        return _new_name("ami")
    taken = any(image.name == wanted and image.project == stock.project.id for image in stock.images.values())
    return _new_name("ami") if taken else wanted


def _new_name(prefix: str = "snap") -> str:
    return f"{prefix}-{secrets.token_hex(8)}"
