"""Spot instances, and fleets of type instant."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from tests.doors.ec2.conftest import Client, Cloud
from tests.doors.ec2.test_launch_templates import WEB, template
from tests.doors.ec2.test_launches import ONE, run

from guesthouse.engine import intents
from guesthouse.formats.cloudids import ec2_id

SPOT = {"MarketType": "spot", "SpotOptions": {"MaxPrice": "0.01", "SpotInstanceType": "one-time"}}


async def states(client: Client, **said: Any) -> dict[str, tuple[str, str]]:
    found = (await client("describe_spot_instance_requests", **said))["SpotInstanceRequests"]
    return {each["InstanceId"]: (each["State"], each["Status"]["Code"]) for each in found}


async def test_a_spot_instance_is_an_instance(client: Client, cloud: Cloud, image: str) -> None:
    _, subnet = await cloud.network()
    tags = [{"ResourceType": "spot-instances-request", "Tags": [{"Key": "a", "Value": "b"}]}]
    made = await run(client, image, InstanceMarketOptions=SPOT, TagSpecifications=tags,
                     SubnetId=ec2_id("subnet", subnet))  # fmt: skip
    plain = await run(client, image)
    id = made["InstanceId"]
    assert (made["InstanceLifecycle"], "InstanceLifecycle" in plain) == ("spot", False)
    await client.until("running", id)
    (told,) = (await client("describe_spot_instance_requests"))["SpotInstanceRequests"]
    assert (told["SpotInstanceRequestId"], told["SpotPrice"]) == (made["SpotInstanceRequestId"], "0.01")
    assert told["Tags"] == [{"Key": "a", "Value": "b"}]
    assert told["LaunchSpecification"]["NetworkInterfaces"][0]["SubnetId"] == ec2_id("subnet", subnet)
    spot = [{"Name": "instance-lifecycle", "Values": ["spot"]}]
    assert len((await client("describe_instances", Filters=spot))["Reservations"]) == 1
    waiter = client.plain.get_waiter("spot_instance_request_fulfilled")
    await asyncio.to_thread(waiter.wait, SpotInstanceRequestIds=[told["SpotInstanceRequestId"]])
    cancelled = await client("cancel_spot_instance_requests", SpotInstanceRequestIds=[told["SpotInstanceRequestId"]])
    assert cancelled["CancelledSpotInstanceRequests"][0]["State"] == "cancelled"
    assert await states(client) == {id: ("cancelled", "request-canceled-and-instance-running")}
    await client("terminate_instances", InstanceIds=[id])
    await client.until("terminated", id)
    assert await states(client, Filters=[{"Name": "state", "Values": ["cancelled"]}]) == {
        id: ("cancelled", "instance-terminated-by-user")
    }


async def test_an_interruption_is_told_and_ends_the_instance(client: Client, cloud: Cloud, image: str) -> None:
    id = (await run(client, image, InstanceMarketOptions=SPOT))["InstanceId"]
    await client.until("running", id)
    (machine,) = await cloud.engine.views.machines(cloud.asker)
    await cloud.done(intents.Interrupt(machine=machine.id, notice_s=1))
    assert await states(client) == {id: ("active", "marked-for-termination")}
    gone = await client.until("terminated", id)
    assert gone["StateReason"]["Code"] == "Server.SpotInstanceTermination"
    assert await states(client) == {id: ("closed", "instance-terminated-no-capacity")}


async def test_one_that_is_protected_is_only_stopped(client: Client, cloud: Cloud, image: str) -> None:
    id = (await run(client, image, InstanceMarketOptions=SPOT, DisableApiTermination=True))["InstanceId"]
    await client.until("running", id)
    (machine,) = await cloud.engine.views.machines(cloud.asker)
    await cloud.done(intents.Interrupt(machine=machine.id, notice_s=0))
    assert (await client.until("stopped", id))["StateReason"]["Code"] == "Server.SpotInstanceShutdown"
    assert await states(client) == {id: ("disabled", "instance-stopped-no-capacity")}
    await client("start_instances", InstanceIds=[id])
    await client.until("running", id)
    assert await states(client) == {id: ("active", "fulfilled")}


async def test_requests(client: Client, cloud: Cloud, image: str) -> None:
    specification = {"ImageId": image, "InstanceType": "t3.nano", "Monitoring": {"Enabled": False}}
    made = await client("request_spot_instances", SpotPrice="0.005", InstanceCount=2, Type="one-time",
                        LaunchSpecification=specification)  # fmt: skip
    found = made["SpotInstanceRequests"]
    assert [(each["State"], each["LaunchSpecification"]["InstanceType"]) for each in found] == [
        ("active", "t3.nano")
    ] * 2
    for said, code in (
        ({"Type": "persistent"}, "UnsupportedOperation"),
        ({"LaunchSpecification": {}}, "MissingParameter"),
        ({"LaunchSpecification": {**specification, "InstanceType": "p5.48xlarge"}}, "InsufficientInstanceCapacity"),
    ):
        refused = await client.refused("request_spot_instances", **{"LaunchSpecification": specification, **said})
        assert refused[0] == code, refused
    stranger = await cloud.client(asker=await cloud.project("shop"))
    assert await states(stranger) == {}
    id = found[0]["SpotInstanceRequestId"]
    code, _ = await stranger.refused("cancel_spot_instance_requests", SpotInstanceRequestIds=[id])
    assert code == "InvalidSpotInstanceRequestID.NotFound"


async def test_another_market_is_refused(client: Client, image: str) -> None:
    market = {"MarketType": "capacity-block"}
    code, _ = await client.refused("run_instances", ImageId=image, **ONE, InstanceMarketOptions=market)
    assert code == "InvalidParameterValue"


@pytest.mark.parametrize("lifecycle", ["on-demand", "spot"])
async def test_a_fleet_takes_the_first_type_that_can_be_had(
    client: Client, cloud: Cloud, image: str, lifecycle: str
) -> None:
    await template(client, image)
    cloud.host.facts.has = replace(cloud.host.facts.has, cpus=4)
    overrides = [{"InstanceType": name} for name in ("m7i.4xlarge", "t3.small", "t3.micro")]
    fleet = await client(
        "create_fleet", Type="instant",
        TargetCapacitySpecification={"TotalTargetCapacity": 3, "DefaultTargetCapacityType": lifecycle},
        LaunchTemplateConfigs=[{"LaunchTemplateSpecification": {**WEB, "Version": "1"}, "Overrides": overrides}],
    )  # fmt: skip
    ((group,), (error,)) = fleet["Instances"], fleet["Errors"]
    assert (group["InstanceType"], len(group["InstanceIds"]), group["Lifecycle"]) == ("t3.small", 3, lifecycle)
    assert (error["ErrorCode"], "m7i.4xlarge" in error["ErrorMessage"]) == ("InsufficientInstanceCapacity", True)
    assert len(await states(client)) == (3 if lifecycle == "spot" else 0)
    code, _ = await client.refused(
        "create_fleet", TargetCapacitySpecification={"TotalTargetCapacity": 1},
        LaunchTemplateConfigs=[{"LaunchTemplateSpecification": WEB}],
    )  # fmt: skip
    assert code == "UnsupportedOperation"
