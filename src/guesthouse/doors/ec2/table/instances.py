"""Rows of instances."""

from __future__ import annotations

from guesthouse.doors.ec2.filters import nothing
from guesthouse.doors.ec2.instances import attributes, inside, launch, power, status, types, view
from guesthouse.doors.ec2.listing import Listing, Named, by_arguments
from guesthouse.doors.ec2.rows import Row, see
from guesthouse.model.resources import Role

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

_STATUSES = Listing(
    member="InstanceStatuses",
    nouns=status.NOUNS,
    items=status.statuses,
    named=(Named("InstanceIds", "InstanceId", "InvalidInstanceID.NotFound", "instance ID"),),
    chooses=by_arguments(status.only_running),
    aliases={
        "instance-status.reachability": "InstanceStatus.Details.Status",
        "system-status.reachability": "SystemStatus.Details.Status",
        **dict.fromkeys(
            (
                "event.code",
                "event.description",
                "event.instance-event-id",
                "event.not-after",
                "event.not-before",
                "event.not-before-deadline",
            ),
            nothing,
        ),
    },
)
_TYPES = Listing(
    member="InstanceTypes",
    nouns=(),
    items=types.types,
    named=(Named("InstanceTypes", "InstanceType", "InvalidInstanceType", "instance type"),),
    aliases={
        "ebs-info.ebs-optimized-info.baseline-throughput-in-mbps": nothing,
        "ebs-info.ebs-optimized-info.maximum-throughput-in-mbps": nothing,
        "instance-storage-info.disk.count": "InstanceStorageInfo.Disks.Count",
        "instance-storage-info.disk.size-in-gb": "InstanceStorageInfo.Disks.SizeInGB",
        "instance-storage-info.disk.type": "InstanceStorageInfo.Disks.Type",
        "memory-info.size-in-mib": "MemoryInfo.SizeInMiB",
        "processor-info.supported-architecture": "ProcessorInfo.SupportedArchitectures",
        "supported-boot-mode": "SupportedBootModes",
        "supported-root-device-type": "SupportedRootDeviceTypes",
        "supported-usage-class": "SupportedUsageClasses",
        "supported-virtualization-type": "SupportedVirtualizationTypes",
        "vcpu-info.default-cores": "VCpuInfo.DefaultCores",
        "vcpu-info.default-threads-per-core": "VCpuInfo.DefaultThreadsPerCore",
        "vcpu-info.default-vcpus": "VCpuInfo.DefaultVCpus",
        "vcpu-info.valid-cores": "VCpuInfo.DefaultCores",
        "vcpu-info.valid-threads-per-core": "VCpuInfo.DefaultThreadsPerCore",
    },
)
_OFFERINGS = Listing(
    member="InstanceTypeOfferings",
    nouns=types.OFFERED_NOUNS,
    items=types.offerings,
    chooses=by_arguments(types.only_there),
)
_CREDITS = Listing(
    member="InstanceCreditSpecifications",
    nouns=types.CREDIT_NOUNS,
    items=types.credits,
    named=(Named("InstanceIds", "InstanceId", "InvalidInstanceID.NotFound", "instance ID"),),
)

