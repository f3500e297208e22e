"""VPCs, subnets, routes and gateways, as botocore's client sees them; and what the house then is to do."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from tests.doors.ec2.conftest import Client, Cloud

from guesthouse.engine import network_intents as asked
from guesthouse.formats.cloudids import ec2_id
from guesthouse.model.network import NetworkWanted


async def a_vpc(client: Client, cidr: str = "10.0.0.0/16", subnet: str = "10.0.0.0/24") -> tuple[str, str]:
    """A VPC and a subnet in it."""
    vpc = (await client("create_vpc", CidrBlock=cidr))["Vpc"]["VpcId"]
    return vpc, (await client("create_subnet", VpcId=vpc, CidrBlock=subnet))["Subnet"]["SubnetId"]


async def an_internet(client: Client, vpc: str) -> str:
    """An internet gateway to which the VPC's main table leads."""
    gateway = (await client("create_internet_gateway"))["InternetGateway"]["InternetGatewayId"]
    await client("attach_internet_gateway", InternetGatewayId=gateway, VpcId=vpc)
    await client("create_route", RouteTableId=await main_table(client, vpc), DestinationCidrBlock="0.0.0.0/0",
                 GatewayId=gateway)  # fmt: skip
    return str(gateway)


async def main_table(client: Client, vpc: str) -> str:
    filters = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "association.main", "Values": ["true"]}]
    (table,) = (await client("describe_route_tables", Filters=filters))["RouteTables"]
    return str(table["RouteTableId"])


async def a_pool(cloud: Cloud) -> None:
    await cloud.engine.accept(cloud.asker, asked.PoolAdd(cidr="192.0.2.0/28"))


def wanted(cloud: Cloud, vpc: str) -> NetworkWanted:
    """What the host was told of a VPC last."""
    return next(each for id, each in cloud.host.networks.made.items() if ec2_id("vpc", id) == vpc)


def ways(cloud: Cloud, vpc: str) -> dict[str, tuple[str, str]]:
    """The outlet of each subnet, and the address of its gate."""
    told = wanted(cloud, vpc)
    elastics = {each.port.id: each.elastic for each in told.ports}
    return {each.cidr: (each.outlet.value, elastics.get(each.gate, "")) for each in told.subnets}


async def test_a_vpc_lives(client: Client, cloud: Cloud) -> None:
    tags = [{"ResourceType": "vpc", "Tags": [{"Key": "Name", "Value": "shop"}]}]
    vpc = (await client("create_vpc", CidrBlock="10.0.0.0/16", TagSpecifications=tags))["Vpc"]
    assert (vpc["State"], vpc["IsDefault"], vpc["CidrBlock"]) == ("available", False, "10.0.0.0/16")
    id = vpc["VpcId"]
    subnet = (await client("create_subnet", VpcId=id, CidrBlock="10.0.1.0/24"))["Subnet"]
    assert (subnet["AvailableIpAddressCount"], subnet["MapPublicIpOnLaunch"]) == (253, False)
    for code, cidr in (("InvalidSubnet.Range", "10.1.0.0/24"), ("InvalidSubnet.Conflict", "10.0.1.0/25")):
        assert (await client.refused("create_subnet", VpcId=id, CidrBlock=cidr))[0] == code
    assert (await client.refused("create_vpc", CidrBlock="10.0.0.0/8"))[0] == "InvalidVpc.Range"
    assert (await client.refused("delete_vpc", VpcId=id))[0] == "DependencyViolation"
    named = await client("describe_vpcs", Filters=[{"Name": "tag:Name", "Values": ["shop"]}])
    assert [each["VpcId"] for each in named["Vpcs"]] == [id]
    assert (await client("describe_vpc_attribute", VpcId=id, Attribute="enableDnsSupport"))["EnableDnsSupport"]["Value"]
    await client("modify_vpc_attribute", VpcId=id, EnableDnsHostnames={"Value": True})
    await client("delete_subnet", SubnetId=subnet["SubnetId"])
    await client("delete_vpc", VpcId=id)
    assert (await client.refused("describe_vpcs", VpcIds=[id]))[0] == "InvalidVpcID.NotFound"
    assert [each for each in cloud.host.networks.made.values() if ec2_id("vpc", each.network.id) == id] == []


