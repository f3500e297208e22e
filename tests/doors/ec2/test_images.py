"""AMIs and snapshots, as botocore's client sees them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.doors.ec2.conftest import Client, Cloud

from guesthouse.engine import intents
from guesthouse.formats.cloudids import account, ec2_id
from guesthouse.model.errors import NoCapacity
from guesthouse.model.machine import DiskSpec, MachineSpec

QUICK = {"Delay": 0.05, "MaxAttempts": 200}


async def machine(cloud: Cloud, name: str = "web") -> str:
    """An instance with a root and a data volume."""
    spec = MachineSpec(name=name, memory_mib=128, disks=(DiskSpec(name="data", size_mib=2048),))
    made = await cloud.done(intents.Launch(spec=spec))
    return ec2_id("i", made.subject)


async def waited(client: Client, waiter: str, **arguments: Any) -> None:
    await asyncio.to_thread(client.plain.get_waiter(waiter).wait, WaiterConfig=QUICK, **arguments)


async def volumes(client: Client) -> list[str]:
    return [volume["VolumeId"] for volume in (await client("describe_volumes"))["Volumes"]]


async def test_an_image_of_an_instance_has_snapshots_of_all_its_volumes(client: Client, cloud: Cloud) -> None:
    instance = await machine(cloud)
    tags = [
        {"ResourceType": "image", "Tags": [{"Key": "Name", "Value": "golden"}]},
        {"ResourceType": "snapshot", "Tags": [{"Key": "of", "Value": "golden"}]},
    ]
    before = (await cloud.engine.views.machine(cloud.asker, "web")).machine
    id = (await client("create_image", InstanceId=instance, Name="My Golden (1)", TagSpecifications=tags))["ImageId"]
    await waited(client, "image_available", ImageIds=[id])
    (found,) = (await client("describe_images", Owners=["self"], Filters=[{"Name": "name", "Values": ["My *"]}]))[
        "Images"
    ]
    assert (found["ImageId"], found["Name"], found["SourceInstanceId"]) == (id, "My Golden (1)", instance)
    assert (found["State"], found["Public"], found["Tags"]) == (
        "available",
        False,
        [{"Key": "Name", "Value": "golden"}],
    )
    root, data = found["BlockDeviceMappings"]
    assert (found["RootDeviceName"], data["DeviceName"], data["Ebs"]["VolumeSize"]) == (
        root["DeviceName"],
        "/dev/vdb",
        2,
    )
    snapshots = (await client("describe_snapshots", OwnerIds=["self"]))["Snapshots"]
    assert [each["SnapshotId"] for each in snapshots] == [root["Ebs"]["SnapshotId"], data["Ebs"]["SnapshotId"]]
    assert {each["VolumeId"] for each in snapshots} == set(await volumes(client))
    assert all(each["Tags"] == [{"Key": "of", "Value": "golden"}] for each in snapshots)
    await client.until("running", instance)
    after = (await cloud.engine.views.machine(cloud.asker, "web")).machine
    assert after.restart_epoch == before.restart_epoch + 1, "it was rebooted for that"
    code, _ = await client.refused("create_image", InstanceId=instance, Name="My Golden (1)")
    assert code == "InvalidAMIName.Duplicate"
    assert (await client.refused("create_image", InstanceId=instance, Name="x"))[0] == "InvalidAMIName.Malformed"


async def test_without_a_reboot_the_instance_runs_on_and_devices_are_left_out(client: Client, cloud: Cloud) -> None:
    instance = await machine(cloud)
    before = (await cloud.engine.views.machine(cloud.asker, "web")).machine
    left_out = [{"DeviceName": "/dev/vdb", "NoDevice": ""}, {"DeviceName": "/dev/sdz", "Ebs": {"VolumeSize": 3}}]
    made = await client(
        "create_image", InstanceId=instance, Name="one", NoReboot=True, BlockDeviceMappings=left_out, Description="d"
    )
    await waited(client, "image_available", ImageIds=[made["ImageId"]])
    (found,) = (await client("describe_images", ImageIds=[made["ImageId"]]))["Images"]
    assert [each["DeviceName"] for each in found["BlockDeviceMappings"]] == ["/dev/vda", "/dev/sdz"]
    assert found["Description"] == "d"
    after = (await cloud.engine.views.machine(cloud.asker, "web")).machine
    assert (after.restart_epoch, after.status.pid) == (before.restart_epoch, before.status.pid)
    launched = await client("run_instances", ImageId=made["ImageId"], MinCount=1, MaxCount=1)
    await client.until("running", launched["Instances"][0]["InstanceId"])
    await client("deregister_image", ImageId=made["ImageId"])
    there = (await client("describe_images", Owners=["self"]))["Images"]
    assert made["ImageId"] not in {each["ImageId"] for each in there}
    code, _ = await client.refused("run_instances", ImageId=made["ImageId"], MinCount=1, MaxCount=1)
    assert code in ("InvalidAMIID.NotFound", "InvalidAMIID.Unavailable")
    assert len((await client("describe_snapshots", OwnerIds=["self"]))["Snapshots"]) == 1, "it stays"


async def test_an_image_that_fails_says_why(client: Client, cloud: Cloud) -> None:
    instance = await machine(cloud)
    cloud.host.images.faults["copy"] = NoCapacity("the disk of this host is full")
    id = (await client("create_image", InstanceId=instance, Name="one", NoReboot=True))["ImageId"]

    async def state() -> Any:
        (found,) = (await client("describe_images", ImageIds=[id]))["Images"]
        return found

    async with asyncio.timeout(20):
        while (found := await state())["State"] == "pending":
            await asyncio.sleep(0.02)
    assert (found["State"], found["Name"]) == ("failed", "one")
    assert "was not made" in found["StateReason"]["Message"]
    errors = (await client("describe_snapshots", Filters=[{"Name": "status", "Values": ["error"]}]))["Snapshots"]
    assert {each["StateMessage"] for each in errors} == {"the disk of this host is full"}


async def test_a_snapshot_becomes_an_image_again(client: Client, cloud: Cloud) -> None:
    await machine(cloud)
    root, data = await volumes(client)
    made = await client("create_snapshot", VolumeId=root, Description="before")
    assert (made["State"], made["VolumeId"], made["Description"]) == ("pending", root, "before")
    second = (await client("create_snapshot", VolumeId=data))["SnapshotId"]
    await waited(client, "snapshot_completed", SnapshotIds=[made["SnapshotId"], second])
    devices = [
        {"DeviceName": "/dev/sdb", "Ebs": {"SnapshotId": second, "DeleteOnTermination": False}},
        {"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": made["SnapshotId"]}},
    ]
    image = await client("register_image", Name="again", RootDeviceName="/dev/sda1", BlockDeviceMappings=devices,
                         Architecture="x86_64", VirtualizationType="hvm")  # fmt: skip
    await waited(client, "image_available", ImageIds=[image["ImageId"]])
    (found,) = (await client("describe_images", ImageIds=[image["ImageId"]]))["Images"]
    assert [each["Ebs"]["SnapshotId"] for each in found["BlockDeviceMappings"]] == [made["SnapshotId"], second]
    assert (await client.refused("delete_snapshot", SnapshotId=second))[0] == "InvalidSnapshot.InUse"
    gone = await client("deregister_image", ImageId=image["ImageId"], DeleteAssociatedSnapshots=True)
    assert {each["ReturnCode"] for each in gone["DeleteSnapshotResults"]} == {"success"}
    code, _ = await client.refused("describe_snapshots", SnapshotIds=[second])
    assert code == "InvalidSnapshot.NotFound"
    assert (await client.refused("register_image", Name="none", BlockDeviceMappings=[]))[
        0
    ] == "InvalidBlockDeviceMapping"


async def test_an_instance_of_an_image_has_all_its_devices(client: Client, cloud: Cloud) -> None:
    instance = await machine(cloud)
    image = (await client("create_image", InstanceId=instance, Name="both", NoReboot=True))["ImageId"]
    await waited(client, "image_available", ImageIds=[image])
    before = set(await volumes(client))

    async def launched(**more: Any) -> list[tuple[str, int, str, bool]]:
        made = await client("run_instances", ImageId=image, MinCount=1, MaxCount=1, InstanceType="t3.nano", **more)
        wanted = [{"Name": "attachment.instance-id", "Values": [made["Instances"][0]["InstanceId"]]}]
        found = (await client("describe_volumes", Filters=wanted))["Volumes"]
        return [
            (there["Device"], each["Size"], each["SnapshotId"], there["DeleteOnTermination"])
            for each in found
            for there in each["Attachments"]
        ]

    root, data = (await client("describe_snapshots", OwnerIds=["self"]))["Snapshots"]
    first, second = await launched()
    assert first[1:] == (10, root["SnapshotId"], True)
    assert second == ("/dev/vdb", 2, data["SnapshotId"], True)
    larger = [{"DeviceName": "/dev/vdb", "Ebs": {"VolumeSize": 4, "DeleteOnTermination": False}}]
    assert (await launched(BlockDeviceMappings=larger))[1] == ("/dev/vdb", 4, data["SnapshotId"], False)
    assert len(await launched(BlockDeviceMappings=[{"DeviceName": "/dev/vdb", "NoDevice": ""}])) == 1
    more = [{"DeviceName": "/dev/sdf", "Ebs": {"SnapshotId": data["SnapshotId"]}}]
    assert [each[0] for each in await launched(BlockDeviceMappings=more)] == ["/dev/vda", "/dev/vdb", "/dev/sdf"]
    assert len(set(await volumes(client)) - before) == 8
    small = [{"DeviceName": "/dev/vdb", "Ebs": {"SnapshotId": "snap-00000000000000000"}}]
    arguments = {"ImageId": image, "MinCount": 1, "MaxCount": 1, "BlockDeviceMappings": small}
    assert (await client.refused("run_instances", **arguments))[0] == "InvalidSnapshot.NotFound"


async def test_tags_are_put_on_each_alone(client: Client, cloud: Cloud) -> None:
    instance = await machine(cloud)
    image = (await client("create_image", InstanceId=instance, Name="one", NoReboot=True))["ImageId"]
    root, _ = (each["SnapshotId"] for each in (await client("describe_snapshots"))["Snapshots"])
    await client("create_tags", Resources=[image], Tags=[{"Key": "a", "Value": "1"}])
    await client("create_tags", Resources=[root], Tags=[{"Key": "b", "Value": "2"}])
    (found,) = (await client("describe_images", ImageIds=[image]))["Images"]
    (snapshot,) = (await client("describe_snapshots", SnapshotIds=[root]))["Snapshots"]
    assert (found["Tags"], snapshot["Tags"]) == ([{"Key": "a", "Value": "1"}], [{"Key": "b", "Value": "2"}])
    tags = (await client("describe_tags"))["Tags"]
    assert {(each["ResourceId"], each["ResourceType"]) for each in tags} == {(image, "image"), (root, "snapshot")}
    await waited(client, "image_available", ImageIds=[image])


async def test_a_parameter_stands_for_the_newest_of_a_family(client: Client, cloud: Cloud, image: str) -> None:
    arguments = {"MinCount": 1, "MaxCount": 1}
    made = await client("run_instances", ImageId="resolve:ssm:/aws/service/guesthouse/images/micro", **arguments)
    assert made["Instances"][0]["ImageId"] == image
    await cloud.done(intents.ImagePull(reference="debian:12"))
    made = await client("run_instances", ImageId="resolve:ssm:/aws/service/debian/release/12/latest/amd64", **arguments)
    (debian,) = (await client("describe_images", Filters=[{"Name": "name", "Values": ["debian:12"]}]))["Images"]
    assert made["Instances"][0]["ImageId"] == debian["ImageId"]
    code, _ = await client.refused("run_instances", ImageId="resolve:ssm:/aws/service/else", **arguments)
    assert code == "InvalidParameterValue"


async def test_parameters_are_told_as_systems_manager_tells_them(client: Client, cloud: Cloud, image: str) -> None:
    ssm = await cloud.client("ssm")
    name = "/aws/service/guesthouse/images/micro"
    told = (await ssm("get_parameter", Name=name))["Parameter"]
    assert (told["Value"], told["DataType"], told["Type"]) == (image, "aws:ec2:image", "String")
    several = await ssm("get_parameters", Names=[name, "/aws/service/else"])
    assert ([each["Value"] for each in several["Parameters"]], several["InvalidParameters"]) == (
        [image], ["/aws/service/else"],
    )  # fmt: skip
    below = await ssm("get_parameters_by_path", Path="/aws/service/guesthouse/images/", Recursive=True)
    assert [each["Name"] for each in below["Parameters"]] == [name]
    assert (await ssm.refused("get_parameter", Name="/aws/service/else"))[0] == "ParameterNotFound"
    many = [f"/aws/service/{number}" for number in range(11)]
    assert (await ssm.refused("get_parameters", Names=many))[0] == "ValidationException"
    assert (await ssm.refused("put_parameter", Name="x", Value="y"))[0] == "UnknownOperationException"
    code, message = await ssm.refused("get_parameters_by_path", Path="/", MaxResults=3)
    assert (code, "MaxResults" in message) == ("ValidationException", True)
    stranger = cloud.client_with("GHAKAAAAAAAAAAAAAAAA", "no secret", "ssm")
    assert (await stranger.refused("get_parameter", Name=name))[0] == "AuthFailure"


async def test_snapshots_of_an_instance_are_of_one_moment(client: Client, cloud: Cloud) -> None:
    instance = await machine(cloud)
    gate = cloud.host.images.gates["copy"] = asyncio.Event()
    made = await client("create_snapshots", InstanceSpecification={"InstanceId": instance}, Description="both")
    assert [each["State"] for each in made["Snapshots"]] == ["pending", "pending"]
    assert {each["VolumeId"] for each in made["Snapshots"]} == set(await volumes(client))
    found = await cloud.engine.views.snapshots(cloud.asker, "web")
    assert len(found.rows) == 1
    (id, other) = (each["SnapshotId"] for each in made["Snapshots"])
    await client("delete_snapshot", SnapshotId=other)
    gate.set()
    await waited(client, "snapshot_completed", SnapshotIds=[id])
    data = {"InstanceId": instance, "ExcludeBootVolume": True}
    assert len((await client("create_snapshots", InstanceSpecification=data))["Snapshots"]) == 1


async def test_images_are_shared_with_one_account_alone(client: Client, cloud: Cloud) -> None:
    await machine(cloud)
    (root, _) = await volumes(client)
    snapshot = (await client("create_snapshot", VolumeId=root))["SnapshotId"]
    await waited(client, "snapshot_completed", SnapshotIds=[snapshot])
    device = [{"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": snapshot}}]
    image = (await client("register_image", Name="golden", BlockDeviceMappings=device))["ImageId"]
    await waited(client, "image_available", ImageIds=[image])
    shop, thief = await cloud.project("shop"), await cloud.project("thief")
    other, stranger = await cloud.client(asker=shop), await cloud.client(asker=thief)
    number = account((await cloud.engine.views.project(shop, "shop")).project.number)
    for each in (other, stranger):
        assert (await each.refused("describe_images", ImageIds=[image]))[0] == "InvalidAMIID.NotFound"
    await client("modify_image_attribute", ImageId=image, LaunchPermission={"Add": [{"UserId": number}]})
    await client("modify_snapshot_attribute", SnapshotId=snapshot, Attribute="createVolumePermission",
                 OperationType="add", UserIds=[number])  # fmt: skip
    told = await client("describe_image_attribute", ImageId=image, Attribute="launchPermission")
    assert told["LaunchPermissions"] == [{"UserId": number}]
    told = await client("describe_snapshot_attribute", SnapshotId=snapshot, Attribute="createVolumePermission")
    assert told["CreateVolumePermissions"] == [{"UserId": number}]
    (seen,) = (await other("describe_images", ExecutableUsers=["self"]))["Images"]
    assert (seen["ImageId"], seen["OwnerId"]) == (image, account(0))
    assert len((await other("describe_snapshots", RestorableByUserIds=["self"]))["Snapshots"]) == 1
    assert (await other("describe_images", Owners=["self"]))["Images"] == []
    assert (await stranger.refused("describe_images", ImageIds=[image]))[0] == "InvalidAMIID.NotFound"
    refused = {"CreateVolume": {"SnapshotId": snapshot, "AvailabilityZone": "local-1a"}}["CreateVolume"]
    assert (await stranger.refused("create_volume", **refused))[0] == "InvalidSnapshot.NotFound"
    await other("create_volume", **refused)
    for operation in ("deregister_image", "modify_image_attribute", "reset_image_attribute"):
        more = {"Attribute": "launchPermission"} if "reset" in operation else {}
        more |= {"Description": {"Value": "x"}} if "modify" in operation else {}
        assert (await other.refused(operation, ImageId=image, **more))[0] == "AuthFailure", operation
    copied = (await other("copy_image", SourceImageId=image, SourceRegion="local-1", Name="ours"))["ImageId"]
    await waited(other, "image_available", ImageIds=[copied])
    await client("reset_image_attribute", ImageId=image, Attribute="launchPermission")
    assert [each["ImageId"] for each in (await other("describe_images", Owners=["self"]))["Images"]] == [copied]
    assert (await other.refused("describe_images", ImageIds=[image]))[0] == "InvalidAMIID.NotFound"
    code, _ = await client.refused("modify_image_attribute", ImageId=image,
                                   LaunchPermission={"Add": [{"UserId": "999999999999"}]})  # fmt: skip
    assert code == "InvalidAMIAttributeItemValue"


async def test_only_operators_of_the_house_make_images_public(cloud: Cloud, client: Client, image: str) -> None:
    everybody = {"Add": [{"Group": "all"}]}
    (found,) = (await client("describe_images", Owners=["amazon"]))["Images"]
    assert (found["ImageId"], found["Public"]) == (image, True)
    copied = (await client("copy_image", SourceImageId=image, SourceRegion="local-1", Name="mine"))["ImageId"]
    await waited(client, "image_available", ImageIds=[copied])
    code, _ = await client.refused("modify_image_attribute", ImageId=copied, LaunchPermission=everybody)
    assert code == "UnauthorizedOperation"


@pytest.mark.parametrize(
    ("operation", "arguments", "code"),
    [
        ("create_snapshot", {"VolumeId": "vol-00000000000000000"}, "InvalidVolume.NotFound"),
        ("create_snapshot", {"VolumeId": "nonsense"}, "InvalidParameterValue"),
        ("delete_snapshot", {"SnapshotId": "snap-00000000000000000"}, "InvalidSnapshot.NotFound"),
        ("deregister_image", {"ImageId": "ami-1"}, "InvalidAMIID.Malformed"),
        ("create_image", {"InstanceId": "i-00000000000000000", "Name": "abc"}, "InvalidInstanceID.NotFound"),
        ("copy_image", {"SourceImageId": "ami-00000000000000000", "SourceRegion": "mars", "Name": "abc"},
         "InvalidParameterValue"),
        ("register_image", {"Name": "abc", "KernelId": "aki-1"}, "UnsupportedOperation"),
    ],
)  # fmt: skip
async def test_what_cannot_be_is_refused(client: Client, operation: str, arguments: dict[str, Any], code: str) -> None:
    assert (await client.refused(operation, **arguments))[0] == code
