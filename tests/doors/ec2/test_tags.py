"""Tags of all kinds of things, put on and taken off together."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.doors.ec2.conftest import Client, Cloud

from guesthouse.doors.ec2.table import services
from guesthouse.doors.ec2.tags import KINDS
from guesthouse.engine import network_intents
from guesthouse.formats.cloudids import ec2_id
from guesthouse.model.network import NetworkMode


def pairs(**tags: str) -> list[dict[str, str]]:
    return [{"Key": name, "Value": text} for name, text in tags.items()]


async def listed(client: Client, **arguments: Any) -> set[tuple[str, str, str]]:
    answer = await client("describe_tags", **arguments)
    return {(tag["ResourceId"], tag["Key"], tag["Value"]) for tag in answer["Tags"]}


@pytest.fixture
async def three(client: Client, cloud: Cloud, image: str) -> list[str]:
    """The ids of an instance, a VPC and an image."""
    network, _ = await cloud.network()
    made = await client("run_instances", ImageId=image, MinCount=1, MaxCount=1)
    return [made["Instances"][0]["InstanceId"], ec2_id("vpc", network), image]


async def test_several_things_at_once(client: Client, cloud: Cloud, three: list[str]) -> None:
    await client("create_tags", Resources=three, Tags=pairs(Name="web", stage="test"))
    assert await listed(client) == {(id, *tag) for id in three for tag in (("Name", "web"), ("stage", "test"))}
    described = await client("describe_instances", Filters=[{"Name": "tag:stage", "Values": ["test"]}])
    assert described["Reservations"][0]["Instances"][0]["Tags"] == pairs(Name="web", stage="test")
    (machine,) = await cloud.engine.views.machines(cloud.asker)
    shown = await cloud.engine.views.machine(cloud.asker, machine.id)
    assert shown.machine.spec.labels == {"Name": "web", "stage": "test"}
    await client("create_tags", Resources=three[:1], Tags=pairs(stage="live", empty=""))
    await client("delete_tags", Resources=three, Tags=[{"Key": "stage", "Value": "test"}, {"Key": "nobody's"}])
    instance, vpc, image = three
    assert await listed(client, Filters=[{"Name": "key", "Values": ["stage", "empty"]}]) == {
        (instance, "stage", "live"), (instance, "empty", ""),
    }  # fmt: skip
    await client("delete_tags", Resources=[instance])
    assert await listed(client) == {(vpc, "Name", "web"), (image, "Name", "web")}


@pytest.mark.parametrize(
    ("name", "values", "kinds"),
    [
        ("resource-type", ["vpc", "image"], {"vpc", "image"}),
        ("value", ["we?"], {"instance", "vpc", "image"}),
        ("tag:Name", ["web"], {"instance", "vpc", "image"}),
        ("tag:Name", ["WEB"], set()),
        ("resource-id", ["vpc-*"], {"vpc"}),
    ],
)
async def test_filters(client: Client, three: list[str], name: str, values: list[str], kinds: set[str]) -> None:
    await client("create_tags", Resources=three, Tags=pairs(Name="web"))
    answer = await client("describe_tags", Filters=[{"Name": name, "Values": values}])
    assert {tag["ResourceType"] for tag in answer["Tags"]} == kinds


async def test_pages_go_through_the_tags_of_one_thing(client: Client, image: str) -> None:
    await client("create_tags", Resources=[image], Tags=pairs(**{f"k{number}": "" for number in range(7)}))
    paged = client.plain.get_paginator("describe_tags").paginate(PaginationConfig={"PageSize": 3})
    assert [[tag["Key"] for tag in page["Tags"]] for page in await asyncio.to_thread(list, paged)] == [
        ["k0", "k1", "k2"],
        ["k3", "k4", "k5"],
        ["k6"],
    ]


async def test_all_or_none(client: Client, cloud: Cloud, image: str, three: list[str]) -> None:
    other = await cloud.project("other")
    theirs = await cloud.done(network_intents.NetworkCreate(name="n", mode=NetworkMode.PRIVATE), other)
    tags = pairs(Name="x")
    for wrong, code in (
        ("i-0123456789abcdef0", "InvalidInstanceID.NotFound"),
        (ec2_id("vpc", theirs.subject), "InvalidVpcID.NotFound"),
        ("i-123", "InvalidInstanceID.Malformed"),
        ("thing", "InvalidID"),
    ):
        assert (await client.refused("create_tags", Resources=[*three, wrong], Tags=tags))[0] == code
        assert (await client.refused("delete_tags", Resources=[*three, wrong], Tags=tags))[0] == code
    many = pairs(**{f"k{number}": "" for number in range(51)})
    assert (await client.refused("create_tags", Resources=[*three], Tags=many))[0] == "TagLimitExceeded"
    twice = [*tags, *tags]
    assert (await client.refused("create_tags", Resources=three, Tags=twice))[0] == "InvalidParameterValue"
    own = pairs(**{"aws:x": ""})
    assert (await client.refused("create_tags", Resources=three, Tags=own))[0] == "InvalidParameterValue"
    assert (await client.refused("create_tags", Resources=three, Tags=tags, DryRun=True))[0] == "DryRunOperation"
    assert await listed(client) == set()


async def test_a_public_image_of_another_project_is_not_there_to_be_tagged(cloud: Cloud, image: str) -> None:
    theirs = await cloud.client(asker=await cloud.project("other"))
    code, _ = await theirs.refused("create_tags", Resources=[image], Tags=pairs(a="b"))
    assert code == "InvalidAMIID.NotFound"


async def test_tags_of_what_is_not_made_are_refused(client: Client, image: str) -> None:
    tags = [{"ResourceType": "vpc", "Tags": pairs(a="b")}]
    code, said = await client.refused("run_instances", ImageId=image, MinCount=1, MaxCount=1, TagSpecifications=tags)
    assert (code, "'vpc' is not a valid taggable resource type" in said) == ("InvalidParameterValue", True)
    assert (await client("describe_instances"))["Reservations"] == []


def test_all_kinds_are_ec2s() -> None:
    """Whatever rows tag as it is made can be tagged afterwards too."""
    rows = services()["ec2"].rows.values()
    assert {kind for row in rows for kind in row.tags} <= {kind.type for kind in KINDS.values()}
