"""Launch templates and placement groups."""

from __future__ import annotations

from typing import Any

import pytest
from tests.doors.ec2.conftest import Client, Cloud
from tests.doors.ec2.test_launches import ONE, run

WEB = {"LaunchTemplateName": "web"}


async def template(client: Client, image: str, **said: Any) -> str:
    data = {"ImageId": image, "InstanceType": "t3.nano", **said}
    made = await client("create_launch_template", **WEB, LaunchTemplateData=data, VersionDescription="first")
    id: str = made["LaunchTemplate"]["LaunchTemplateId"]
    return id


async def types_of(client: Client, **said: Any) -> list[tuple[int, str]]:
    found = (await client("describe_launch_template_versions", **said))["LaunchTemplateVersions"]
    return [(each["VersionNumber"], each["LaunchTemplateData"].get("InstanceType", "")) for each in found]


async def test_a_template_says_what_the_request_does_not(client: Client, image: str) -> None:
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "from", "Value": "template"}]}]
    disks = [{"DeviceName": name, "Ebs": {"VolumeSize": size}} for name, size in (("/dev/sda1", 12), ("/dev/sdf", 1))]
    await template(client, image, TagSpecifications=tags, BlockDeviceMappings=disks, DisableApiTermination=True)
    larger = [{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 3}}]
    made = await client("run_instances", **ONE, LaunchTemplate=WEB, InstanceType="t3.small", BlockDeviceMappings=larger)
    (instance,) = made["Instances"]
    assert (instance["InstanceType"], instance["Tags"]) == ("t3.small", [{"Key": "from", "Value": "template"}])
    assert [each["DeviceName"] for each in instance["BlockDeviceMappings"]] == ["/dev/vda", "/dev/sdf"]
    told = await client("get_launch_template_data", InstanceId=instance["InstanceId"])
    assert told["LaunchTemplateData"]["InstanceType"] == "t3.small"
    assert (await client.refused("terminate_instances", InstanceIds=[instance["InstanceId"]]))[0] == (
        "OperationNotPermitted"
    )


async def test_versions(client: Client, image: str) -> None:
    id = await template(client, image)
    await client("create_launch_template_version", **WEB, SourceVersion="1",
                 LaunchTemplateData={"InstanceType": "t3.micro"})  # fmt: skip
    await client("create_launch_template_version", **WEB, LaunchTemplateData={"InstanceType": "t3.small"})
    assert await types_of(client, LaunchTemplateId=id) == [(1, "t3.nano"), (2, "t3.micro"), (3, "t3.small")]
    assert await types_of(client, LaunchTemplateId=id, Versions=["$Latest", "1"]) == [(1, "t3.nano"), (3, "t3.small")]
    assert await types_of(client, LaunchTemplateId=id, MinVersion="2") == [(2, "t3.micro"), (3, "t3.small")]
    assert await types_of(client, Versions=["$Default"]) == [(1, "t3.nano")]
    default = [{"Name": "is-default-version", "Values": ["true"]}]
    assert await types_of(client, LaunchTemplateId=id, Filters=default) == [(1, "t3.nano")]
    first = await client("describe_launch_template_versions", LaunchTemplateId=id, MaxResults=2)
    rest = await types_of(client, LaunchTemplateId=id, MaxResults=2, NextToken=first["NextToken"])
    assert rest == [(3, "t3.small")]
    code, _ = await client.refused("run_instances", **ONE, LaunchTemplate={**WEB, "Version": "$Latest"})
    assert code == "MissingParameter", "version 3 names no image"
    changed = await client("modify_launch_template", **WEB, DefaultVersion="2")
    assert changed["LaunchTemplate"]["DefaultVersionNumber"] == 2
    made = await client("run_instances", **ONE, LaunchTemplate={"LaunchTemplateId": id})
    assert made["Instances"][0]["InstanceType"] == "t3.micro"
    gone = await client("delete_launch_template_versions", **WEB, Versions=["1", "2", "9"])
    assert [each["VersionNumber"] for each in gone["SuccessfullyDeletedLaunchTemplateVersions"]] == [1]
    assert [each["VersionNumber"] for each in gone["UnsuccessfullyDeletedLaunchTemplateVersions"]] == [2, 9]
    await client("create_launch_template_version", **WEB, LaunchTemplateData={"InstanceType": "t3.large"})
    assert (await types_of(client, LaunchTemplateId=id))[-1] == (4, "t3.large")
    await client("delete_launch_template", **WEB)
    assert (await client("describe_launch_templates"))["LaunchTemplates"] == []


