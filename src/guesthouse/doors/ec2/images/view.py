"""Images as AMIs and as snapshots.

Rules
-----
1. An image with a system is an AMI, one that is data is a snapshot. An AMI that EC2's clients make is a copy of the
   snapshot of its root volume, which has the same files: both can go before the other.
2. What only EC2 knows of an image is in the door's record: its name as it was said, its description, its devices, the
   instance or volume that it was made of. Images that have none go without. Other projects' records are not seen.
3. An AMI is available when all snapshots of its devices are completed.
4. What could not be made is shown with its error as long as its record lasts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from guesthouse.catalog.places import REGION
from guesthouse.doors.ec2.rows import DOOR, owner, tag_set
from guesthouse.engine.stock import Stock
from guesthouse.formats.awsquery.answer import stamp
from guesthouse.formats.awsquery.fault import Fault
from guesthouse.formats.cloudids import account, ec2_id
from guesthouse.model.dialect import DoorRecord
from guesthouse.model.resources import Image, ImageState

IMAGE, SNAPSHOT = "image", "snapshot"
NOUNS = ("images", "projects", "shares", "door_records", "tags", "operations")
ROOT_DEVICE = "/dev/vda"
NO_VOLUME = "vol-ffffffff"
"""What EC2 says of a snapshot that no volume is known of."""
PUBLIC_OWNER = "amazon"
EVERYBODY = "all"
_MIB_A_GIB = 1024


def gib(mib: int) -> int:
    """A size as EC2 tells it: whole GiB, one at least."""
    return max(1, -(-mib // _MIB_A_GIB))


def record_of(stock: Stock, id: str, kind: str) -> Mapping[str, Any]:
    """What the door keeps of an image, empty where it keeps nothing."""
    found = (record for record in stock.records_of.get(id, ()) if record.door == DOOR and record.kind == kind)
    return next((record.document for record in found), {})


def amis(stock: Stock) -> dict[str, Image]:
    """The images that are AMIs, by id."""
    return {id: image for id, image in stock.images.items() if not image.data and _is_there(image)}


def snapshots(stock: Stock) -> dict[str, Image]:
    """The images that are snapshots, by id."""
    return {id: image for id, image in stock.images.items() if image.data and _is_there(image)}


def _is_there(image: Image) -> bool:
    return image.state in (ImageState.MAKING, ImageState.READY)


# --- AMIs ----------------------------------------------------------------------------------------------------


def images(stock: Stock) -> Iterable[dict[str, Any]]:
    """All AMIs that the project may use, oldest first; its own that failed, too."""
    found = [(image.created_at, ami(stock, image)) for image in amis(stock).values()]
    found += [(record.created_at, _failed_ami(stock, record)) for record in _failed(stock, IMAGE)]
    return [item for _, item in sorted(found, key=lambda pair: pair[0])]


def ami(stock: Stock, image: Image) -> dict[str, Any]:
    """One image as an AMI."""
    kept, account_ = record_of(stock, image.id, IMAGE), _account(stock, image)
    mappings = mappings_of(stock, image, kept)
    return {
        **_plain(account_, kept.get("name") or image.name, kept),
        "Architecture": image.architecture,
        "CreationDate": stamp(image.created_at),
        "ImageId": ec2_id("ami", image.id),
        "ImageOwnerAlias": PUBLIC_OWNER if image.public else None,
        "Public": image.public,
        "State": "available" if _is_ready(stock, image, kept) else "pending",
        "BlockDeviceMappings": mappings,
        "RootDeviceName": mappings[0]["DeviceName"] if mappings else None,
        "RootDeviceType": "ebs" if mappings else "instance-store",
        "Tags": tag_set(stock.tags.get(image.id, {})),
    }


def _plain(account_: str, name: str, kept: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "ImageLocation": f"{account_}/{name}",
        "ImageType": "machine",
        "OwnerId": account_,
        "PlatformDetails": "Linux/UNIX",
        "UsageOperation": "RunInstances",
        "Description": kept.get("description"),
        "EnaSupport": True,
        "Hypervisor": "xen",
        "Name": name,
        "VirtualizationType": "hvm",
        "SourceInstanceId": kept.get("instance"),
        "SourceImageId": kept.get("source"),
        "SourceImageRegion": REGION if kept.get("source") else None,
    }


def mappings_of(stock: Stock, image: Image, kept: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The devices of an AMI, its root first: those that its record names, else its one disk."""
    if kept.get("devices"):
        return [_mapping(stock, device) for device in kept["devices"]]
    if not image.disk:
        return []
    size = {"VolumeSize": gib(image.virtual_mib)} if image.virtual_mib else {}
    return [{"DeviceName": ROOT_DEVICE, "Ebs": {"DeleteOnTermination": True, "Encrypted": False, **size}}]


