"""Fleets of type ``instant``: so many machines as one request asks for, of the first type that can be had.

Rules
-----
1. What is to be launched is tried in its order: templates, and the overrides of each. The first one for which there is
   room gives all machines; why the others could not is told.
2. Nothing of the fleet is kept: its instances are instances like others. Fleets that are maintained, or that ask again,
   are refused.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from guesthouse.doors.ec2 import launch_templates
from guesthouse.doors.ec2.errors import fault_of
from guesthouse.doors.ec2.instances import launch
from guesthouse.doors.ec2.rows import Call
from guesthouse.formats.awsquery.fault import Fault
from guesthouse.model.errors import GuesthouseError, NoCapacity, QuotaExceeded

_SPOT, _ON_DEMAND = "spot", "on-demand"


async def create(call: Call) -> Mapping[str, Any]:
    """Launch a fleet's machines at once."""
    if (kind := call["Type"] or "maintain") != "instant":
        raise Fault("UnsupportedOperation", f"The parameter Type can only be instant here, not {kind}")
    stock = await call.stock(*launch.NOUNS)
    capacity = call["TargetCapacitySpecification"]
    count, lifecycle = capacity["TotalTargetCapacity"], capacity.get("DefaultTargetCapacityType") or _ON_DEMAND
    if count < 1:
        raise Fault("InvalidParameterValue", f"TotalTargetCapacity {count}: one instance at least")
    refused: list[dict[str, Any]] = []
    for chosen in _candidates(call):
        said = _said(call, chosen, lifecycle)
        try:
            made = await launch.launch(call, stock, launch_templates.completed(stock, said), count, count)
        except (NoCapacity, QuotaExceeded) as error:
            refused.append(_error(chosen, lifecycle, error))
            continue
        return _answer(chosen, lifecycle, made, refused)
    return {"FleetId": _id(), "Errors": refused, "Instances": []}


def _said(call: Call, chosen: Mapping[str, Any], lifecycle: str) -> dict[str, Any]:
    """What RunInstances would be told."""
    found = {
        **chosen["Overrides"],
        "LaunchTemplate": chosen["LaunchTemplateSpecification"],
        "TagSpecifications": call["TagSpecifications"] or (),
    }
    price = found.pop("MaxPrice", None)
    if lifecycle == _SPOT:
        return {**found, "InstanceMarketOptions": {"MarketType": _SPOT, "SpotOptions": {"MaxPrice": price}}}
    if price is not None:
        raise Fault("InvalidParameterCombination", "MaxPrice is for spot instances alone")
    return found


def _candidates(call: Call) -> Iterator[dict[str, Any]]:
    """What may be launched, in its order: a template, with what is said otherwise than there."""
    plain: list[dict[str, Any]] = [{}]
    for config in call["LaunchTemplateConfigs"]:
        template = config.get("LaunchTemplateSpecification") or {}
        for override in config.get("Overrides") or plain:
            said = {name: value for name, value in override.items() if name != "AvailabilityZone"}
            if "AvailabilityZone" in override:
                said["Placement"] = {"AvailabilityZone": override["AvailabilityZone"]}
            yield {"LaunchTemplateSpecification": template, "Overrides": said}


def _told(chosen: Mapping[str, Any], lifecycle: str) -> dict[str, Any]:
    return {
        "LaunchTemplateAndOverrides": {
            "LaunchTemplateSpecification": chosen["LaunchTemplateSpecification"],
            "Overrides": {name: value for name, value in chosen["Overrides"].items() if name != "Placement"},
        },
        "Lifecycle": lifecycle,
    }


def _error(chosen: Mapping[str, Any], lifecycle: str, error: GuesthouseError) -> dict[str, Any]:
    fault = fault_of(error)
    return {**_told(chosen, lifecycle), "ErrorCode": fault.code, "ErrorMessage": fault.message}


def _answer(
    chosen: Mapping[str, Any], lifecycle: str, made: Mapping[str, Any], refused: list[dict[str, Any]]
) -> dict[str, Any]:
    instances = made["Instances"]
    group = {
        **_told(chosen, lifecycle),
        "InstanceIds": [instance["InstanceId"] for instance in instances],
        "InstanceType": instances[0]["InstanceType"],
    }
    return {"FleetId": _id(), "Errors": refused, "Instances": [group]}


def _id() -> str:
    return f"fleet-{uuid.uuid4()}"
