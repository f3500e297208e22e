"""Disks as volumes.

Rules
-----
1. All disks of the project are volumes, those of machines too. Sizes are told in whole GiB, rounded up.
2. A volume's type, IOPS and throughput are the door's to keep: no disk here is faster or slower by them. A machine
   calls a disk as the device that it was asked for as (``/dev/sdf`` is its disk `sdf`), the guest names its disks
   itself. It finds a volume by its serial number, whose first 17 digits are those of the volume's id
   (``/dev/disk/by-id/virtio-…``).
3. One that could not be made is shown with its error as long as its record lasts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from guesthouse.catalog.places import ZONE, ZONE_ID
from guesthouse.doors.ec2 import kept
from guesthouse.doors.ec2.images import view as images
from guesthouse.doors.ec2.images.devices import DEFAULT_TYPE, devices_of
from guesthouse.doors.ec2.instances import view as instances
from guesthouse.doors.ec2.rows import DOOR, tag_set
from guesthouse.engine.stock import Stock
from guesthouse.formats.cloudids import ec2_id
from guesthouse.model.dialect import DoorRecord
from guesthouse.model.machine import DiskSpec, Machine
from guesthouse.model.resources import Disk, DiskState, OperationRow

KIND = "volume"
NOUNS = ("disks", "machines", "images", "projects", "shares", "door_records", "tags", "operations")
OK_DETAILS = [
    {"Name": "io-enabled", "Status": "passed"},
    {"Name": "io-performance", "Status": "not-applicable"},
]


def volumes(stock: Stock) -> Iterable[dict[str, Any]]:
    """All volumes of the project, oldest first; those that could not be made, too."""
    found = [(disk.created_at, volume(stock, disk)) for disk in stock.disks.values()]
    found += [(record.created_at, _failed(stock, record)) for record in _failures(stock)]
    return [item for _, item in sorted(found, key=lambda pair: pair[0])]


def volume(stock: Stock, disk: Disk) -> dict[str, Any]:
    """One disk."""
    there = attachment(stock, disk)
    return {
        **_kept(kept.document(stock, disk.id, KIND)),
        "VolumeId": ec2_id("vol", disk.id),
        "Size": images.gib(disk.size_mib),
        "SnapshotId": _snapshot(stock, disk),
        "State": _state(stock, disk),
        "CreateTime": disk.created_at,
        "Attachments": [there] if there else [],
        "Tags": tag_set(stock.tags.get(disk.id, {})),
    }


def _kept(said: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "AvailabilityZone": ZONE,
        "AvailabilityZoneId": ZONE_ID,
        "Encrypted": False,
        "Iops": said.get("iops"),
        "MultiAttachEnabled": False,
        "Throughput": said.get("throughput"),
        "VolumeType": said.get("type", DEFAULT_TYPE),
    }


def _state(stock: Stock, disk: Disk) -> str:
    if disk.machine:
        return "in-use"
    if disk.state is DiskState.DELETING:
        return "deleting"
    making = any(row.kind == "disk.create" and row.subject == disk.id for row in stock.operations.values())
    return "creating" if making else "available"


def _snapshot(stock: Stock, disk: Disk) -> str:
    """The snapshot that a volume was made of, by itself or as the root of an AMI; "" where none is known."""
    image = stock.images.get(disk.image)
    if image is None:
        return ""
    if image.data:
        return ec2_id("snap", image.id)
    named = devices_of(stock, image)
    root = images.snapshot_called(stock, named[0].snapshot) if named else None
    return ec2_id("snap", root.id) if root else ""


def attachment(stock: Stock, disk: Disk) -> dict[str, Any] | None:
    """How a machine has a disk; None where none has."""
    machine = stock.machines.get(disk.machine)
    if machine is None:
        return None
    said, spec = kept.document(stock, disk.id, KIND), described(machine, disk)
    found = {
        "AttachTime": said.get("attached_at") or disk.created_at,
        "Device": device_of(machine, disk),
        "InstanceId": ec2_id("i", machine.id),
        "State": "detaching" if spec is None else "attaching" if _is_new(stock, machine) else "attached",
        "VolumeId": ec2_id("vol", disk.id),
        "DeleteOnTermination": spec is not None and not spec.keep,
    }
    return {name: value for name, value in found.items() if value is not None}


def described(machine: Machine, disk: Disk) -> DiskSpec | None:
    """A disk in its machine's description; None where it is to leave."""
    return next((spec for spec in machine.spec.disks if spec.disk == disk.id), None)


def device_of(machine: Machine, disk: Disk) -> str | None:
    """What a disk of a machine is probably called by its guest."""
    return next((device for spec, device in instances.devices(machine.spec) if spec.disk == disk.id), None)


def _is_new(stock: Stock, machine: Machine) -> bool:
    return any(row.kind == "disk.attach" and row.subject == machine.id for row in stock.operations.values())


def _failures(stock: Stock) -> list[DoorRecord]:
    return [
        record
        for record in stock.records.values()
        if record.door == DOOR and record.kind == KIND and record.subject not in stock.disks
        if record.document.get("error")
    ]


def _failed(stock: Stock, record: DoorRecord) -> dict[str, Any]:
    said = record.document
    return {
        **_kept(said),
        "VolumeId": ec2_id("vol", record.subject),
        "Size": said.get("gib", 1),
        "SnapshotId": said.get("snapshot", ""),
        "State": "error",
        "CreateTime": record.created_at,
        "Attachments": [],
        "Tags": tag_set(stock.tags.get(record.subject, {})),
    }


# --- statuses and modifications ------------------------------------------------------------------------------


def statuses(stock: Stock) -> Iterable[dict[str, Any]]:
    """How volumes do: a disk that is there can be read and written."""
    for disk in stock.disks.values():
        there = attachment(stock, disk)
        yield {
            "VolumeId": ec2_id("vol", disk.id),
            "AvailabilityZone": ZONE,
            "AvailabilityZoneId": ZONE_ID,
            "Actions": [],
            "Events": [],
            "VolumeStatus": {"Status": "ok", "Details": OK_DETAILS},
            "AttachmentStatuses": [{"IoPerformance": "not-applicable", "InstanceId": there["InstanceId"]}]
            if there
            else [],
        }


def modifications(stock: Stock) -> Iterable[dict[str, Any]]:
    """The last modification of each volume that was modified by this door."""
    for disk in stock.disks.values():
        said = kept.document(stock, disk.id, KIND).get("modification")
        if said is not None:
            yield modification(stock, disk, said)


def modification(stock: Stock, disk: Disk, said: Mapping[str, Any]) -> dict[str, Any]:
    """How far a modification is: what is to grow has grown when its operation has ended well."""
    growing = _growing(stock, disk)
    grown = images.gib(disk.size_mib) >= said["target"]["Size"]
    state = "modifying" if growing else "completed" if grown else "failed"
    found = {
        "VolumeId": ec2_id("vol", disk.id),
        "ModificationState": state,
        **{f"Target{name}": value for name, value in said["target"].items()},
        **{f"Original{name}": value for name, value in said["original"].items()},
        "TargetMultiAttachEnabled": False,
        "OriginalMultiAttachEnabled": False,
        "Progress": 0 if growing else 100,
        "StartTime": said["at"],
        "EndTime": None if growing else said["at"],
    }
    return {name: value for name, value in found.items() if value is not None}


def _growing(stock: Stock, disk: Disk) -> OperationRow | None:
    subjects = (disk.id, disk.machine)
    rows = stock.operations.values()
    return next((row for row in rows if row.kind == "disk.resize" and row.subject in subjects), None)
