"""The account and its places: who asks, regions, zones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from guesthouse.catalog.places import REGION, ZONE, ZONE_ID
from guesthouse.doors.ec2.rows import Call, owner
from guesthouse.engine.stock import Stock


async def caller(call: Call) -> Mapping[str, Any]:
    """Who signed: the project as an account, the role as a user."""
    account, role = owner(await call.stock()), call.asker.role.value
    return {"UserId": account, "Account": account, "Arn": f"arn:aws:iam::{account}:user/{role}"}


def regions(stock: Stock) -> Iterable[dict[str, Any]]:
    """There is one region; where its door is, whoever asks knows."""
    return [{"RegionName": REGION, "Endpoint": f"ec2.{REGION}.amazonaws.com", "OptInStatus": "opt-in-not-required"}]


def zones(stock: Stock) -> Iterable[dict[str, Any]]:
    """There is one zone."""
    return [
        {
            "ZoneName": ZONE,
            "State": "available",
            "OptInStatus": "opt-in-not-required",
            "Messages": [],
            "RegionName": REGION,
            "ZoneId": ZONE_ID,
            "GroupName": REGION,
            "NetworkBorderGroup": REGION,
            "ZoneType": "availability-zone",
        }
    ]
