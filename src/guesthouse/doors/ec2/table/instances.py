"""Rows of instances."""

from __future__ import annotations

from guesthouse.doors.ec2.filters import nothing
from guesthouse.doors.ec2.instances import launch, power, view
from guesthouse.doors.ec2.listing import Listing, Named
from guesthouse.doors.ec2.rows import Row, see

_INSTANCES = Listing(
    member="Reservations",
    nouns=view.NOUNS,
    items=view.instances,
    named=(Named("InstanceIds", "InstanceId", "InvalidInstanceID.NotFound", "instance ID"),),
    inside=("Instances",),
    finish=view.reservations,
    aliases={
        "reservation-id": "Reservation.ReservationId",
        "owner-id": "Reservation.OwnerId",
        "requester-id": "Reservation.RequesterId",
        "instance.group-id": "SecurityGroups.GroupId",
        "instance.group-name": "SecurityGroups.GroupName",
        "metadata-options.http-protocol-ipv4": "MetadataOptions.HttpEndpoint",
        "network-interface.attachment.instance-id": "InstanceId",
        "network-interface.attachment.instance-owner-id": "NetworkInterfaces.OwnerId",
        "network-interface.availability-zone": "Placement.AvailabilityZone",
        "product-code.type": "ProductCodes.ProductCodeType",
        **dict.fromkeys(
            (
                "network-interface.addresses.association.allocation-id",
                "network-interface.addresses.association.association-id",
                "network-interface.association.allocation-id",
                "network-interface.association.association-id",
                "network-interface.deny-all-igw-traffic",
                "network-interface.ipv4-prefixes.ipv4-prefix",
                "network-interface.ipv6-native",
                "network-interface.ipv6-prefixes.ipv6-prefix",
                "network-interface.outpost-arn",
                "network-interface.requester-id",
                "network-interface.requester-managed",
                "network-interface.tag-key",
                "network-interface.tag-value",
            ),
            nothing,
        ),
    },
)

ROWS = (
    Row("RunInstances", "Launch instances", launch.run_instances,
        takes="ImageId InstanceType MinCount MaxCount KeyName SecurityGroupIds SubnetId PrivateIpAddress UserData "
        "BlockDeviceMappings.DeviceName BlockDeviceMappings.Ebs.VolumeSize",
        harmless={"Monitoring.Enabled": False, "EbsOptimized": False}, tags=("instance",)),
    see("DescribeInstances", "List instances, running, stopped, and those that ended within the last hour", _INSTANCES),
    Row("StartInstances", "Start stopped instances", power.start, takes="InstanceIds"),
    Row("StopInstances", "Shut instances down, by force where they take too long", power.stop,
        takes="InstanceIds Force", harmless={"Hibernate": False, "SkipOsShutdown": False}),
    Row("RebootInstances", "Restart instances", power.reboot, takes="InstanceIds"),
    Row("TerminateInstances", "Delete instances with the disks that are to go with them", power.terminate,
        takes="InstanceIds", harmless={"Force": False, "SkipOsShutdown": False}),
)  # fmt: skip
