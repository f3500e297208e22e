"""Volumes, as botocore's client sees them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.doors.ec2.conftest import Client, Cloud
from tests.doors.ec2.test_images import machine, volumes, waited

from guesthouse.engine import intents
from guesthouse.formats.cloudids import ec2_id
from guesthouse.model.errors import NoCapacity

ZONE = {"AvailabilityZone": "local-1a"}


async def volume(client: Client, id: str) -> dict[str, Any]:
    (found,) = (await client("describe_volumes", VolumeIds=[id]))["Volumes"]
    return found


async def test_a_volume_lives(client: Client, image: str) -> None:
    launched = await client("run_instances", ImageId=image, MinCount=1, MaxCount=1)
    instance = launched["Instances"][0]["InstanceId"]
    await client.until("running", instance)
    tags = [{"ResourceType": "volume", "Tags": [{"Key": "Name", "Value": "data"}]}]
    made = await client("create_volume", Size=3, VolumeType="gp3", Iops=4000, TagSpecifications=tags, **ZONE)
    id = made["VolumeId"]
    assert (made["State"], made["Size"], made["VolumeType"], made["Iops"]) == ("creating", 3, "gp3", 4000)
    await waited(client, "volume_available", VolumeIds=[id])
    attached = await client("attach_volume", VolumeId=id, InstanceId=instance, Device="/dev/sdf")
    assert (attached["State"], attached["Device"]) == ("attaching", "/dev/sdf")
    await waited(client, "volume_in_use", VolumeIds=[id])

    async def is_attached() -> bool:
        (there,) = (await volume(client, id))["Attachments"]
        return (there["State"], there["Device"], there["DeleteOnTermination"]) == ("attached", "/dev/sdf", False)

    async with asyncio.timeout(20):
        while not await is_attached():
            await asyncio.sleep(0.02)
    filters = [{"Name": "attachment.instance-id", "Values": [instance]}, {"Name": "tag:Name", "Values": ["data"]}]
    assert [each["VolumeId"] for each in (await client("describe_volumes", Filters=filters))["Volumes"]] == [id]
    assert (await client.refused("delete_volume", VolumeId=id))[0] == "VolumeInUse"
    again = {"VolumeId": id, "InstanceId": instance, "Device": "/dev/sdg"}
    assert (await client.refused("attach_volume", **again))[0] == "VolumeInUse"
    grown = (await client("modify_volume", VolumeId=id, Size=5))["VolumeModification"]
    assert (grown["OriginalSize"], grown["TargetSize"], grown["TargetVolumeType"]) == (3, 5, "gp3")

    async def modification() -> str:
        (found,) = (await client("describe_volumes_modifications", VolumeIds=[id]))["VolumesModifications"]
        return str(found["ModificationState"])

    async with asyncio.timeout(20):
        while await modification() != "completed":
            await asyncio.sleep(0.02)
    assert (await volume(client, id))["Size"] == 5
    detached = await client("detach_volume", VolumeId=id)
    assert (detached["State"], detached["InstanceId"]) == ("detaching", instance)
    await waited(client, "volume_available", VolumeIds=[id])
    await client("attach_volume", VolumeId=id, InstanceId=instance, Device="/dev/sdf")
    await waited(client, "volume_in_use", VolumeIds=[id])
    await client("terminate_instances", InstanceIds=[instance])
    await client.until("terminated", instance)
    assert await volumes(client) == [id], "it outlasts its instance"
    await client("delete_volume", VolumeId=id)
    await waited(client, "volume_deleted", VolumeIds=[id])


async def test_a_volume_of_a_snapshot_outlasts_it(client: Client, cloud: Cloud) -> None:
    await machine(cloud)
    (_, data) = await volumes(client)
    snapshot = (await client("create_snapshot", VolumeId=data))["SnapshotId"]
    await waited(client, "snapshot_completed", SnapshotIds=[snapshot])
    made = await client("create_volume", SnapshotId=snapshot, ClientToken="once", **ZONE)
    again = await client("create_volume", SnapshotId=snapshot, ClientToken="once", **ZONE)
    assert (made["SnapshotId"], again["VolumeId"]) == (snapshot, made["VolumeId"])
    await waited(client, "volume_available", VolumeIds=[made["VolumeId"]])
    await client("delete_snapshot", SnapshotId=snapshot)
    assert (await client("describe_snapshots", OwnerIds=["self"]))["Snapshots"] == []
    assert (await volume(client, made["VolumeId"]))["State"] == "available"
    second = (await client("create_snapshot", VolumeId=made["VolumeId"]))["SnapshotId"]
    await waited(client, "snapshot_completed", SnapshotIds=[second])


async def test_clients_do_not_wait_between_a_snapshot_and_what_follows(client: Client, cloud: Cloud) -> None:
    instance = await machine(cloud)
    (root, _) = await volumes(client)
    id = (await client("create_volume", Size=1, **ZONE))["VolumeId"]
    await waited(client, "volume_available", VolumeIds=[id])
    await client("create_snapshot", VolumeId=id)
    await client("attach_volume", VolumeId=id, InstanceId=instance, Device="/dev/sdf")
    await client("create_snapshot", VolumeId=id)
    await client("create_snapshot", VolumeId=root)
    await client("detach_volume", VolumeId=id)
    await client("stop_instances", InstanceIds=[instance], Force=True)
    await client.until("stopped", instance)
    await client("create_snapshot", VolumeId=root)
    await client("create_image", InstanceId=instance, Name="at rest")
    await client("start_instances", InstanceIds=[instance])
    await client.until("running", instance)
    await waited(client, "snapshot_completed", OwnerIds=["self"])
    assert len((await client("describe_snapshots", OwnerIds=["self"]))["Snapshots"]) == 6


async def test_the_root_volume_leaves_a_stopped_instance_alone(client: Client, cloud: Cloud) -> None:
    instance = await machine(cloud)
    (root, _) = await volumes(client)
    assert (await volume(client, root))["Attachments"][0]["Device"] == "/dev/vda"
    code, _ = await client.refused("detach_volume", VolumeId=root)
    assert code == "OperationNotPermitted"
    taken = {"VolumeId": (await client("create_volume", Size=1, **ZONE))["VolumeId"], "InstanceId": instance}
    code, _ = await client.refused("attach_volume", Device="/dev/vda", **taken)
    assert code == "InvalidParameterValue"
    code, _ = await client.refused("detach_volume", VolumeId=root, Device="/dev/sdx")
    assert code == "InvalidAttachment.NotFound"
    (status,) = (await client("describe_volume_status", VolumeIds=[root]))["VolumeStatuses"]
    assert (status["VolumeStatus"]["Status"], status["AttachmentStatuses"][0]["InstanceId"]) == ("ok", instance)


async def test_one_that_cannot_be_made_says_so(client: Client, cloud: Cloud) -> None:
    cloud.host.disks.faults["make"] = NoCapacity("the disk of this host is full")
    id = (await client("create_volume", Size=1, **ZONE))["VolumeId"]
    async with asyncio.timeout(20):
        while (found := await volume(client, id))["State"] == "creating":
            await asyncio.sleep(0.02)
    assert found["State"] == "error"


async def test_a_strangers_volume_is_not_there(client: Client, cloud: Cloud) -> None:
    shop = await cloud.project("shop")
    disk = await cloud.done(intents.DiskCreate(name="theirs", size_mib=1024), shop)
    for operation, more in (
        ("create_snapshot", {}), ("delete_volume", {}), ("modify_volume", {"Size": 9}), ("detach_volume", {}),
    ):  # fmt: skip
        code, _ = await client.refused(operation, VolumeId=ec2_id("vol", disk.subject), **more)
        assert code == "InvalidVolume.NotFound", operation


@pytest.mark.parametrize(
    ("operation", "arguments", "code"),
    [
        ("create_volume", {"Size": 1, "AvailabilityZone": "us-east-1a"}, "InvalidZone.NotFound"),
        ("create_volume", {"Size": 1}, "MissingParameter"),
        ("create_volume", dict(ZONE), "MissingParameter"),
        ("create_volume", {"Size": 1, "Encrypted": True, **ZONE}, "UnsupportedOperation"),
        ("create_volume", {"Size": 1, "VolumeType": "gp9", **ZONE}, "InvalidParameterValue"),
        ("create_volume", {"Size": 1, "DryRun": True, **ZONE}, "DryRunOperation"),
        ("detach_volume", {"VolumeId": "vol-00000000000000000", "Force": True}, "UnsupportedOperation"),
    ],
)
async def test_what_cannot_be_is_refused(client: Client, operation: str, arguments: dict[str, Any], code: str) -> None:
    assert (await client.refused(operation, **arguments))[0] == code
    assert (await client("describe_volumes"))["Volumes"] == []
