"""Spot instances: instances that were asked for as such, and their requests.

Rules
-----
1. Nobody takes money here. A request is fulfilled at once, or refused where there is no room. A spot instance goes
   before its time only where an operator interrupts it (`guest interrupt`), after a notice that it gets as on EC2.
2. A request is a part of its instance's record, and goes with it. Its id is made of the machine's.
3. To cancel a request ends no instance, as with EC2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from guesthouse.catalog.places import ZONE, ZONE_ID
from guesthouse.doors.ec2 import ids
from guesthouse.doors.ec2.instances import launch, view
from guesthouse.doors.ec2.rows import Call, tag_set, tags_of_kind
from guesthouse.engine.door_intents import Rewrite
from guesthouse.engine.stock import Stock
from guesthouse.formats.cloudids import ec2_id
from guesthouse.model.dialect import DoorRecord
from guesthouse.model.machine import Machine, OnShutdown, Power

KIND = launch.SPOT
NOUNS = view.NOUNS
CANCELLED = "cancelled"
# A request's state, and the code and message of its status, by what has become of it (`_phase`).
_STATES = {
    "runs": ("active", "fulfilled", "Your Spot request is fulfilled."),
    "runs, cancelled": (
        CANCELLED,
        "request-canceled-and-instance-running",
        "Your Spot request is canceled, but your instance is still running.",
    ),
    "told, delete": ("active", "marked-for-termination", "Your Spot instance is marked for termination."),
    "told, stop": ("active", "marked-for-stop", "Your Spot instance is marked to be stopped."),
    "stopped": ("disabled", "instance-stopped-no-capacity", "Your Spot instance was stopped: its place was needed."),
    "interrupted": (
        "closed",
        "instance-terminated-no-capacity",
        "Your Spot instance was terminated: its place was needed.",
    ),
    "ended": ("closed", "instance-terminated-by-user", "Your Spot instance was terminated by its user."),
}


def requests(stock: Stock) -> Iterable[dict[str, Any]]:
    """The project's spot requests, oldest first."""
    return [request(stock, record) for record in stock.records.values() if _is_spot(record)]


def request(stock: Stock, record: DoorRecord) -> dict[str, Any]:
    """One spot request."""
    kept, machine = record.document["spot"], stock.machines.get(record.subject)
    cancelled = bool(kept.get("cancelled"))
    state, code, message = _STATES[_phase(machine, record, cancelled=cancelled)]
    return {
        "SpotInstanceRequestId": ec2_id("sir", record.subject),
        "CreateTime": record.created_at,
        "InstanceId": ec2_id("i", record.subject),
        "InstanceInterruptionBehavior": "stop" if _only_stops(machine) else "terminate",
        "LaunchedAvailabilityZone": ZONE,
        "LaunchedAvailabilityZoneId": ZONE_ID,
        "LaunchSpecification": _specification(stock, record),
        "ProductDescription": "Linux/UNIX",
        "SpotPrice": kept.get("price"),
        "State": CANCELLED if cancelled else state,
        "Status": {"Code": code, "Message": message, "UpdateTime": record.gone_at or record.created_at},
        "Tags": tag_set(kept.get("tags", {})),
        "Type": "one-time",
    }


def _phase(machine: Machine | None, record: DoorRecord, *, cancelled: bool) -> str:
    """What has become of a request, as `_STATES` calls it."""
    if machine is None:
        return "interrupted" if record.document.get("interrupted") else "ended"
    if machine.interrupted_at:
        told = f"told, {machine.spec.on_interruption.value}"
        return "stopped" if machine.power is Power.STOPPED else told
    return "runs, cancelled" if cancelled else "runs"


def _only_stops(machine: Machine | None) -> bool:
    return machine is not None and machine.spec.on_interruption is OnShutdown.STOP


def _specification(stock: Stock, record: DoorRecord) -> dict[str, Any]:
    """What was launched: of a machine that is gone what is kept of it."""
    kept, machine = record.document, stock.machines.get(record.subject)
    found = {
        "ImageId": kept.get("image"),
        "InstanceType": kept.get("type"),
        "KeyName": kept.get("key"),
        "Monitoring": {"Enabled": False},
        "Placement": {"AvailabilityZone": ZONE},
    }
    if machine is not None:
        shown = view.instance(stock, machine, record)
        found |= {
            "SecurityGroups": shown["SecurityGroups"],
            "SubnetId": shown["SubnetId"],
            "NetworkInterfaces": [_interface(each) for each in shown["NetworkInterfaces"]],
            "BlockDeviceMappings": [
                {"DeviceName": each["DeviceName"], "Ebs": {"DeleteOnTermination": each["Ebs"]["DeleteOnTermination"]}}
                for each in shown["BlockDeviceMappings"]
            ],
        }
    return found


def _interface(shown: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "DeviceIndex": shown["Attachment"]["DeviceIndex"],
        "DeleteOnTermination": shown["Attachment"]["DeleteOnTermination"],
        "Description": shown["Description"],
        "Groups": [group["GroupId"] for group in shown["Groups"]],
        "PrivateIpAddress": shown.get("PrivateIpAddress"),
        "PrivateIpAddresses": [
            {"PrivateIpAddress": each["PrivateIpAddress"], "Primary": each["Primary"]}
            for each in shown["PrivateIpAddresses"]
        ],
        "SubnetId": shown.get("SubnetId"),
    }


async def ask(call: Call) -> Mapping[str, Any]:
    """Launch spot instances; the answer is their requests."""
    stock = await call.stock(*launch.NOUNS)
    count = call["InstanceCount"] or 1
    tags = [{"ResourceType": KIND, "Tags": tag_set(tags_of_kind(call["TagSpecifications"] or (), KIND))}]
    market = {"MarketType": "spot", "SpotOptions": {"MaxPrice": call["SpotPrice"]}}
    said = {
        **ids.only(call["LaunchSpecification"], "LaunchSpecification"),
        "InstanceMarketOptions": market,
        "TagSpecifications": tags,
    }
    made = await launch.launch(call, stock, said, count, count)
    wanted = {instance["InstanceId"] for instance in made["Instances"]}
    after = await call.stock(*NOUNS)
    return {"SpotInstanceRequests": [each for each in requests(after) if each["InstanceId"] in wanted]}


async def cancel(call: Call) -> Mapping[str, Any]:
    """Cancel requests; their instances run on."""
    stock = await call.stock(*NOUNS)
    known = {record.subject: record for record in stock.records.values() if _is_spot(record)}
    found = ids.several(known, "sir", call["SpotInstanceRequestIds"])
    parts = [(record.id, {"spot": {**record.document["spot"], "cancelled": True}}) for record in found]
    await call.do(*(Rewrite(record=id, parts=part) for id, part in parts))
    cancelled = [{"SpotInstanceRequestId": ec2_id("sir", record.subject), "State": "cancelled"} for record in found]
    return {"CancelledSpotInstanceRequests": cancelled}


def _is_spot(record: DoorRecord) -> bool:
    return view.is_ours(record) and "spot" in record.document
