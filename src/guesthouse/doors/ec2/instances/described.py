"""A machine's description, from what RunInstances says of it.

Rules
-----
1. A machine has the type's size, its image's root disk, and a disk for each further device of the image or the request.
   A disk is called by its device: ``/dev/sdf`` is the disk `sdf`. The guest gives it a name of its own, as with EC2.
2. Disks go with the machine where they are the root's, and stay where they are not, unless `DeleteOnTermination` says
   otherwise. All kinds of volumes are one here.
3. Where NICs are, `networks.launching` says.
4. User-data, any bytes, is told by the metadata service where the machine's network has one; else it is on a seed disk.
   In both cases cloud-init finds it.
5. The machine's metadata service wants sessions (IMDSv2) unless it is told otherwise.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Container, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from guesthouse.catalog.ec2_types import DEFAULT, TYPES, InstanceType
from guesthouse.catalog.places import ZONE, ZONE_ID
from guesthouse.doors.ec2 import ids
from guesthouse.doors.ec2.images import devices, find
from guesthouse.doors.ec2.images import view as images
from guesthouse.doors.ec2.networks import launching
from guesthouse.engine.stock import Stock
from guesthouse.formats.awsquery.answer import Same
from guesthouse.formats.awsquery.fault import Fault
from guesthouse.model.errors import Invalid
from guesthouse.model.machine import Datasource, DiskSpec, Encoding, MachineSpec, NicSpec, OnShutdown
from guesthouse.model.metadata import MetadataOptions
from guesthouse.model.names import check_name
from guesthouse.model.network import NetworkMode
from guesthouse.model.resources import Image

Said = Mapping[str, Any]
MAX_USER_DATA_BYTES = 16 * 1024
_MIB_OF_GIB = 1024
_ROOTS = re.compile(r"/dev/(?:[sv]da1?|xvda1?)")
_DEVICE = re.compile(r"(?:/dev/)?((?:sd|xvd|vd|hd)[a-z]{1,2}[0-9]{0,2})")
_BEHAVIOURS = {"stop": OnShutdown.STOP, "terminate": OnShutdown.DELETE}
_SWITCHES = {"enabled": True, "disabled": False}
# EC2's member of the metadata options: the house's field, and what its words mean.
_OPTIONS: dict[str, tuple[str, Mapping[str, bool] | None]] = {
    "HttpTokens": ("tokens_required", {"required": True, "optional": False}),
    "HttpPutResponseHopLimit": ("hop_limit", None),
    "HttpEndpoint": ("enabled", _SWITCHES),
    "HttpProtocolIpv6": ("ipv6", _SWITCHES),
    "InstanceMetadataTags": ("labels", _SWITCHES),
}


def described(stock: Stock, said: Said, labels: Mapping[str, str], *, alone: bool) -> MachineSpec:
    """The description of one of the machines that are asked for; raises `Fault`."""
    check_place(said)
    image = find.ami(stock, ids.only(said.get("ImageId"), "ImageId"))
    type_ = type_named(said.get("InstanceType") or DEFAULT.name)
    nics = launching.nics(stock, said)
    metadata = MetadataOptions(**metadata_options(said.get("MetadataOptions") or {}))
    spec = MachineSpec(
        name=_name(stock, labels) if alone else "",
        image=image.id,
        type=type_.name,
        vcpus=type_.vcpus,
        memory_mib=type_.memory_mib,
        disks=_disks(stock, image, said.get("BlockDeviceMappings") or ()),
        nics=nics,
        datasource=_datasource(stock, nics, metadata),
        metadata=metadata,
        ssh_keys=_keys(stock, said.get("KeyName")),
        spot=bool(said.get("InstanceMarketOptions")),
        protected=bool(said.get("DisableApiTermination")),
        on_shutdown=behaviour(said.get("InstanceInitiatedShutdownBehavior") or "stop"),
        labels=dict(labels),
    )
    return with_user_data(spec, user_data(said.get("UserData") or ""))


def type_named(name: str) -> InstanceType:
    if name not in TYPES:
        raise Fault("InvalidParameterValue", f"Invalid value '{name}' for InstanceType.")
    return TYPES[name]


def check_place(said: Said) -> None:
    """Raise `Fault` where the machine is to be in a zone that there is not."""
    place = said.get("Placement") or {}
    for member, there in (("AvailabilityZone", ZONE), ("AvailabilityZoneId", ZONE_ID)):
        if place.get(member, there) != there:
            raise Fault("InvalidParameterValue", f"Invalid availability zone: [{place[member]}]. There is {there}")


def behaviour(word: str) -> OnShutdown:
    """What becomes of a machine whose guest powers itself off."""
    if word not in _BEHAVIOURS:
        raise Fault("InvalidParameterValue", f"Invalid value '{word}' for InstanceInitiatedShutdownBehavior.")
    return _BEHAVIOURS[word]


def metadata_options(said: Said) -> dict[str, Any]:
    """Fields of `MetadataOptions` that are said."""
    found: dict[str, Any] = {}
    for member, value in said.items():
        field, words = _OPTIONS[member]
        if words is not None and value not in words:
            raise Fault("InvalidParameterValue", f"Value ({value}) for parameter {member} is invalid.")
        found[field] = value if words is None else words[value]
    return found


def metadata_options_of(spec: MachineSpec) -> Same:
    """Metadata options as answers have them. A machine whose NICs are on no network has no metadata service."""
    return _options_shown(spec.metadata, on_network=any(nic.network for nic in spec.nics))


@lru_cache(maxsize=64)
def _options_shown(metadata: MetadataOptions, *, on_network: bool) -> Same:
    options = msgspec.structs.asdict(metadata)
    found = Same(State="applied")
    for member, (field, words) in _OPTIONS.items():
        value = options[field]
        if field == "enabled":
            value = value and on_network
        found[member] = value if words is None else next(word for word, truth in words.items() if truth is value)
    return found


def user_data(written: str) -> bytes:
    """The bytes that base64 stands for; raises `Fault` where it is none, or too many."""
    try:
        given = base64.b64decode("".join(written.split()), validate=True)
    except (binascii.Error, ValueError):
        raise Fault("InvalidParameterValue", "Invalid BASE64 encoding of user data") from None
    if len(given) > MAX_USER_DATA_BYTES:
        raise Fault("InvalidParameterValue", f"User data is limited to {MAX_USER_DATA_BYTES} bytes")
    return given


def with_user_data(spec: MachineSpec, given: bytes) -> MachineSpec:
    """The description with this user-data: as text where it is such."""
    text, encoding = written(given)
    return msgspec.structs.replace(spec, user_data=text, user_data_encoding=encoding)


def written(given: bytes) -> tuple[str, Encoding]:
    """Bytes in the words of a description."""
    try:
        return given.decode(), Encoding.TEXT
    except UnicodeDecodeError:
        return base64.b64encode(given).decode(), Encoding.BASE64


def _name(stock: Stock, labels: Mapping[str, str]) -> str:
    """The name that the tag ``Name`` says, "" where that cannot be one, or somebody has it."""
    name = labels.get("Name", "").lower()
    try:
        check_name(name, "machine")
    except Invalid:
        return ""
    return "" if any(machine.name == name for machine in stock.machines.values()) else name


def _keys(stock: Stock, name: str | None) -> tuple[str, ...]:
    if name is None:
        return ()
    for key in stock.keys.values():
        if key.name == name:
            return (key.public,)
    raise Fault("InvalidKeyPair.NotFound", f"The key pair '{name}' does not exist")


# --- disks ---------------------------------------------------------------------------------------------------


def device_of(disk: DiskSpec) -> str:
    """The device that a disk was asked for as, "" where it was not."""
    return f"/dev/{disk.name}" if _DEVICE.fullmatch(disk.name) else ""


def disk_called(device: str) -> str:
    """What a machine calls a disk that is asked for as this device; raises `Fault`."""
    match = _DEVICE.fullmatch(device)
    if match is None:
        raise Fault("InvalidParameterValue", f"Value ({device}) for parameter device is invalid: name it like /dev/sdf")
    return match[1]


def _disks(stock: Stock, image: Image, mappings: Sequence[Said]) -> tuple[DiskSpec, ...]:
    """The disks of a machine: those of its AMI's devices, as the request changes them, and further ones."""
    of_image = devices.devices_of(stock, image)
    asked = devices.mapped(stock, of_image, mappings)
    roots = {of_image[0].name} if of_image else set()
    found = [_disk(stock, mapping, roots) for mapping in asked]
    names = [disk.name for disk in found]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise Fault("InvalidBlockDeviceMapping", f"The device '{twice}' is used in more than one block-device mapping")
    return tuple(found)