async def test_the_default_vpc_is_made_once(client: Client, cloud: Cloud) -> None:
    vpc = (await client("create_default_vpc"))["Vpc"]
    assert (vpc["IsDefault"], vpc["CidrBlock"]) == (True, "172.31.0.0/16")
    assert (await client.refused("create_default_vpc"))[0] == "DefaultVpcAlreadyExists"
    (subnet,) = (await client("describe_subnets", Filters=[{"Name": "default-for-az", "Values": ["true"]}]))["Subnets"]
    assert (subnet["CidrBlock"], subnet["MapPublicIpOnLaunch"]) == ("172.31.0.0/20", False)
    assert ways(cloud, vpc["VpcId"]) == {"172.31.0.0/20": ("elastic", "")}
    (default,) = (await client("describe_account_attributes", AttributeNames=["default-vpc"]))["AccountAttributes"]
    assert default["AttributeValues"] == [{"AttributeValue": vpc["VpcId"]}]


async def test_routes_are_ways_of_subnets(client: Client, cloud: Cloud) -> None:
    await a_pool(cloud)
    vpc, front = await a_vpc(client)
    back = (await client("create_subnet", VpcId=vpc, CidrBlock="10.0.1.0/24"))["Subnet"]["SubnetId"]
    assert ways(cloud, vpc) == {"10.0.0.0/24": ("none", ""), "10.0.1.0/24": ("none", "")}
    gateway = await an_internet(client, vpc)
    assert ways(cloud, vpc) == {"10.0.0.0/24": ("elastic", ""), "10.0.1.0/24": ("elastic", "")}
    table = (await client("create_route_table", VpcId=vpc))["RouteTable"]["RouteTableId"]
    association = (await client("associate_route_table", RouteTableId=table, SubnetId=back))["AssociationId"]
    assert ways(cloud, vpc)["10.0.1.0/24"] == ("none", "")
    address = await client("allocate_address", Domain="vpc")
    nat = (await client("create_nat_gateway", SubnetId=front, AllocationId=address["AllocationId"]))["NatGateway"]
    id = nat["NatGatewayId"]
    assert (nat["State"], nat["NatGatewayAddresses"][0]["PublicIp"]) == ("available", address["PublicIp"])
    await client("create_route", RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=id)
    assert ways(cloud, vpc)["10.0.1.0/24"] == ("shared", address["PublicIp"])
    assert (await client.refused("delete_route_table", RouteTableId=table))[0] == "DependencyViolation"
    refused = await client.refused("detach_internet_gateway", InternetGatewayId=gateway, VpcId=vpc)
    assert refused[0] == "DependencyViolation"
    await client("delete_nat_gateway", NatGatewayId=id)
    assert ways(cloud, vpc)["10.0.1.0/24"] == ("none", "")
    (gone,) = (await client("describe_nat_gateways", NatGatewayIds=[id]))["NatGateways"]
    assert gone["State"] == "deleted"
    (told,) = (await client("describe_route_tables", RouteTableIds=[table]))["RouteTables"]
    assert [route["State"] for route in told["Routes"]] == ["active", "blackhole"]
    await client("disassociate_route_table", AssociationId=association)
    assert ways(cloud, vpc)["10.0.1.0/24"] == ("elastic", "")
    await client("delete_route_table", RouteTableId=table)
    await client("release_address", AllocationId=address["AllocationId"])
    await client("detach_internet_gateway", InternetGatewayId=gateway, VpcId=vpc)
    assert set(ways(cloud, vpc).values()) == {("none", "")}
    await client("delete_internet_gateway", InternetGatewayId=gateway)


