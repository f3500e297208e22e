"""Instances, as botocore's client sees them."""

from __future__ import annotations

import pytest
from tests.doors.ec2.conftest import Client, Cloud

from guesthouse.engine import intents
from guesthouse.formats.cloudids import ec2_id
from guesthouse.model.resources import Quota


async def test_an_instance_lives(client: Client, cloud: Cloud, image: str) -> None:
    network, subnet = await cloud.network()
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "Web"}, {"Key": "a b", "Value": "ü"}]}]
    made = await client(
        "run_instances", ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1,
        SubnetId=ec2_id("subnet", subnet), TagSpecifications=tags,
    )  # fmt: skip
    (instance,) = made["Instances"]
    assert (instance["State"]["Name"], instance["InstanceType"], instance["VpcId"]) == (
        "pending", "t3.micro", ec2_id("vpc", network),
    )  # fmt: skip
    assert {tag["Key"]: tag["Value"] for tag in instance["Tags"]} == {"Name": "Web", "a b": "ü"}
    id = instance["InstanceId"]
    running = await client.until("running", id)
    assert running["PrivateIpAddress"].startswith("10.0.0.")
    (machine,) = await cloud.engine.views.machines(cloud.asker)
    assert (machine.name, machine.vcpus, machine.memory_mib) == ("web", 2, 1024)
    await client("stop_instances", InstanceIds=[id])
    assert (await client.until("stopped", id))["State"] == {"Code": 80, "Name": "stopped"}
    await client("start_instances", InstanceIds=[id])
    await client.until("running", id)
    changes = await client("terminate_instances", InstanceIds=[id])
    assert changes["TerminatingInstances"][0]["PreviousState"]["Name"] == "running"
    gone = await client.until("terminated", id)
    assert gone["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert {tag["Key"] for tag in gone["Tags"]} == {"Name", "a b"}
    again = await client("terminate_instances", InstanceIds=[id])
    assert again["TerminatingInstances"][0]["CurrentState"]["Name"] == "terminated"


async def test_several_are_one_reservation_and_a_token_makes_them_once(client: Client, image: str) -> None:
    arguments = {"ImageId": image, "MinCount": 3, "MaxCount": 3, "ClientToken": "once"}
    first = await client("run_instances", **arguments)
    again = await client("run_instances", **arguments)
    assert [i["InstanceId"] for i in first["Instances"]] == [i["InstanceId"] for i in again["Instances"]]
    assert [i["AmiLaunchIndex"] for i in first["Instances"]] == [0, 1, 2]
    listed = await client("describe_instances")
    assert [r["ReservationId"] for r in listed["Reservations"]] == [first["ReservationId"]]
    code, _ = await client.refused("run_instances", **arguments | {"MaxCount": 4})
    assert code == "IdempotentParameterMismatch"


async def test_a_dry_run_makes_nothing(client: Client, image: str) -> None:
    arguments = {"ImageId": image, "MinCount": 1, "MaxCount": 1, "DryRun": True}
    assert (await client.refused("run_instances", **arguments))[0] == "DryRunOperation"
    code, _ = await client.refused("run_instances", **arguments | {"ImageId": "ami-00000000000000000"})
    assert code == "InvalidAMIID.NotFound"
    assert (await client("describe_instances"))["Reservations"] == []


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"instance-state-name": ["running"]}, ["web", "db"]),
        ({"tag:Name": ["w*"]}, ["web"]),
        ({"tag-key": ["Name"], "instance-type": ["t3.*"]}, ["web", "db"]),
        ({"tag:Name": ["web", "db"], "reservation-id": ["r-*"]}, ["web", "db"]),
        ({"tag:Name": ["\\*"]}, []),
    ],
)
async def test_filters(client: Client, image: str, filters: dict[str, list[str]], found: list[str]) -> None:
    for name in ("web", "db"):
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": name}]}]
        made = await client("run_instances", ImageId=image, MinCount=1, MaxCount=1, TagSpecifications=tags)
        await client.until("running", made["Instances"][0]["InstanceId"])
    wire = [{"Name": name, "Values": values} for name, values in filters.items()]
    listed = await client("describe_instances", Filters=wire)
    assert [i["Tags"][0]["Value"] for r in listed["Reservations"] for i in r["Instances"]] == found


async def test_pages(client: Client, image: str) -> None:
    await client("run_instances", ImageId=image, MinCount=7, MaxCount=7)
    seen, token = [], {}
    for expected in (3, 3, 1):
        page = await client("describe_instances", MaxResults=3, **token)
        ids = [i["InstanceId"] for r in page["Reservations"] for i in r["Instances"]]
        assert len(ids) == expected
        seen += ids
        token = {"NextToken": page.get("NextToken")}
    assert token == {"NextToken": None}
    assert len(set(seen)) == 7


async def test_as_many_are_launched_as_there_is_room_for(client: Client, cloud: Cloud, image: str) -> None:
    await cloud.engine.accept(cloud.asker, intents.ProjectChange(project="default", quota=Quota(machines=5)))
    made = await client("run_instances", ImageId=image, MinCount=1, MaxCount=16)
    assert len(made["Instances"]) == 5
    assert (await client.refused("run_instances", ImageId=image, MinCount=1, MaxCount=2))[0] == "InstanceLimitExceeded"
    much = {"ImageId": image, "MinCount": 1, "MaxCount": 2_000_000_000}
    assert (await client.refused("run_instances", **much))[0] == "InstanceLimitExceeded"