def _disk(stock: Stock, mapping: Said, roots: Container[str]) -> DiskSpec:
    device = ids.only(mapping.get("DeviceName"), "BlockDeviceMapping.DeviceName")
    ebs = mapping.get("Ebs") or {}
    size_gib = ebs.get("VolumeSize", 0)
    if device in roots or _ROOTS.fullmatch(device):
        return DiskSpec(size_mib=size_gib * _MIB_OF_GIB, keep=not ebs.get("DeleteOnTermination", True))
    match = _DEVICE.fullmatch(device)
    if match is None:
        raise Fault("InvalidBlockDeviceMapping", f"'{device}' is no device: name it like /dev/sdf")
    snapshot = ids.one(images.snapshots(stock), "snap", ebs["SnapshotId"]) if ebs.get("SnapshotId") else None
    if size_gib < 1 and snapshot is None:
        raise Fault("MissingParameter", f"The block-device mapping {device} must contain the parameter VolumeSize")
    keep = not ebs.get("DeleteOnTermination", False)
    content = snapshot.id if snapshot else ""
    return DiskSpec(name=match[1], image=content, size_mib=size_gib * _MIB_OF_GIB, keep=keep)


def _datasource(stock: Stock, nics: Sequence[NicSpec], metadata: MetadataOptions) -> Datasource:
    network = stock.networks.get(nics[0].network) if nics else None
    told = network is not None and network.mode is not NetworkMode.BRIDGE and metadata.enabled
    return Datasource.METADATA if told else Datasource.SEED
