"""Rows of volumes."""

from __future__ import annotations

from guesthouse.doors.ec2.listing import Listing, Named
from guesthouse.doors.ec2.rows import Row, see
from guesthouse.doors.ec2.volumes import change, view
from guesthouse.model.resources import Role

_NAMED = (Named("VolumeIds", "VolumeId", "InvalidVolume.NotFound", "volume"),)
_ACTION = {"code": "Code", "description": "Description", "event-id": "EventId"}
_EVENT = {
    "description": "Description",
    "event-id": "EventId",
    "event-type": "EventType",
    "not-after": "NotAfter",
    "not-before": "NotBefore",
}
_VOLUMES = Listing(member="Volumes", nouns=view.NOUNS, items=view.volumes, named=_NAMED)
_STATUSES = Listing(
    member="VolumeStatuses", nouns=view.NOUNS, items=view.statuses, named=_NAMED,
    aliases={
        "attachment-status.instance-id": "AttachmentStatuses.InstanceId",
        "attachment-status.io-performance": "AttachmentStatuses.IoPerformance",
        **{f"action.{name}": f"Actions.{member}" for name, member in _ACTION.items()},
        **{f"event.{name}": f"Events.{member}" for name, member in _EVENT.items()},
    },
)  # fmt: skip
_MODIFICATIONS = Listing(
    member="VolumesModifications", nouns=view.NOUNS, items=view.modifications,
    named=(Named("VolumeIds", "VolumeId", "InvalidVolumeModification.NotFound", "modification of volume"),),
    aliases={
        "originalMultiAttachEnabled": "OriginalMultiAttachEnabled",
        "targetMultiAttachEnabled": "TargetMultiAttachEnabled",
    },
)  # fmt: skip

ROWS = (
    Row("CreateVolume", "Make a volume, empty or of a snapshot", change.create,
        takes="AvailabilityZone AvailabilityZoneId Iops Size SnapshotId Throughput VolumeType", tags=("volume",),
        harmless={"Encrypted": False, "MultiAttachEnabled": False}),
    see("DescribeVolumes", "List volumes: all disks of the project", _VOLUMES),
    Row("AttachVolume", "Give a volume to an instance, while it runs or not", change.attach,
        takes="Device InstanceId VolumeId"),
    Row("DetachVolume", "Take a volume from its instance, which has to let go of it", change.detach,
        takes="Device InstanceId VolumeId", harmless={"Force": False}),
    Row("ModifyVolume", "Make a volume larger, while its instance runs or not", change.modify,
        takes="VolumeId Size VolumeType Iops Throughput", harmless={"MultiAttachEnabled": False}),
    see("DescribeVolumesModifications", "List the last modification of each volume", _MODIFICATIONS),
    see("DescribeVolumeStatus", "Tell how volumes do", _STATUSES),
    Row("DescribeVolumeAttribute", "Tell what a volume does after an error", change.describe_attribute,
        takes="Attribute VolumeId", role=Role.VIEWER),
    Row("DeleteVolume", "Delete a volume that no instance has", change.delete, takes="VolumeId"),
)  # fmt: skip
