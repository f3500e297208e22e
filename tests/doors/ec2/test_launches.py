"""RunInstances, argument by argument: what the machine is then, and what is refused by name."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest
from tests.doors.ec2.conftest import Client, Cloud
from tests.hosts import NO_NETWORKS

from guesthouse.engine import network_intents
from guesthouse.formats.cloudids import ec2_id
from guesthouse.model.machine import Datasource, Machine, OnShutdown

ONE = {"MinCount": 1, "MaxCount": 1}


async def run(client: Client, image: str, **said: Any) -> dict[str, Any]:
    answer = await client("run_instances", ImageId=image, **{**ONE, **said})
    found: dict[str, Any] = answer["Instances"][0]
    return found


async def the_machine(cloud: Cloud) -> Machine:
    (row,) = await cloud.engine.views.machines(cloud.asker)
    return (await cloud.engine.views.machine(cloud.asker, row.id)).machine


async def test_disks_are_devices(client: Client, cloud: Cloud, image: str) -> None:
    mappings = [
        {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 20, "VolumeType": "gp3"}},
        {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1}},
        {"DeviceName": "xvdg", "Ebs": {"VolumeSize": 2, "DeleteOnTermination": True}},
    ]
    tags = [{"ResourceType": kind, "Tags": [{"Key": "for", "Value": kind}]} for kind in ("instance", "volume")]
    made = await run(client, image, BlockDeviceMappings=mappings, TagSpecifications=tags)
    shown = {each["DeviceName"]: each["Ebs"]["DeleteOnTermination"] for each in made["BlockDeviceMappings"]}
    assert shown == {"/dev/vda": True, "/dev/sdf": False, "/dev/xvdg": True}
    disks = {disk.name.rpartition("-")[2]: disk for disk in await cloud.engine.views.disks(cloud.asker)}
    assert {name: disk.size_mib for name, disk in disks.items()} == {"root": 20480, "sdf": 1024, "xvdg": 2048}
    stock = await cloud.engine.stock(cloud.asker, ("tags",))
    assert stock.tags == {disk.id: {"for": "volume"} for disk in disks.values()}
    await client.until("running", made["InstanceId"])
    await client("terminate_instances", InstanceIds=[made["InstanceId"]])
    await client.until("terminated", made["InstanceId"])
    assert [disk.name for disk in await cloud.engine.views.disks(cloud.asker)] == [disks["sdf"].name]


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"InstanceType": "t3.mini"}, "InvalidParameterValue"),
        ({"InstanceType": "p5.48xlarge"}, "InsufficientInstanceCapacity"),
        ({"MinCount": 0}, "InvalidParameterValue"),
        ({"KeyName": "nobody"}, "InvalidKeyPair.NotFound"),
        ({"SecurityGroups": ["nobody"]}, "InvalidGroup.NotFound"),
        ({"SecurityGroupIds": ["sg-0123456789abcdef0"]}, "InvalidGroup.NotFound"),
        ({"SubnetId": "subnet-0123456789abcdef0"}, "InvalidSubnetID.NotFound"),
        ({"SubnetId": "nonsense"}, "InvalidSubnetID.Malformed"),
        ({"PrivateIpAddress": "10.0.0.9"}, "InvalidParameterValue"),
        ({"UserData": "x" * 20_000}, "InvalidParameterValue"),
        ({"Placement": {"AvailabilityZone": "eu-west-1a"}}, "InvalidParameterValue"),
        ({"Placement": {"GroupName": "nobody"}}, "InvalidPlacementGroup.Unknown"),
        ({"Placement": {"Tenancy": "dedicated"}}, "UnsupportedOperation"),
        ({"BlockDeviceMappings": [{"DeviceName": "/dev/sdf"}]}, "MissingParameter"),
        ({"BlockDeviceMappings": [{"DeviceName": "C:", "Ebs": {"VolumeSize": 1}}]}, "InvalidBlockDeviceMapping"),
        ({"BlockDeviceMappings": [{"DeviceName": "sdf", "Ebs": {"VolumeSize": 1}}] * 2}, "InvalidBlockDeviceMapping"),
        ({"BlockDeviceMappings": [{"DeviceName": "sdf", "Ebs": {"Encrypted": True}}]}, "UnsupportedOperation"),
        ({"NetworkInterfaces": [{"DeviceIndex": 1}]}, "InvalidParameterValue"),
        ({"NetworkInterfaces": [{"DeviceIndex": 0}], "SecurityGroups": ["a"]}, "InvalidParameterCombination"),
        ({"LaunchTemplate": {"LaunchTemplateName": "nobody"}}, "InvalidLaunchTemplateName.NotFoundException"),
        ({"IamInstanceProfile": {"Name": "x"}}, "UnsupportedOperation"),
        ({"TagSpecifications": [{"ResourceType": "vpc", "Tags": []}]}, "InvalidParameterValue"),
        ({"MetadataOptions": {"HttpPutResponseHopLimit": 65}}, "InvalidParameterValue"),
    ],
)
async def test_what_cannot_be_is_refused(client: Client, image: str, said: dict[str, Any], code: str) -> None:
    refused = await client.refused("run_instances", ImageId=image, **{**ONE, **said})
    assert refused[0] == code, refused
    assert (await client("describe_instances"))["Reservations"] == []


async def test_a_place_on_a_network(client: Client, cloud: Cloud, image: str) -> None:
    network, subnet = await cloud.network()
    await cloud.done(network_intents.GroupCreate(network="vpc", name="web"))
    group = next(each for each in (await cloud.engine.stock(cloud.asker, ("groups",))).groups.values()
                 if each.name == "web" and each.network == network)  # fmt: skip
    sg, where = ec2_id("sg", group.id), ec2_id("subnet", subnet)
    by_group = await run(client, image, SecurityGroupIds=[sg])
    assert (by_group["SubnetId"], [each["GroupId"] for each in by_group["SecurityGroups"]]) == (where, [sg])
    one = {"DeviceIndex": 1, "SubnetId": where, "PrivateIpAddress": "10.0.0.77"}
    other = {"DeviceIndex": 0, "SubnetId": where, "Groups": [sg], "DeleteOnTermination": True}
    two = await run(client, image, NetworkInterfaces=[one, other])
    nics = [(nic["Attachment"]["DeviceIndex"], nic["PrivateIpAddress"]) for nic in two["NetworkInterfaces"]]
    assert nics == [(0, two["PrivateIpAddress"]), (1, "10.0.0.77")]
    code, _ = await client.refused("run_instances", ImageId=image, **ONE, SubnetId=where, PrivateIpAddress="10.0.0.77")
    assert code == "InvalidIPAddress.InUse"


async def test_user_data_is_any_bytes_where_the_metadata_service_tells_them(
    client: Client, cloud: Cloud, image: str
) -> None:
    _, subnet = await cloud.network()
    given = bytes(range(256))
    made = await run(client, image, SubnetId=ec2_id("subnet", subnet), UserData=given)
    machine = await the_machine(cloud)
    assert (machine.spec.datasource, machine.spec.user_data_bytes) == (Datasource.METADATA, given)
    told = await client("describe_instance_attribute", InstanceId=made["InstanceId"], Attribute="userData")
    assert base64.b64decode(told["UserData"]["Value"]) == given


async def test_options_of_a_machine(client: Client, cloud: Cloud, image: str) -> None:
    _, subnet = await cloud.network()
    options = {"HttpTokens": "optional", "HttpPutResponseHopLimit": 2, "InstanceMetadataTags": "enabled"}
    made = await run(
        client, image, SubnetId=ec2_id("subnet", subnet), MetadataOptions=options, DisableApiTermination=True,
        InstanceInitiatedShutdownBehavior="terminate", UserData="#!/bin/sh\n",
    )  # fmt: skip
    assert {**made["MetadataOptions"], **options} == made["MetadataOptions"]
    assert made["MetadataOptions"]["HttpEndpoint"] == "enabled"
    spec = (await the_machine(cloud)).spec
    assert (spec.protected, spec.on_shutdown, spec.user_data) == (True, OnShutdown.DELETE, "#!/bin/sh\n")
    assert (spec.metadata.tokens_required, spec.metadata.hop_limit, spec.metadata.labels) == (False, 2, True)


async def test_without_a_network_there_is_no_metadata_service(client: Client, cloud: Cloud, image: str) -> None:
    cloud.host.network_facts.refused = NO_NETWORKS
    made = await run(client, image)
    assert made["MetadataOptions"]["HttpEndpoint"] == "disabled"
    assert "SubnetId" not in made


async def test_as_many_as_there_is_room_for(client: Client, cloud: Cloud, image: str) -> None:
    cloud.host.facts.has = replace(cloud.host.facts.has, memory_mib=4096, memory_free_mib=2048)
    made = await client("run_instances", ImageId=image, InstanceType="t3.small", MinCount=1, MaxCount=1)
    assert len(made["Instances"]) == 1
    said = {"ImageId": image, "InstanceType": "t3.medium", "MinCount": 1, "MaxCount": 2}
    code, message = await client.refused("run_instances", **said)
    assert (code, "not enough memory" in message) == ("InsufficientInstanceCapacity", True)
    offered = await client("describe_instance_type_offerings", Filters=[{"Name": "instance-type", "Values": ["t3.*"]}])
    names = {each["InstanceType"] for each in offered["InstanceTypeOfferings"]}
    assert names == {"t3.nano", "t3.micro", "t3.small", "t3.medium"}


async def test_a_guest_that_powers_itself_off(client: Client, cloud: Cloud, image: str) -> None:
    stays = await run(client, image)
    goes = await run(client, image, InstanceInitiatedShutdownBehavior="terminate", DisableApiTermination=True)
    for made in (stays, goes):
        await client.until("running", made["InstanceId"])
    code, message = await client.refused("terminate_instances", InstanceIds=[stays["InstanceId"], goes["InstanceId"]])
    assert (code, "'disableApiTermination'" in message) == ("OperationNotPermitted", True)
    for row in await cloud.engine.views.machines(cloud.asker):
        cloud.host.machines.power_off(row.id)
    reason = "Client.InstanceInitiatedShutdown"
    assert (await client.until("stopped", stays["InstanceId"]))["StateReason"]["Code"] == reason
    assert (await client.until("terminated", goes["InstanceId"]))["StateReason"]["Code"] == reason
    await client("start_instances", InstanceIds=[stays["InstanceId"]])
    await client.until("running", stays["InstanceId"])
    await client("stop_instances", InstanceIds=[stays["InstanceId"]])
    stopped = await client.until("stopped", stays["InstanceId"])
    assert stopped["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