# What RunInstances understands; launch templates keep the same.
RUN_TAKES = (
    "ImageId InstanceType MinCount MaxCount KeyName SecurityGroupIds SecurityGroups SubnetId PrivateIpAddress UserData "
    "BlockDeviceMappings.DeviceName BlockDeviceMappings.Ebs.VolumeSize BlockDeviceMappings.Ebs.DeleteOnTermination "
    "BlockDeviceMappings.NoDevice BlockDeviceMappings.Ebs.SnapshotId "
    "BlockDeviceMappings.Ebs.VolumeType NetworkInterfaces.DeviceIndex NetworkInterfaces.SubnetId "
    "NetworkInterfaces.NetworkInterfaceId NetworkInterfaces.AssociatePublicIpAddress "
    "NetworkInterfaces.Groups NetworkInterfaces.PrivateIpAddress NetworkInterfaces.PrivateIpAddresses "
    "Placement.AvailabilityZone Placement.AvailabilityZoneId Placement.GroupName Placement.GroupId MetadataOptions "
    "DisableApiTermination InstanceInitiatedShutdownBehavior LaunchTemplate "
    "InstanceMarketOptions.MarketType InstanceMarketOptions.SpotOptions.MaxPrice HibernationOptions.Configured"
)
RUN_HARMLESS: dict[str, object] = {
    "InstanceMarketOptions.SpotOptions.SpotInstanceType": "one-time",
    "InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior": "terminate",
    "Monitoring.Enabled": False,
    "EbsOptimized": False,
    "BlockDeviceMappings.Ebs.Encrypted": False,
    "NetworkInterfaces.DeleteOnTermination": True,
    "NetworkInterfaces.InterfaceType": "interface",
    "NetworkInterfaces.NetworkCardIndex": 0,
    "Placement.Tenancy": "default",
    "CpuOptions.ThreadsPerCore": 1,
    "CreditSpecification.CpuCredits": "unlimited",
    "CapacityReservationSpecification.CapacityReservationPreference": "open",
    "EnclaveOptions.Enabled": False,
    "MaintenanceOptions.AutoRecovery": "disabled",
    "DisableApiStop": False,
}
_UNCHANGED = {"EbsOptimized.Value": False, "DisableApiStop.Value": False}

ROWS = (
    Row("RunInstances", "Launch instances", launch.run_instances, takes=RUN_TAKES, harmless=RUN_HARMLESS,
        tags=tuple(launch.TAGGED)),
    see("DescribeInstances", "List instances, running, stopped, and those that ended within the last hour", _INSTANCES),
    see("DescribeInstanceStatus", "Tell how instances are", _STATUSES, takes="IncludeAllInstances"),
    Row("StartInstances", "Start stopped instances", power.start, takes="InstanceIds"),
    Row("StopInstances", "Shut instances down, by force where they take too long, or hibernate them", power.stop,
        takes="InstanceIds Force Hibernate", harmless={"SkipOsShutdown": False}),
    Row("RebootInstances", "Restart instances", power.reboot, takes="InstanceIds"),
    Row("TerminateInstances", "Delete instances with the disks that are to go with them", power.terminate,
        takes="InstanceIds", harmless={"Force": False, "SkipOsShutdown": False}),
    Row("DescribeInstanceAttribute", "Tell an attribute of an instance", attributes.describe,
        takes="InstanceId Attribute", role=Role.VIEWER),
    Row("ModifyInstanceAttribute", "Change an attribute of an instance", attributes.modify,
        takes="InstanceId Attribute Value InstanceType UserData DisableApiTermination Groups SourceDestCheck "
        "InstanceInitiatedShutdownBehavior BlockDeviceMappings.DeviceName BlockDeviceMappings.Ebs.DeleteOnTermination",
        harmless=_UNCHANGED),
    Row("ModifyInstanceMetadataOptions", "Change what the metadata service does for an instance, at once",
        attributes.modify_metadata, takes="InstanceId HttpTokens HttpPutResponseHopLimit HttpEndpoint "
        "HttpProtocolIpv6 InstanceMetadataTags"),
    Row("GetConsoleOutput", "Tell the end of what an instance wrote to its serial console, up to now",
        inside.console_output, takes="InstanceId Latest"),
    Row("GetConsoleScreenshot", "Tell what the screen of an instance that has one shows now, as JPG",
        inside.console_screenshot, takes="InstanceId", harmless={"WakeUp": False}),
    see("DescribeInstanceTypes", "List instance types, those too that this host cannot have", _TYPES),
    see("DescribeInstanceTypeOfferings", "List the instance types that this host can have", _OFFERINGS,
        takes="LocationType"),
    see("DescribeInstanceCreditSpecifications", "List instances of t-types; they are never slowed down", _CREDITS),
)  # fmt: skip
