"""The devices of AMIs: which volumes a machine that is launched from one has.

A device is kept as a document: its `name`, the house's name of its `snapshot` ("" for an empty volume), its size in
`gib` (0: the snapshot's), the volume's `type`, and whether it is to `delete` with its machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from guesthouse.doors.ec2 import ids, kept
from guesthouse.doors.ec2.images import view
from guesthouse.engine.stock import Stock
from guesthouse.formats.awsquery.fault import Fault
from guesthouse.formats.cloudids import ec2_id
from guesthouse.model.resources import Image

TYPES = ("standard", "io1", "io2", "gp2", "gp3", "sc1", "st1")
DEFAULT_TYPE = "gp2"


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One device; see this module."""

    name: str
    snapshot: str = ""
    gib: int = 0
    type: str = DEFAULT_TYPE
    delete: bool = True


def asked(stock: Stock, mapping: Mapping[str, Any], before: Device | None = None) -> Device:
    """The device that a mapping of a request says, on top of what there was of it; raises `Fault`."""
    ebs, name = mapping.get("Ebs", {}), mapping.get("DeviceName", "")
    if not name:
        raise Fault("MissingParameter", "The request must contain the parameter DeviceName")
    device = before or Device(name=name)
    if ebs.get("SnapshotId"):
        found = ids.one(view.snapshots(stock), "snap", ebs["SnapshotId"])
        device = msgspec.structs.replace(device, snapshot=view.own(stock, found, "snap").name)
    changes = {"gib": ebs.get("VolumeSize"), "type": ebs.get("VolumeType"), "delete": ebs.get("DeleteOnTermination")}
    device = msgspec.structs.replace(device, **{name: value for name, value in changes.items() if value is not None})
    if not device.snapshot and not device.gib:
        raise Fault("MissingParameter", f"The device {name} has neither a SnapshotId nor a VolumeSize")
    return device


def over(stock: Stock, devices: Sequence[Device], mappings: Iterable[Mapping[str, Any]]) -> list[Device]:
    """Devices as a request changes them: some named anew, without those of ``NoDevice``, with further ones."""
    found = {device.name: device for device in devices}
    for mapping in mappings:
        name = mapping.get("DeviceName", "")
        if mapping.get("NoDevice") is not None:
            found.pop(name, None)
        else:
            found[name] = asked(stock, mapping, found.get(name))
    return list(found.values())


def documents(devices: Iterable[Device]) -> list[dict[str, Any]]:
    return [msgspec.to_builtins(device) for device in devices]


def devices_of(stock: Stock, image: Image) -> list[Device]:
    """The devices that an AMI's record names; none where it has no record, or names none."""
    return msgspec.convert(kept.document(stock, image.id, view.IMAGE).get("devices", []), list[Device])


def mapped(stock: Stock, devices: Sequence[Device], mappings: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The mappings of a launch: those of an AMI's devices, as the request changes them, then the request's others."""
    asked = {mapping.get("DeviceName", ""): mapping for mapping in mappings}
    found: list[Mapping[str, Any]] = []
    for number, device in enumerate(devices):
        change = asked.pop(device.name, {})
        if change.get("NoDevice") is None:
            ebs = {**_ebs(stock, device, with_snapshot=number > 0), **change.get("Ebs", {})}
            found.append({"DeviceName": device.name, "Ebs": ebs})
    others = {name for name, mapping in asked.items() if mapping.get("NoDevice") is None}
    return [*found, *(mapping for mapping in mappings if mapping.get("DeviceName", "") in others)]


def _ebs(stock: Stock, device: Device, *, with_snapshot: bool) -> dict[str, Any]:
    """A device as a request would say it. The root's content is the AMI itself."""
    found: dict[str, Any] = {"DeleteOnTermination": device.delete}
    if device.gib:
        found["VolumeSize"] = device.gib
    if device.snapshot and with_snapshot:
        snapshot = view.snapshot_called(stock, device.snapshot)
        if snapshot is None:
            raise Fault("InvalidSnapshot.NotFound", f"The snapshot of device {device.name} does not exist")
        found["SnapshotId"] = ec2_id("snap", snapshot.id)
    return found
