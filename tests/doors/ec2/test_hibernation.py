"""Instances that are hibernated, as EC2's clients ask for it."""

from __future__ import annotations

import pytest
from tests.doors.ec2.conftest import Client, Cloud

ONE = {"MinCount": 1, "MaxCount": 1}
CONFIGURED = {"HibernationOptions": {"Configured": True}}


async def launched(client: Client, image: str, **said: object) -> str:
    """The id of an instance that runs."""
    id: str = (await client("run_instances", ImageId=image, **ONE, **said))["Instances"][0]["InstanceId"]
    await client.until("running", id)
    return id


async def test_an_instance_is_hibernated_and_goes_on(client: Client, cloud: Cloud, image: str) -> None:
    id = await launched(client, image, **CONFIGURED)
    only = [{"Name": "hibernation-options.configured", "Values": ["true"]}]
    found = await client("describe_instances", Filters=only)
    assert [each["InstanceId"] for all in found["Reservations"] for each in all["Instances"]] == [id]
    (stopping,) = (await client("stop_instances", InstanceIds=[id], Hibernate=True))["StoppingInstances"]
    assert stopping["PreviousState"]["Name"] == "running"
    instance = await client.until("stopped", id)
    assert instance["HibernationOptions"] == {"Configured": True}
    assert instance["StateReason"] == {
        "Code": "Client.UserInitiatedHibernate",
        "Message": "Client.UserInitiatedHibernate: User initiated hibernate",
    }
    code, message = await client.refused("modify_instance_attribute", InstanceId=id, InstanceType={"Value": "t3.small"})
    assert (code, "hibernated" in message) == ("IncorrectInstanceState", True)
    await client("create_tags", Resources=[id], Tags=[{"Key": "a", "Value": "b"}])
    await client("start_instances", InstanceIds=[id])
    await client.until("running", id)
    assert len(cloud.host.machines.restored) == 1
    # Another time it is merely stopped, and boots.
    await client("stop_instances", InstanceIds=[id])
    instance = await client.until("stopped", id)
    assert instance["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    await client("start_instances", InstanceIds=[id])
    await client.until("running", id)
    assert len(cloud.host.machines.restored) == 1


async def test_one_that_is_hibernated_can_be_terminated_and_leave_a_volume(client: Client, image: str) -> None:
    kept = [{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1, "DeleteOnTermination": False}}]
    id = await launched(client, image, BlockDeviceMappings=kept, **CONFIGURED)
    await client("stop_instances", InstanceIds=[id], Hibernate=True)
    await client.until("stopped", id)
    await client("terminate_instances", InstanceIds=[id])
    await client.until("terminated", id)
    (volume,) = (await client("describe_volumes"))["Volumes"]
    assert volume["State"] == "available"


@pytest.mark.parametrize(
    ("launch", "stop", "code"),
    [
        ({}, {"Hibernate": True}, "UnsupportedHibernationConfiguration"),
        ({"HibernationOptions": {"Configured": False}}, {"Hibernate": True}, "UnsupportedHibernationConfiguration"),
        (CONFIGURED, {"Hibernate": True, "Force": True}, "InvalidParameterCombination"),
    ],
)
async def test_what_cannot_be_hibernated(
    client: Client, image: str, launch: dict[str, object], stop: dict[str, object], code: str
) -> None:
    id = await launched(client, image, **launch)
    assert (await client.refused("stop_instances", InstanceIds=[id], **stop))[0] == code
    (instance,) = (await client("describe_instances", InstanceIds=[id]))["Reservations"][0]["Instances"]
    assert instance["State"]["Name"] == "running"


async def test_a_stranger_hibernates_nothing(client: Client, cloud: Cloud, image: str) -> None:
    id = await launched(client, image, **CONFIGURED)
    stranger = await cloud.client(asker=await cloud.project("others"))
    code, _ = await stranger.refused("stop_instances", InstanceIds=[id], Hibernate=True)
    assert code == "InvalidInstanceID.NotFound"


async def test_a_launch_template_says_it(client: Client, cloud: Cloud, image: str) -> None:
    said = {"ImageId": image, **CONFIGURED}
    await client("create_launch_template", LaunchTemplateName="sleepy", LaunchTemplateData=said)
    launched = await client("run_instances", LaunchTemplate={"LaunchTemplateName": "sleepy"}, **ONE)
    id = launched["Instances"][0]["InstanceId"]
    assert launched["Instances"][0]["HibernationOptions"] == {"Configured": True}
    data = (await client("get_launch_template_data", InstanceId=id))["LaunchTemplateData"]
    assert data["HibernationOptions"] == {"Configured": True}
    types = await client("describe_instance_types", Filters=[{"Name": "hibernation-supported", "Values": ["true"]}])
    assert types["InstanceTypes"]
