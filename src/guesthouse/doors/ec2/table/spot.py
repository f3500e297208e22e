"""Rows of spot instances and fleets."""

from __future__ import annotations

from guesthouse.doors.ec2 import fleets, spot
from guesthouse.doors.ec2.instances import launch
from guesthouse.doors.ec2.listing import Listing, Named
from guesthouse.doors.ec2.rows import Row, see
from guesthouse.doors.ec2.table.instances import RUN_HARMLESS, RUN_TAKES

_SPECIFICATION = "LaunchSpecification"
# Those of RunInstances' arguments that a specification has, too.
_HAS = ("ImageId InstanceType KeyName SecurityGroupIds SecurityGroups SubnetId UserData BlockDeviceMappings "
        "NetworkInterfaces Placement").split()  # fmt: skip
_TAKES = " ".join(f"{_SPECIFICATION}.{name}" for name in RUN_TAKES.split() if name.partition(".")[0] in _HAS
                  and name not in ("Placement.AvailabilityZoneId", "Placement.GroupId"))  # fmt: skip
_HARMLESS = {
    f"{_SPECIFICATION}.{name}": value
    for name, value in RUN_HARMLESS.items()
    if name.partition(".")[0] in (*_HAS, "Monitoring", "EbsOptimized")
}

_REQUESTS = Listing(
    member="SpotInstanceRequests",
    nouns=spot.NOUNS,
    items=spot.requests,
    named=(
        Named("SpotInstanceRequestIds", "SpotInstanceRequestId", "InvalidSpotInstanceRequestID.NotFound",
              "spot instance request ID"),
    ),
    aliases={"launch.group-name": "LaunchSpecification.SecurityGroups.GroupName"},
)  # fmt: skip

ROWS = (
    Row("RequestSpotInstances", "Launch spot instances", spot.ask,
        takes=f"InstanceCount SpotPrice {_TAKES}",
        harmless={"Type": "one-time", "InstanceInterruptionBehavior": "terminate", **_HARMLESS}, tags=(spot.KIND,)),
    see("DescribeSpotInstanceRequests", "List requests of spot instances", _REQUESTS),
    Row("CancelSpotInstanceRequests", "Cancel requests of spot instances, which run on", spot.cancel,
        takes="SpotInstanceRequestIds"),
    Row("CreateFleet", "Launch so many instances at once, of the first type that can be had", fleets.create,
        takes="Type TargetCapacitySpecification.TotalTargetCapacity "
        "TargetCapacitySpecification.DefaultTargetCapacityType "
        "LaunchTemplateConfigs.LaunchTemplateSpecification.LaunchTemplateId "
        "LaunchTemplateConfigs.LaunchTemplateSpecification.LaunchTemplateName "
        "LaunchTemplateConfigs.LaunchTemplateSpecification.Version "
        "LaunchTemplateConfigs.Overrides.InstanceType LaunchTemplateConfigs.Overrides.SubnetId "
        "LaunchTemplateConfigs.Overrides.AvailabilityZone LaunchTemplateConfigs.Overrides.MaxPrice "
        "LaunchTemplateConfigs.Overrides.ImageId", harmless={"OnDemandOptions.AllocationStrategy": "prioritized"},
        tags=tuple(launch.TAGGED)),
)  # fmt: skip