def _mapping(stock: Stock, device: Mapping[str, Any]) -> dict[str, Any]:
    snapshot = snapshot_called(stock, device["snapshot"])
    ebs = {
        "DeleteOnTermination": device["delete"],
        "Encrypted": False,
        "SnapshotId": ec2_id("snap", snapshot.id) if snapshot else None,
        "VolumeSize": device["gib"] or (gib(snapshot.virtual_mib) if snapshot else None),
        "VolumeType": device["type"],
    }
    return {"DeviceName": device["name"], "Ebs": {name: value for name, value in ebs.items() if value is not None}}


def snapshot_called(stock: Stock, name: str) -> Image | None:
    """The project's own snapshot of that name in the house."""
    return next(
        (each for each in snapshots(stock).values() if each.name == name and each.project == stock.project.id), None
    )


def _is_ready(stock: Stock, image: Image, kept: Mapping[str, Any]) -> bool:
    others = [snapshot_called(stock, device["snapshot"]) for device in kept.get("devices", ()) if device["snapshot"]]
    return image.state is ImageState.READY and all(other is None or other.state is ImageState.READY for other in others)


def _failed(stock: Stock, kind: str) -> list[DoorRecord]:
    return [
        record
        for record in stock.records.values()
        if record.door == DOOR and record.kind == kind and record.subject not in stock.images
        if record.document.get("error")
    ]


def _failed_ami(stock: Stock, record: DoorRecord) -> dict[str, Any]:
    kept = record.document
    return {
        **_plain(owner(stock), kept.get("name", ""), kept),
        "Architecture": "x86_64",
        "CreationDate": stamp(record.created_at),
        "ImageId": ec2_id("ami", record.subject),
        "Public": False,
        "State": "failed",
        "StateReason": {"Code": "Server.InternalError", "Message": f"Server.InternalError: {_why(kept)}"},
        "BlockDeviceMappings": [],
        "RootDeviceType": "ebs",
        "Tags": tag_set(stock.tags.get(record.subject, {})),
    }


def _why(kept: Mapping[str, Any]) -> str:
    return str(kept["error"].get("message", ""))


# --- snapshots -----------------------------------------------------------------------------------------------


def snapshot_items(stock: Stock) -> Iterable[dict[str, Any]]:
    """All snapshots that the project may use, oldest first; its own that failed, too."""
    found = [(image.created_at, snapshot(stock, image)) for image in snapshots(stock).values()]
    found += [(record.created_at, _failed_snapshot(stock, record)) for record in _failed(stock, SNAPSHOT)]
    return [item for _, item in sorted(found, key=lambda pair: pair[0])]


def snapshot(stock: Stock, image: Image) -> dict[str, Any]:
    """One image as a snapshot."""
    kept, ready = record_of(stock, image.id, SNAPSHOT), image.state is ImageState.READY
    return {
        **_plain_snapshot(kept, image.id, _account(stock, image)),
        "OwnerAlias": PUBLIC_OWNER if image.public else None,
        "State": "completed" if ready else "pending",
        "StartTime": image.created_at,
        "Progress": "100%" if ready else _progress(stock, image),
        "VolumeSize": gib(image.virtual_mib) if ready else kept.get("gib", gib(image.virtual_mib)),
        "Tags": tag_set(stock.tags.get(image.id, {})),
    }


