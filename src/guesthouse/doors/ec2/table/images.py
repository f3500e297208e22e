"""Rows of AMIs and of snapshots of volumes."""

from __future__ import annotations

from guesthouse.doors.ec2.filters import nothing
from guesthouse.doors.ec2.images import attributes, make, snapshots, view
from guesthouse.doors.ec2.listing import Listing, Named
from guesthouse.doors.ec2.rows import Row, see

# What is found by scanners that there are none of here; the names of severities stand alone in the description.
_SEVERITIES = ("critical", "high", "medium", "low", "informational")
_SCANS = (
    "scan-result.finding-scan-date",
    "scan-result.highest-finding-severity-label",
    *(f"scan-result.{severity}-fix-available-since" for severity in _SEVERITIES),
    *_SEVERITIES,
)
_IMAGES = Listing(
    member="Images", nouns=view.NOUNS, items=view.images, chooses=view.choose_images,
    named=(Named("ImageIds", "ImageId", "InvalidAMIID.NotFound", "image id"),),
    aliases={
        "manifest-location": "ImageLocation",
        "product-code.type": "ProductCodes.ProductCodeType",
        **dict.fromkeys(_SCANS, nothing),
    },
)  # fmt: skip
_SNAPSHOTS = Listing(
    member="Snapshots", nouns=view.NOUNS, items=view.snapshot_items, chooses=view.choose_snapshots,
    named=(Named("SnapshotIds", "SnapshotId", "InvalidSnapshot.NotFound", "snapshot"),),
)  # fmt: skip
_DEVICES = (
    "BlockDeviceMappings.DeviceName BlockDeviceMappings.NoDevice BlockDeviceMappings.Ebs.SnapshotId "
    "BlockDeviceMappings.Ebs.VolumeSize BlockDeviceMappings.Ebs.VolumeType BlockDeviceMappings.Ebs.DeleteOnTermination"
)
_PLAIN = {"BlockDeviceMappings.Ebs.Encrypted": False}

ROWS = (
    Row("CreateImage", "Make an AMI of an instance, with snapshots of all its volumes at one moment; the instance is "
        "shut down for that moment and started again, unless NoReboot is said", make.create,
        takes=f"InstanceId Name Description NoReboot {_DEVICES}", harmless=_PLAIN, tags=("image", "snapshot")),
    Row("RegisterImage", "Make an AMI of snapshots", make.register,
        takes=f"Name Description Architecture RootDeviceName {_DEVICES}", tags=("image",),
        harmless={**_PLAIN, "VirtualizationType": "hvm", "EnaSupport": True}),
    Row("CopyImage", "Make an AMI of the project's own of one that it may use", make.copy,
        takes="SourceImageId SourceRegion Name Description CopyImageTags", harmless={"Encrypted": False},
        tags=("image", "snapshot")),
    see("DescribeImages", "List AMIs: the project's own, those that it may launch from, public ones", _IMAGES,
        takes="Owners ExecutableUsers IncludeDeprecated IncludeDisabled"),
    Row("DeregisterImage", "Have nothing launched from an AMI any more; machines that were run on", make.deregister,
        takes="ImageId DeleteAssociatedSnapshots"),
    Row("DescribeImageAttribute", "Tell an AMI's description, its devices, or who may launch from it",
        attributes.describe_image, takes="Attribute ImageId"),
    Row("ModifyImageAttribute", "Change an AMI's description, or who may launch from it", attributes.modify_image,
        takes="Attribute Description.Value ImageId LaunchPermission.Add.UserId LaunchPermission.Add.Group "
        "LaunchPermission.Remove.UserId LaunchPermission.Remove.Group OperationType UserGroups UserIds Value"),
    Row("ResetImageAttribute", "Let nobody else launch from an AMI", attributes.reset_image, takes="Attribute ImageId"),
    Row("CreateSnapshot", "Make a snapshot of a volume, whose instance runs on", snapshots.create,
        takes="VolumeId Description", tags=("snapshot",)),
    Row("CreateSnapshots", "Make snapshots of an instance's volumes, all of one moment", snapshots.create_of_instance,
        takes="InstanceSpecification Description CopyTagsFromSource", tags=("snapshot",)),
    Row("CopySnapshot", "Make a snapshot of the project's own of one that it may use", snapshots.copy,
        takes="SourceSnapshotId SourceRegion DestinationRegion PresignedUrl Description", harmless={"Encrypted": False},
        tags=("snapshot",)),
    see("DescribeSnapshots", "List snapshots: the project's own, those that it may make volumes of, public ones",
        _SNAPSHOTS, takes="OwnerIds RestorableByUserIds"),
    Row("DeleteSnapshot", "Have no volumes made of a snapshot any more; those that were stay", snapshots.delete,
        takes="SnapshotId"),
    Row("DescribeSnapshotAttribute", "Tell who may make volumes of a snapshot", attributes.describe_snapshot,
        takes="Attribute SnapshotId"),
    Row("ModifySnapshotAttribute", "Change who may make volumes of a snapshot", attributes.modify_snapshot,
        takes="Attribute CreateVolumePermission.Add.UserId CreateVolumePermission.Add.Group "
        "CreateVolumePermission.Remove.UserId CreateVolumePermission.Remove.Group GroupNames OperationType SnapshotId "
        "UserIds"),
    Row("ResetSnapshotAttribute", "Let nobody else make volumes of a snapshot", attributes.reset_snapshot,
        takes="Attribute SnapshotId"),
)  # fmt: skip