@pytest.mark.parametrize(
    ("operation", "said", "code"),
    [
        ("create_launch_template", {**WEB, "LaunchTemplateData": {"InstanceType": "t3.nano"}},
         "InvalidLaunchTemplateName.AlreadyExistsException"),
        ("create_launch_template", {"LaunchTemplateName": "a b", "LaunchTemplateData": {"InstanceType": "t3.nano"}},
         "InvalidLaunchTemplateName.MalformedException"),
        ("create_launch_template", {"LaunchTemplateName": "new", "LaunchTemplateData": {"KernelId": "aki-1"}},
         "UnsupportedOperation"),
        ("describe_launch_template_versions", {}, "MissingParameter"),
        ("describe_launch_template_versions", {**WEB, "Versions": ["7"]}, "InvalidLaunchTemplateId.VersionNotFound"),
        ("describe_launch_templates", {"LaunchTemplateNames": ["other"]},
         "InvalidLaunchTemplateName.NotFoundException"),
        ("delete_launch_template", {"LaunchTemplateId": "lt-0123456789abcdef0"}, "InvalidLaunchTemplateId.NotFound"),
        ("modify_launch_template", {"DefaultVersion": "1"}, "MissingParameter"),
    ],
)  # fmt: skip
async def test_what_is_not_there_is_refused(
    client: Client, image: str, operation: str, said: dict[str, Any], code: str
) -> None:
    await template(client, image)
    refused = await client.refused(operation, **said)
    assert refused[0] == code, refused


async def test_a_strangers_template_is_not_there(client: Client, cloud: Cloud, image: str) -> None:
    id = await template(client, image)
    stranger = await cloud.client(asker=await cloud.project("shop"))
    code, _ = await stranger.refused("delete_launch_template", LaunchTemplateId=id)
    assert code == "InvalidLaunchTemplateId.NotFound"
    assert (await stranger("describe_launch_templates"))["LaunchTemplates"] == []


async def test_placement_groups(client: Client, image: str) -> None:
    for name, strategy in (("near", "cluster"), ("apart", "spread"), ("parts", "partition")):
        await client("create_placement_group", GroupName=name, Strategy=strategy)
    code, _ = await client.refused("create_placement_group", GroupName="near", Strategy="cluster")
    assert code == "InvalidPlacementGroup.Duplicate"
    made = await run(client, image, Placement={"GroupName": "near"})
    assert made["Placement"]["GroupName"] == "near"
    await run(client, image, Placement={"GroupName": "near"})
    await run(client, image, Placement={"GroupName": "apart"})
    code, _ = await client.refused("run_instances", ImageId=image, **ONE, Placement={"GroupName": "apart"})
    assert code == "InsufficientInstanceCapacity"
    near = [{"Name": "placement-group-name", "Values": ["near"]}]
    assert len((await client("describe_instances", Filters=near))["Reservations"]) == 2
    assert (await client.refused("delete_placement_group", GroupName="near"))[0] == "InvalidPlacementGroup.InUse"
    await client("delete_placement_group", GroupName="parts")
    named = (await client("describe_placement_groups"))["PlacementGroups"]
    assert {each["GroupName"]: each["Strategy"] for each in named} == {"near": "cluster", "apart": "spread"}