async def test_another_table_becomes_the_main_one(client: Client, cloud: Cloud) -> None:
    await a_pool(cloud)
    vpc, _ = await a_vpc(client)
    gateway = await an_internet(client, vpc)
    first = await main_table(client, vpc)
    assert ways(cloud, vpc) == {"10.0.0.0/24": ("elastic", "")}
    table = (await client("create_route_table", VpcId=vpc))["RouteTable"]["RouteTableId"]
    (told,) = (await client("describe_route_tables", RouteTableIds=[first]))["RouteTables"]
    main = told["Associations"][0]["RouteTableAssociationId"]
    assert (await client.refused("disassociate_route_table", AssociationId=main))[0] == "InvalidParameterValue"
    made = await client("replace_route_table_association", AssociationId=main, RouteTableId=table)
    assert await main_table(client, vpc) == table
    assert ways(cloud, vpc) == {"10.0.0.0/24": ("none", "")}
    again = await client("replace_route_table_association", AssociationId=made["NewAssociationId"], RouteTableId=first)
    assert ways(cloud, vpc) == {"10.0.0.0/24": ("elastic", "")}
    await client("replace_route_table_association", AssociationId=again["NewAssociationId"], RouteTableId=table)
    assert (await client.refused("delete_route_table", RouteTableId=table))[0] == "DependencyViolation"
    await client("delete_route_table", RouteTableId=first)
    tables = (await client("describe_route_tables"))["RouteTables"]
    assert [each["RouteTableId"] for each in tables] == [table]
    await client("detach_internet_gateway", InternetGatewayId=gateway, VpcId=vpc)
    for subnet in (await client("describe_subnets"))["Subnets"]:
        await client("delete_subnet", SubnetId=subnet["SubnetId"])
    await client("delete_vpc", VpcId=vpc)


async def test_a_vpc_has_ipv6(client: Client, cloud: Cloud) -> None:
    made = (await client("create_vpc", CidrBlock="10.0.0.0/16", AmazonProvidedIpv6CidrBlock=True))["Vpc"]
    vpc, (block,) = made["VpcId"], made["Ipv6CidrBlockAssociationSet"]
    subnet = (await client("create_subnet", VpcId=vpc, CidrBlock="10.0.0.0/24"))["Subnet"]
    (own,) = subnet["Ipv6CidrBlockAssociationSet"]
    assert ip_network(own["Ipv6CidrBlock"]).subnet_of(ip_network(block["Ipv6CidrBlock"]))
    blocks = list(ip_network(block["Ipv6CidrBlock"]).subnets(new_prefix=64))
    assert (len(blocks), str(blocks[1])) == (256, own["Ipv6CidrBlock"])
    said = {"VpcId": vpc, "CidrBlock": "10.0.1.0/24"}
    for wrong, code in ((blocks[0], "Range"), (blocks[1], "Conflict"), (blocks[255], "Range"), ("ten", "Range")):
        refused = await client.refused("create_subnet", **said, Ipv6CidrBlock=str(wrong))
        assert refused[0] == f"InvalidSubnet.{code}", refused
    other = (await client("create_subnet", **said, Ipv6CidrBlock=str(blocks[7])))["Subnet"]
    assert other["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"] == str(blocks[7])
    await client("delete_subnet", SubnetId=other["SubnetId"])
    nic = (await client("create_network_interface", SubnetId=subnet["SubnetId"]))["NetworkInterface"]
    assert ip_address(nic["Ipv6Addresses"][0]["Ipv6Address"]) in ip_network(own["Ipv6CidrBlock"])
    (table,) = (await client("describe_route_tables"))["RouteTables"]
    assert table["Routes"][1]["DestinationIpv6CidrBlock"] == block["Ipv6CidrBlock"]
    found = await client("describe_vpcs", Filters=[
        {"Name": "ipv6-cidr-block-association.ipv6-cidr-block", "Values": [block["Ipv6CidrBlock"]]}])  # fmt: skip
    assert [each["VpcId"] for each in found["Vpcs"]] == [vpc]
    said = {"VpcId": vpc, "AmazonProvidedIpv6CidrBlock": True}
    assert (await client.refused("associate_vpc_cidr_block", **said))[0] == "CidrLimitExceeded"
    await client("disassociate_vpc_cidr_block", AssociationId=block["AssociationId"])
    (bare,) = (await client("describe_subnets"))["Subnets"]
    assert (bare["Ipv6CidrBlockAssociationSet"], bare["AssignIpv6AddressOnCreation"]) == ([], False)
    again = await client("associate_vpc_cidr_block", **said)
    assert again["Ipv6CidrBlockAssociation"]["Ipv6CidrBlock"] == block["Ipv6CidrBlock"]


