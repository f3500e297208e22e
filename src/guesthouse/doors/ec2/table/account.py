"""Rows of the account and its places."""

from __future__ import annotations

from guesthouse.doors.ec2 import account
from guesthouse.doors.ec2.listing import Listing, Named
from guesthouse.doors.ec2.rows import Row, see
from guesthouse.model.resources import Role

_REGIONS = Listing(
    member="Regions", nouns=(), items=account.regions,
    named=(Named("RegionNames", "RegionName", "InvalidParameterValue", "region"),),
)  # fmt: skip
_ZONES = Listing(
    member="AvailabilityZones", nouns=(), items=account.zones,
    named=(
        Named("ZoneNames", "ZoneName", "InvalidParameterValue", "zone"),
        Named("ZoneIds", "ZoneId", "InvalidParameterValue", "zone"),
    ),
    aliases={"message": "Messages.Message"},
)  # fmt: skip

ROWS = (
    see("DescribeRegions", "Tell the region", _REGIONS, takes="AllRegions"),
    see("DescribeAvailabilityZones", "Tell the zones", _ZONES, takes="AllAvailabilityZones"),
)
STS = (Row("GetCallerIdentity", "Tell who asks", account.caller, role=Role.VIEWER),)
