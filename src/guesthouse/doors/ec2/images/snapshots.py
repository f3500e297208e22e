"""Snapshots of volumes: made of one, or of all of an instance at one moment, copied, deleted."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from guesthouse.doors.ec2 import ids
from guesthouse.doors.ec2.images import make, view
from guesthouse.doors.ec2.instances import view as instances
from guesthouse.doors.ec2.rows import Call, tag_set
from guesthouse.doors.ec2.volumes.settling import until_idle
from guesthouse.engine import intents
from guesthouse.engine.door_intents import Piece
from guesthouse.engine.stock import Stock
from guesthouse.formats.awsquery.fault import Fault
from guesthouse.formats.cloudids import ec2_id
from guesthouse.model.resources import Disk

NOUNS = make.NOUNS
# What is told of each of several: EC2 has a shorter form for that.
_INFO = ("Description", "Tags", "Encrypted", "VolumeId", "State", "VolumeSize", "StartTime", "Progress", "OwnerId",
         "SnapshotId")  # fmt: skip


async def create(call: Call) -> Mapping[str, Any]:
    """A snapshot of a volume, attached or not; its instance runs on."""
    disk = ids.one((await call.stock("disks")).disks, "vol", call["VolumeId"])
    await until_idle(call, disk.machine)
    (made,) = await call.make(_piece(call, disk, call.tags("snapshot")))
    await until_idle(call, disk.machine)
    return await _snapshot(call, made)


async def create_of_instance(call: Call) -> Mapping[str, Any]:
    """Snapshots of an instance's volumes, all of one moment."""
    said = call["InstanceSpecification"]
    stock = await call.stock(*NOUNS)
    machine = ids.one(stock.machines, "i", ids.only(said.get("InstanceId"), "InstanceSpecification.InstanceId"))
    left_out = {disk.id for disk in ids.several(stock.disks, "vol", said.get("ExcludeDataVolumeIds", ()))}
    disks = [disk.disk for disk, _ in instances.devices(machine.spec)]
    wanted = disks[1:] if said.get("ExcludeBootVolume") else disks
    if not (wanted := [id for id in wanted if id not in left_out]):
        raise Fault("InvalidParameterValue", f"Instance {ec2_id('i', machine.id)} has no volume to be kept")
    await until_idle(call, machine.id)
    copies = bool(call["CopyTagsFromSource"])
    pieces = [
        _piece(call, stock.disks[id], {**(stock.tags.get(id, {}) if copies else {}), **call.tags("snapshot")})
        for id in wanted
    ]
    made = await call.make(*pieces)
    await until_idle(call, machine.id)
    after = await call.stock(*view.NOUNS)
    found = [view.snapshot(after, after.images[id]) for id in made]
    return {"Snapshots": [{name: item[name] for name in _INFO} for item in found]}


async def copy(call: Call) -> Mapping[str, Any]:
    """A snapshot of the project's own of one that it may use."""
    make.check_region(call)
    stock = await call.stock(*view.NOUNS)
    source = ids.one(view.snapshots(stock), "snap", call["SourceSnapshotId"])
    tags = call.tags("snapshot")
    document = {"volume": view.NO_VOLUME, "description": call["Description"] or "", "gib": view.gib(source.virtual_mib)}
    intent = intents.ImageCopy(image=source.id, name=_name(), data=True)
    (made,) = await call.make(Piece(intent=intent, kind=view.SNAPSHOT, document=document, tags=tags))
    return {"SnapshotId": ec2_id("snap", made), "Tags": tag_set(tags)}


async def delete(call: Call) -> None:
    """Nothing is made of it any more; volumes that were stay as they are."""
    stock = await call.stock(*view.NOUNS)
    snapshot = view.own(stock, ids.one(view.snapshots(stock), "snap", call["SnapshotId"]), "snap")
    if used := make.users(stock, snapshot):
        said = ", ".join(ec2_id("ami", image.id) for image in used)
        raise Fault("InvalidSnapshot.InUse", f"The snapshot {call['SnapshotId']} is currently in use by {said}")
    await call.make(*make.going(stock, snapshot))


def _piece(call: Call, disk: Disk, tags: Mapping[str, str]) -> Piece:
    return Piece(
        intent=intents.ImageCreate(disk=disk.id, name=_name(), data=True, by_snapshot=True),
        kind=view.SNAPSHOT,
        document={
            "volume": ec2_id("vol", disk.id),
            "description": call["Description"] or "",
            "gib": view.gib(disk.size_mib),
        },
        tags=dict(tags),
    )


async def _snapshot(call: Call, id: str) -> Mapping[str, Any]:
    after: Stock = await call.stock(*view.NOUNS)
    return view.snapshot(after, after.images[id])


def _name() -> str:
    return f"snap-{secrets.token_hex(8)}"