async def test_a_nat_gateway_is_made_once_by_its_token(client: Client, cloud: Cloud) -> None:
    await a_pool(cloud)
    vpc, subnet = await a_vpc(client)
    allocation = (await client("allocate_address"))["AllocationId"]
    said = {"SubnetId": subnet, "AllocationId": allocation, "ClientToken": "once"}
    assert (await client.refused("create_nat_gateway", **said))[0] == "Gateway.NotAttached"
    await an_internet(client, vpc)
    assert (await client.refused("create_nat_gateway", **said, DryRun=True))[0] == "DryRunOperation"
    first = await client("create_nat_gateway", **said)
    again = await client("create_nat_gateway", **said)
    assert first["NatGateway"]["NatGatewayId"] == again["NatGateway"]["NatGatewayId"]
    assert len((await client("describe_nat_gateways"))["NatGateways"]) == 1
    other = await client.refused("create_nat_gateway", **said | {"ClientToken": "other"})
    assert other[0] == "Resource.AlreadyAssociated"
    (interface,) = (await client("describe_network_interfaces"))["NetworkInterfaces"]
    assert (interface["InterfaceType"], interface["RequesterManaged"]) == ("nat_gateway", True)
    refused = await client.refused("delete_network_interface", NetworkInterfaceId=interface["NetworkInterfaceId"])
    assert refused[0] == "OperationNotPermitted"


@pytest.mark.parametrize(
    ("operation", "arguments", "code"),
    [
        ("create_vpc", {"CidrBlock": "10.0.0.0/16", "Ipv6Pool": "mine"}, "UnsupportedOperation"),
        (
            "disassociate_vpc_cidr_block",
            {"AssociationId": "vpc-cidr-assoc-0"},
            "InvalidCidrBlockAssociationID.NotFound",
        ),
        ("create_vpc", {"CidrBlock": "ten"}, "InvalidParameterValue"),
        ("create_subnet", {"VpcId": "vpc-00000000000000000", "CidrBlock": "10.0.0.0/24"}, "InvalidVpcID.NotFound"),
        ("delete_nat_gateway", {"NatGatewayId": "nat-00000000000000000"}, "NatGatewayNotFound"),
        ("delete_route_table", {"RouteTableId": "rtb-00000000000000000"}, "InvalidRouteTableID.NotFound"),
        ("create_network_acl", {"VpcId": "vpc-00000000000000000"}, "UnsupportedOperation"),
        ("disassociate_address", {"AssociationId": "eipassoc-0"}, "InvalidAssociationID.NotFound"),
        ("allocate_address", {}, "InsufficientAddressCapacity"),
    ],
)
async def test_what_cannot_be_is_refused(client: Client, operation: str, arguments: dict[str, Any], code: str) -> None:
    assert (await client.refused(operation, **arguments))[0] == code


async def test_a_stranger_sees_nothing(client: Client, cloud: Cloud) -> None:
    vpc, subnet = await a_vpc(client)
    stranger = await cloud.client(asker=await cloud.project("other"))
    assert [each["VpcId"] for each in (await stranger("describe_vpcs"))["Vpcs"] if each["VpcId"] == vpc] == []
    assert (await stranger.refused("delete_vpc", VpcId=vpc))[0] == "InvalidVpcID.NotFound"
    assert (await stranger.refused("delete_subnet", SubnetId=subnet))[0] == "InvalidSubnetID.NotFound"
    table = await main_table(client, vpc)
    assert (await stranger.refused("describe_route_tables", RouteTableIds=[table]))[0].endswith("NotFound")
    refused = await stranger.refused("create_network_interface", SubnetId=subnet)
    assert refused[0] == "InvalidSubnetID.NotFound"


async def test_defaults_that_nobody_changes(client: Client, cloud: Cloud) -> None:
    vpc, subnet = await a_vpc(client)
    (acl,) = (await client("describe_network_acls", Filters=[{"Name": "vpc-id", "Values": [vpc]}]))["NetworkAcls"]
    assert [each["SubnetId"] for each in acl["Associations"]] == [subnet]
    assert acl["Entries"][0]["RuleAction"] == "allow"
    (options,) = (await client("describe_dhcp_options"))["DhcpOptions"]
    assert options["DhcpOptionsId"] == (await client("describe_vpcs", VpcIds=[vpc]))["Vpcs"][0]["DhcpOptionsId"]


async def test_public_addresses_need_a_pool(client: Client, cloud: Cloud) -> None:
    _, subnet = await a_vpc(client)
    said = {"SubnetId": subnet, "MapPublicIpOnLaunch": {"Value": True}}
    assert (await client.refused("modify_subnet_attribute", **said))[0] == "UnsupportedOperation"
    await a_pool(cloud)
    await client("modify_subnet_attribute", **said)
    (told,) = (await client("describe_subnets", SubnetIds=[subnet]))["Subnets"]
    assert told["MapPublicIpOnLaunch"]
