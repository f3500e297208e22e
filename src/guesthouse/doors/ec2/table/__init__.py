"""The EC2 door as a table: one row an operation, by what users do.

To add an operation, add a row; then ``pytest --refresh-golden tests/doors/ec2`` takes its shapes from the service's
description and writes docs/ec2.md anew. Nothing else knows the operations.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

from guesthouse.doors.ec2.dialects import Service
from guesthouse.doors.ec2.rows import Row
from guesthouse.doors.ec2.table import (
    account,
    groups,
    images,
    instances,
    keys,
    launch_templates,
    networks,
    spot,
    tags,
    volumes,
)
from guesthouse.formats.awsquery import shapes

GROUPS: dict[str, tuple[Row, ...]] = {
    "Instances": instances.ROWS,
    "Launch templates and placement groups": launch_templates.ROWS,
    "Spot instances and fleets": spot.ROWS,
    "Key pairs": keys.ROWS,
    "Images and snapshots": images.ROWS,
    "Volumes": volumes.ROWS,
    "VPCs and subnets": networks.VPCS,
    "Routes and gateways": networks.ROUTES,
    "Network interfaces and elastic addresses": networks.INTERFACES,
    "Security groups": groups.ROWS,
    "Tags": tags.ROWS,
    "The account and its places": account.ROWS,
}
STS: tuple[Row, ...] = account.STS


@cache
def services() -> dict[str, Service]:
    """The services for which the door speaks, by their names in signatures."""
    rows = {"ec2": [row for group in GROUPS.values() for row in group], "sts": STS}
    folder = resources.files("guesthouse.doors.ec2") / "shapes"
    found = {}
    for name in rows:
        known = shapes.read((folder / f"{name}.json").read_bytes())
        found[name] = Service(name, known, {row.action: row for row in rows[name]})
    return found
