"""What is told of instances and changed on them: statuses, attributes, metadata options, types, console."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from tests.doors.ec2.conftest import Client, Cloud
from tests.doors.ec2.test_launches import ONE, run, the_machine

from guesthouse.engine import intents, network_intents
from guesthouse.formats.cloudids import ec2_id


async def test_statuses(client: Client, image: str) -> None:
    web, db = [(await run(client, image))["InstanceId"] for _ in range(2)]
    for id in (web, db):
        await client.until("running", id)
    await client("stop_instances", InstanceIds=[db])
    await client.until("stopped", db)
    for name in ("instance_status_ok", "system_status_ok"):
        waiter = client.plain.get_waiter(name)
        await asyncio.to_thread(waiter.wait, InstanceIds=[web], WaiterConfig={"Delay": 0.05, "MaxAttempts": 100})
    running = (await client("describe_instance_status"))["InstanceStatuses"]
    assert [each["InstanceId"] for each in running] == [web]
    assert running[0]["InstanceStatus"] == {"Status": "ok", "Details": [{"Name": "reachability", "Status": "passed"}]}
    every = (await client("describe_instance_status", IncludeAllInstances=True))["InstanceStatuses"]
    assert {each["InstanceId"]: each["SystemStatus"]["Status"] for each in every} == {web: "ok", db: "not-applicable"}
    passed = [{"Name": "instance-status.reachability", "Values": ["passed"]}]
    found = await client("describe_instance_status", IncludeAllInstances=True, Filters=passed)
    assert [each["InstanceId"] for each in found["InstanceStatuses"]] == [web]


@pytest.mark.parametrize(
    ("said", "attribute", "told"),
    [
        ({"DisableApiTermination": {"Value": True}}, "disableApiTermination", {"Value": True}),
        ({"Attribute": "disableApiTermination", "Value": "True"}, "disableApiTermination", {"Value": True}),
        (
            {"InstanceInitiatedShutdownBehavior": {"Value": "terminate"}},
            "instanceInitiatedShutdownBehavior",
            {"Value": "terminate"},
        ),
        ({"InstanceType": {"Value": "m7i.large"}}, "instanceType", {"Value": "m7i.large"}),
        ({"Attribute": "instanceType", "Value": "c7i.large"}, "instanceType", {"Value": "c7i.large"}),
        ({"UserData": {"Value": b"#!/bin/sh"}}, "userData", {"Value": "IyEvYmluL3No"}),
        ({"SourceDestCheck": {"Value": False}}, "sourceDestCheck", {"Value": False}),
    ],
)  # fmt: skip
async def test_an_attribute_is_changed(
    client: Client, cloud: Cloud, image: str, said: dict[str, Any], attribute: str, told: dict[str, Any]
) -> None:
    _, subnet = await cloud.network()
    id = (await run(client, image, SubnetId=ec2_id("subnet", subnet)))["InstanceId"]
    await client.until("running", id)
    if attribute in ("instanceType", "userData"):
        code, _ = await client.refused("modify_instance_attribute", InstanceId=id, **said)
        assert code == "IncorrectInstanceState"
    await client("stop_instances", InstanceIds=[id])
    await client.until("stopped", id)
    await client("modify_instance_attribute", InstanceId=id, **said)
    answer = await client("describe_instance_attribute", InstanceId=id, Attribute=attribute)
    (member,) = answer.keys() - {"InstanceId", "ResponseMetadata", "BlockDeviceMappings", "Groups", "ProductCodes"}
    assert answer[member] == told


async def test_groups_and_disks_of_an_instance_change(client: Client, cloud: Cloud, image: str) -> None:
    network, subnet = await cloud.network()
    await cloud.done(network_intents.GroupCreate(network="vpc", name="web"))
    groups = (await cloud.engine.stock(cloud.asker, ("groups",))).groups.values()
    web = ec2_id("sg", next(each.id for each in groups if each.name == "web" and each.network == network))
    id = (await run(client, image, SubnetId=ec2_id("subnet", subnet)))["InstanceId"]
    await client.until("running", id)
    await client("modify_instance_attribute", InstanceId=id, Groups=[web])
    answer = await client("describe_instance_attribute", InstanceId=id, Attribute="groupSet")
    assert [each["GroupId"] for each in answer["Groups"]] == [web]
    mapping = {"DeviceName": "/dev/vda", "Ebs": {"DeleteOnTermination": False}}
    await client("modify_instance_attribute", InstanceId=id, BlockDeviceMappings=[mapping])
    answer = await client("describe_instance_attribute", InstanceId=id, Attribute="blockDeviceMapping")
    assert [each["Ebs"]["DeleteOnTermination"] for each in answer["BlockDeviceMappings"]] == [False]
    assert (await the_machine(cloud)).spec.disks[0].keep
    lost = {**mapping, "DeviceName": "/dev/sdz"}
    code, _ = await client.refused("modify_instance_attribute", InstanceId=id, BlockDeviceMappings=[lost])
    assert code == "InvalidInstanceAttributeValue"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({}, "InvalidParameterCombination"),
        (
            {"DisableApiTermination": {"Value": True}, "InstanceType": {"Value": "t3.nano"}},
            "InvalidParameterCombination",
        ),
        ({"EbsOptimized": {"Value": True}}, "UnsupportedOperation"),
        ({"Kernel": {"Value": "aki-1"}}, "UnsupportedOperation"),
        ({"Attribute": "kernel", "Value": "aki-1"}, "InvalidParameterValue"),
        ({"Groups": ["sg-0123456789abcdef0"]}, "InvalidGroup.NotFound"),
        ({"InstanceInitiatedShutdownBehavior": {"Value": "sleep"}}, "InvalidParameterValue"),
        ({"Attribute": "disableApiTermination", "Value": "maybe"}, "InvalidParameterValue"),
    ],
)
async def test_what_cannot_change_is_refused(client: Client, image: str, said: dict[str, Any], code: str) -> None:
    id = (await run(client, image))["InstanceId"]
    refused = await client.refused("modify_instance_attribute", InstanceId=id, **said)
    assert refused[0] == code, refused


async def test_options_of_the_metadata_service_change(client: Client, cloud: Cloud, image: str) -> None:
    _, subnet = await cloud.network()
    id = (await run(client, image, SubnetId=ec2_id("subnet", subnet)))["InstanceId"]
    await client.until("running", id)
    answer = await client("modify_instance_metadata_options", InstanceId=id, HttpTokens="optional",
                          HttpEndpoint="disabled")  # fmt: skip
    told = answer["InstanceMetadataOptions"]
    assert (told["HttpTokens"], told["HttpEndpoint"], told["HttpPutResponseHopLimit"]) == ("optional", "disabled", 1)
    spec = (await the_machine(cloud)).spec
    assert (spec.metadata.tokens_required, spec.metadata.enabled) == (False, False)
    disabled = [{"Name": "metadata-options.http-endpoint", "Values": ["disabled"]}]
    assert len((await client("describe_instances", Filters=disabled))["Reservations"]) == 1
    code, _ = await client.refused("modify_instance_metadata_options", InstanceId=id)
    assert code == "MissingParameter"


async def test_types(client: Client) -> None:
    (one,) = (await client("describe_instance_types", InstanceTypes=["g5.12xlarge"]))["InstanceTypes"]
    assert one["VCpuInfo"]["DefaultVCpus"] == 48
    assert one["GpuInfo"]["Gpus"][0]["Count"] == 4
    assert one["InstanceStorageInfo"]["TotalSizeInGB"] == 3800
    small = [
        {"Name": "vcpu-info.default-vcpus", "Values": ["2"]},
        {"Name": "memory-info.size-in-mib", "Values": ["8192"]},
        {"Name": "burstable-performance-supported", "Values": ["false"]},
        {"Name": "processor-info.supported-architecture", "Values": ["x86_64"]},
        {"Name": "current-generation", "Values": ["true"]},
    ]
    found = {each["InstanceType"] for each in (await client("describe_instance_types", Filters=small))["InstanceTypes"]}
    assert found == {"m5a.large", "m6a.large", "m7i.large", "m7i-flex.large", "m7a.large", "m8i.large"}
    code, _ = await client.refused("describe_instance_types", InstanceTypes=["t3.micro", "t9.micro"])
    assert code == "InvalidInstanceType"
    zone = await client("describe_instance_type_offerings", LocationType="availability-zone")
    assert {each["Location"] for each in zone["InstanceTypeOfferings"]} == {"local-1a"}
    assert not any(each["InstanceType"].startswith("p5") for each in zone["InstanceTypeOfferings"])


async def test_credits_are_unlimited(client: Client, image: str) -> None:
    burstable = await run(client, image, InstanceType="t3.nano", CreditSpecification={"CpuCredits": "unlimited"})
    await run(client, image, InstanceType="c7i.large")
    told = (await client("describe_instance_credit_specifications"))["InstanceCreditSpecifications"]
    assert told == [{"InstanceId": burstable["InstanceId"], "CpuCredits": "unlimited"}]


async def test_the_console(client: Client, image: str) -> None:
    id = (await run(client, image))["InstanceId"]
    told = await client("get_console_output", InstanceId=id, Latest=True)
    assert told["Output"] == "login: \ufffd\n"


async def test_the_screen(client: Client, cloud: Cloud, image: str) -> None:
    id = (await run(client, image))["InstanceId"]
    await client.until("running", id)
    code, message = await client.refused("get_console_screenshot", InstanceId=id)
    assert (code, "--screen" in message) == ("UnsupportedOperation", True)
    (machine,) = await cloud.engine.views.machines(cloud.asker)
    await cloud.done(intents.Change(machine=machine.id, screen=True))
    await cloud.done(intents.Restart(machine=machine.id))
    told = await client("get_console_screenshot", InstanceId=id)
    assert (told["InstanceId"], base64.b64decode(told["ImageData"])[:3]) == (id, b"\xff\xd8\xff")
    await client("stop_instances", InstanceIds=[id])
    await client.until("stopped", id)
    assert (await client.refused("get_console_screenshot", InstanceId=id))[0] == "IncorrectInstanceState"


async def test_what_a_stranger_has_is_not_there(client: Client, cloud: Cloud, image: str) -> None:
    id = (await run(client, image))["InstanceId"]
    stranger = await cloud.client(asker=await cloud.project("shop"))
    for operation, said in (
        ("describe_instance_attribute", {"Attribute": "userData"}),
        ("modify_instance_attribute", {"DisableApiTermination": {"Value": True}}),
        ("modify_instance_metadata_options", {"HttpTokens": "optional"}),
        ("get_console_output", {}),
        ("get_console_screenshot", {}),
        ("get_launch_template_data", {}),
    ):
        assert (await stranger.refused(operation, InstanceId=id, **said))[0] == "InvalidInstanceID.NotFound"
    assert (await stranger("describe_instance_status", IncludeAllInstances=True))["InstanceStatuses"] == []


async def test_operations_without_effect_are_refused_by_name(client: Client, image: str) -> None:
    id = (await client("run_instances", ImageId=image, **ONE))["Instances"][0]["InstanceId"]
    for operation, said in (
        ("get_password_data", {"InstanceId": id}),
        ("monitor_instances", {"InstanceIds": [id]}),
    ):
        code, message = await client.refused(operation, **said)
        assert code == "UnsupportedOperation", message
