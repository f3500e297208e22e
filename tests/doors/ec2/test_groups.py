"""Security groups and their rules, by both APIs, as botocore's client sees them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.doors.ec2.conftest import Client, Cloud
from tests.doors.ec2.test_networks import a_vpc, wanted

from guesthouse.engine.history import forget_kept
from guesthouse.model.network import Direction, Protocol

RULE = "security-group-rule"
SSH: dict[str, Any] = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}


async def a_group(client: Client, vpc: str, name: str = "Web servers (front)") -> str:
    made = await client("create_security_group", GroupName=name, Description="those that serve", VpcId=vpc)
    return str(made["GroupId"])


async def shown(client: Client, id: str) -> dict[str, Any]:
    (found,) = (await client("describe_security_groups", GroupIds=[id]))["SecurityGroups"]
    return dict(found)


async def test_rules_have_tags(client: Client, cloud: Cloud) -> None:
    vpc, _ = await a_vpc(client)
    id = await a_group(client, vpc)
    tags = [{"ResourceType": "security-group-rule", "Tags": [{"Key": "for", "Value": "ssh"}]}]
    made = await client("authorize_security_group_ingress", GroupId=id, IpPermissions=[SSH], TagSpecifications=tags)
    (rule,) = made["SecurityGroupRules"]
    assert rule["Tags"] == [{"Key": "for", "Value": "ssh"}]
    await client("create_tags", Resources=[rule["SecurityGroupRuleId"]], Tags=[{"Key": "by", "Value": "me"}])
    by_me = [{"Name": "tag:by", "Values": ["me"]}]
    (found,) = (await client("describe_security_group_rules", Filters=by_me))["SecurityGroupRules"]
    assert found["SecurityGroupRuleId"] == rule["SecurityGroupRuleId"]
    told = (await client("describe_tags", Filters=[{"Name": "resource-type", "Values": [RULE]}]))["Tags"]
    assert [(each["Key"], each["ResourceId"]) for each in told] == [
        ("by", rule["SecurityGroupRuleId"]), ("for", rule["SecurityGroupRuleId"]),
    ]  # fmt: skip
    await forget_kept(cloud.engine.accept.store)
    assert len((await client("describe_tags"))["Tags"]) == 2
    stranger = await cloud.client(asker=await cloud.project("shop"))
    refused = await stranger.refused("delete_tags", Resources=[rule["SecurityGroupRuleId"]])
    assert refused[0] == "InvalidSecurityGroupRuleId.NotFound"
    await client("revoke_security_group_ingress", GroupId=id, SecurityGroupRuleIds=[rule["SecurityGroupRuleId"]])
    await forget_kept(cloud.engine.accept.store)
    assert (await client("describe_tags"))["Tags"] == []


async def test_groups_of_a_vpc(client: Client, cloud: Cloud) -> None:
    vpc, _ = await a_vpc(client)
    id = await a_group(client, vpc)
    await a_vpc(client)
    found = (await client("get_security_groups_for_vpc", VpcId=vpc))["SecurityGroupForVpcs"]
    assert {(each["GroupName"], each["PrimaryVpcId"]) for each in found} == {
        ("default", vpc), ("Web servers (front)", vpc),
    }  # fmt: skip
    one = [{"Name": "group-id", "Values": [id]}]
    found = (await client("get_security_groups_for_vpc", VpcId=vpc, Filters=one))["SecurityGroupForVpcs"]
    assert [each["GroupId"] for each in found] == [id]
    stranger = await cloud.client(asker=await cloud.project("shop"))
    assert (await stranger.refused("get_security_groups_for_vpc", VpcId=vpc))[0] == "InvalidVpcID.NotFound"


async def test_a_group_lives(client: Client, cloud: Cloud) -> None:
    vpc, _ = await a_vpc(client)
    id = await a_group(client, vpc)
    group = await shown(client, id)
    assert (group["GroupName"], group["IpPermissions"]) == ("Web servers (front)", [])
    assert [each["IpRanges"] for each in group["IpPermissionsEgress"]] == [[{"CidrIp": "0.0.0.0/0"}]]
    twice = {"GroupName": "Web servers (front)", "Description": "x", "VpcId": vpc}
    assert (await client.refused("create_security_group", **twice))[0] == "InvalidGroup.Duplicate"
    answer = await client("authorize_security_group_ingress", GroupId=id, IpPermissions=[SSH])
    (rule,) = answer["SecurityGroupRules"]
    assert (rule["FromPort"], rule["CidrIpv4"], rule["IsEgress"]) == (22, "10.0.0.0/8", False)
    told = next(each for each in wanted(cloud, vpc).groups if each.name != "default")
    assert [(r.protocol, r.first_port, r.cidr) for r in told.rules if r.direction is Direction.IN] == [
        (Protocol.TCP, 22, "10.0.0.0/8")
    ]
    again = await client.refused("authorize_security_group_ingress", GroupId=id, IpPermissions=[SSH])
    assert again[0] == "InvalidPermission.Duplicate"
    await client("revoke_security_group_ingress", GroupId=id, IpPermissions=[SSH])
    gone = await client.refused("revoke_security_group_ingress", GroupId=id, IpPermissions=[SSH])
    assert gone[0] == "InvalidPermission.NotFound"
    await client("delete_security_group", GroupId=id)
    assert (await client.refused("describe_security_groups", GroupIds=[id]))[0] == "InvalidGroup.NotFound"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"IpProtocol": "-1", "IpRanges": [{"CidrIp": "10.1.2.3/16"}]}, {"IpProtocol": "-1"}),
        ({"IpProtocol": "6", "FromPort": 0, "ToPort": 65535, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]},
         {"IpProtocol": "tcp", "FromPort": 0, "ToPort": 65535}),
        ({"IpProtocol": "udp", "FromPort": 53, "ToPort": 54, "Ipv6Ranges": [{"CidrIpv6": "::/0"}]},
         {"IpProtocol": "udp", "FromPort": 53, "ToPort": 54}),
        ({"IpProtocol": "icmp", "FromPort": 8, "ToPort": -1, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]},
         {"IpProtocol": "icmp", "FromPort": 8, "ToPort": -1}),
        ({"IpProtocol": "icmpv6", "FromPort": -1, "ToPort": -1, "Ipv6Ranges": [{"CidrIpv6": "fd00::/8"}]},
         {"IpProtocol": "icmpv6", "FromPort": -1, "ToPort": -1}),
    ],
)  # fmt: skip
async def test_permissions_are_told_as_they_were_said(client: Client, said: dict[str, Any], told: Any) -> None:
    vpc, _ = await a_vpc(client)
    id = await a_group(client, vpc)
    await client("authorize_security_group_egress", GroupId=id, IpPermissions=[said])
    found = (await shown(client, id))["IpPermissionsEgress"]
    assert {name: found[-1].get(name) for name in told} == told
    await client("revoke_security_group_egress", GroupId=id, IpPermissions=[said])
    assert len((await shown(client, id))["IpPermissionsEgress"]) == 1


async def test_rules_one_by_one(client: Client) -> None:
    vpc, _ = await a_vpc(client)
    web, db = await a_group(client, vpc), await a_group(client, vpc, "db")
    pair = {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "UserIdGroupPairs": [{"GroupId": web}]}
    await client("authorize_security_group_ingress", GroupId=db, IpPermissions=[SSH, pair])
    filters = [{"Name": "group-id", "Values": [db]}]
    rules = (await client("describe_security_group_rules", Filters=filters))["SecurityGroupRules"]
    named = next(each for each in rules if "ReferencedGroupInfo" in each)
    assert named["ReferencedGroupInfo"]["GroupId"] == web
    assert (await client.refused("delete_security_group", GroupId=web))[0] == "DependencyViolation"
    plain = next(each for each in rules if each.get("FromPort") == 22)["SecurityGroupRuleId"]
    new = {"IpProtocol": "tcp", "FromPort": 2222, "ToPort": 2222, "CidrIpv4": "10.9.0.0/16", "Description": "moved"}
    changes = [{"SecurityGroupRuleId": plain, "SecurityGroupRule": new}]
    await client("modify_security_group_rules", GroupId=db, SecurityGroupRules=changes)
    texts = [{"SecurityGroupRuleId": named["SecurityGroupRuleId"], "Description": "from the front"}]
    await client("update_security_group_rule_descriptions_ingress", GroupId=db, SecurityGroupRuleDescriptions=texts)
    after = (await client("describe_security_group_rules", SecurityGroupRuleIds=[plain]))["SecurityGroupRules"]
    assert [(each["FromPort"], each["CidrIpv4"], each["Description"]) for each in after] == [
        (2222, "10.9.0.0/16", "moved")
    ]
    pairs = next(p for p in (await shown(client, db))["IpPermissions"] if p["UserIdGroupPairs"])["UserIdGroupPairs"]
    assert pairs[0]["Description"] == "from the front"
    ids = [plain, named["SecurityGroupRuleId"]]
    await client("revoke_security_group_ingress", GroupId=db, SecurityGroupRuleIds=ids)
    assert (await shown(client, db))["IpPermissions"] == []


async def test_what_old_clients_say(client: Client) -> None:
    """One rule in arguments of its own; groups by their names, in the default VPC that is made for that."""
    made = await client("create_security_group", GroupName="web", Description="d")
    await client("authorize_security_group_ingress", GroupName="web", IpProtocol="tcp", FromPort=80, ToPort=80,
                 CidrIp="0.0.0.0/0")  # fmt: skip
    (permission,) = (await shown(client, made["GroupId"]))["IpPermissions"]
    assert (permission["FromPort"], permission["IpRanges"]) == (80, [{"CidrIp": "0.0.0.0/0"}])
    filters = [{"Name": "ip-permission.cidr", "Values": ["0.0.0.0/0"]}, {"Name": "group-name", "Values": ["web"]}]
    assert len((await client("describe_security_groups", Filters=filters))["SecurityGroups"]) == 1


@pytest.mark.parametrize(
    ("permission", "code"),
    [
        ({"IpProtocol": "tcp", "FromPort": 1, "ToPort": 1}, "MissingParameter"),
        ({**SSH, "IpProtocol": "sctp"}, "InvalidParameterValue"),
        ({**SSH, "FromPort": 30}, "InvalidParameterValue"),
        ({**SSH, "IpRanges": [{"CidrIp": "10.0.0.0"}]}, "InvalidParameterValue"),
        ({**SSH, "IpRanges": [{"CidrIp": "::/0"}]}, "InvalidParameterValue"),
        ({**SSH, "PrefixListIds": [{"PrefixListId": "pl-1"}]}, "UnsupportedOperation"),
        ({"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": "sg-00000000000000000"}]}, "InvalidGroup.NotFound"),
        ({"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupName": "x", "UserId": "9"}]}, "InvalidGroup.NotFound"),
    ],
)
async def test_rules_that_cannot_be_are_refused(client: Client, permission: dict[str, Any], code: str) -> None:
    vpc, _ = await a_vpc(client)
    id = await a_group(client, vpc)
    refused = await client.refused("authorize_security_group_ingress", GroupId=id, IpPermissions=[permission])
    assert refused[0] == code