def _plain_snapshot(kept: Mapping[str, Any], id: str, account_: str) -> dict[str, Any]:
    return {
        "SnapshotId": ec2_id("snap", id),
        "VolumeId": kept.get("volume", NO_VOLUME),
        "Description": kept.get("description", ""),
        "OwnerId": account_,
        "Encrypted": False,
        "StorageTier": "standard",
    }


def _failed_snapshot(stock: Stock, record: DoorRecord) -> dict[str, Any]:
    kept = record.document
    return {
        **_plain_snapshot(kept, record.subject, owner(stock)),
        "State": "error",
        "StateMessage": _why(kept),
        "StartTime": record.created_at,
        "Progress": "0%",
        "VolumeSize": kept.get("gib", 1),
        "Tags": tag_set(stock.tags.get(record.subject, {})),
    }


def _progress(stock: Stock, image: Image) -> str:
    percents = [row.percent for row in stock.operations.values() if row.subject == image.id]
    return f"{percents[0] if percents and percents[0] else 0:.0f}%"


# --- whose, and for whom -------------------------------------------------------------------------------------


def _account(stock: Stock, image: Image) -> str:
    return account(stock.accounts.get(image.project, 0))


def may_use(stock: Stock, image: Image) -> list[dict[str, str]]:
    """Who may use an image beside its own project, as permissions tell it."""
    everybody = [{"Group": EVERYBODY}] if image.public else []
    shares = (share for share in stock.shares.values() if share.image == image.id)
    return [*everybody, *({"UserId": account(stock.accounts[share.project])} for share in shares)]


def _by_owner(stock: Stock, owners: Sequence[str]) -> Callable[[Mapping[str, Any]], bool]:
    if not owners:
        return lambda item: True
    wanted = {owner(stock) if each == "self" else each for each in owners}
    return lambda item: item["OwnerId"] in wanted or item.get("ImageOwnerAlias", item.get("OwnerAlias")) in wanted


def _by_user(
    stock: Stock, users: Sequence[str], id: str, things: Mapping[str, Image]
) -> Callable[[Mapping[str, Any]], bool]:
    """What those can use that are named: ``self`` what is shared with the project, ``all`` what is public."""
    if not users:
        return lambda item: True
    own = owner(stock)
    wanted = {own if each == "self" else each for each in users}
    known = {ec2_id(id, image.id): image for image in things.values()}

    def may(item: Mapping[str, Any]) -> bool:
        image = known.get(item["ImageId" if id == "ami" else "SnapshotId"])
        if image is None:
            return False
        if image.public:
            return EVERYBODY in wanted
        if image.project != stock.project.id:
            return own in wanted
        return any(each.get("UserId") in wanted for each in may_use(stock, image))

    return may


def choose_images(stock: Stock, arguments: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], bool]:
    """By ``Owners`` and ``ExecutableUsers``."""
    owned = _by_owner(stock, arguments.get("Owners") or ())
    used = _by_user(stock, arguments.get("ExecutableUsers") or (), "ami", amis(stock))
    return lambda item: owned(item) and used(item)


def choose_snapshots(stock: Stock, arguments: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], bool]:
    """By ``OwnerIds`` and ``RestorableByUserIds``."""
    owned = _by_owner(stock, arguments.get("OwnerIds") or ())
    used = _by_user(stock, arguments.get("RestorableByUserIds") or (), "snap", snapshots(stock))
    return lambda item: owned(item) and used(item)


def own(stock: Stock, image: Image, prefix: str) -> Image:
    """The image, if it is the project's own; raises `Fault`."""
    if image.project != stock.project.id:
        raise Fault("AuthFailure", f"Not authorized for image:{ec2_id(prefix, image.id)}", 403)
    return image
