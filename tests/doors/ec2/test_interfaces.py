"""Network interfaces and elastic addresses, as botocore's client sees them."""

from __future__ import annotations

import asyncio

from tests.doors.ec2.conftest import Client, Cloud
from tests.doors.ec2.test_networks import a_pool, a_vpc, an_internet, wanted
from tests.hosts import NO_NETWORKS


async def an_instance(client: Client, image: str, subnet: str) -> str:
    made = await client("run_instances", ImageId=image, MinCount=1, MaxCount=1, SubnetId=subnet)
    id = str(made["Instances"][0]["InstanceId"])
    await client.until("running", id)
    return id


async def interface(client: Client, id: str) -> dict[str, object]:
    (found,) = (await client("describe_network_interfaces", NetworkInterfaceIds=[id]))["NetworkInterfaces"]
    return dict(found)


async def test_an_interface_is_attached_and_outlasts_its_instance(client: Client, cloud: Cloud, image: str) -> None:
    vpc, subnet = await a_vpc(client)
    instance = await an_instance(client, image, subnet)
    made = await client("create_network_interface", SubnetId=subnet, Description="second", PrivateIpAddress="10.0.0.77")
    id = made["NetworkInterface"]["NetworkInterfaceId"]
    assert (made["NetworkInterface"]["Status"], made["NetworkInterface"]["SourceDestCheck"]) == ("available", True)
    assert [each["GroupName"] for each in made["NetworkInterface"]["Groups"]] == ["default"]
    taken = await client.refused("create_network_interface", SubnetId=subnet, PrivateIpAddress="10.0.0.77")
    assert taken[0] == "InvalidIPAddress.InUse"
    said = {"NetworkInterfaceId": id, "InstanceId": instance}
    assert (await client.refused("attach_network_interface", **said, DeviceIndex=4))[0] == "InvalidParameterValue"
    attachment = (await client("attach_network_interface", **said, DeviceIndex=1))["AttachmentId"]
    told = await interface(client, id)
    assert told["Status"] == "in-use"
    assert (told["Attachment"]["InstanceId"], told["Attachment"]["DeleteOnTermination"]) == (instance, False)  # type: ignore[index]
    assert (await client.refused("delete_network_interface", NetworkInterfaceId=id))[0] == "InvalidParameterValue"
    await client("modify_network_interface_attribute", NetworkInterfaceId=id, SourceDestCheck={"Value": False})
    assert [each.port.guarded for each in wanted(cloud, vpc).ports if each.port.address == "10.0.0.77"] == [False]
    await client("modify_instance_attribute", InstanceId=instance, SourceDestCheck={"Value": False})
    assert [each.port.guarded for each in wanted(cloud, vpc).ports] == [False, False]
    await client("detach_network_interface", AttachmentId=attachment)
    await cloud_is_still(client, id)
    await client("attach_network_interface", **said, DeviceIndex=1)
    await client("terminate_instances", InstanceIds=[instance])
    await client.until("terminated", instance)
    left = await interface(client, id)
    assert (left["Status"], left["PrivateIpAddress"], left["Description"]) == ("available", "10.0.0.77", "second")
    await client("delete_network_interface", NetworkInterfaceId=id)
    assert (await client("describe_network_interfaces"))["NetworkInterfaces"] == []


async def cloud_is_still(client: Client, id: str) -> None:
    """Wait until an interface is available."""
    waiter = client.plain.get_waiter("network_interface_available")
    said = {"NetworkInterfaceIds": [id], "WaiterConfig": {"Delay": 0.05, "MaxAttempts": 100}}
    await asyncio.to_thread(waiter.wait, **said)


async def test_an_elastic_address_leads_to_an_instance(client: Client, cloud: Cloud, image: str) -> None:
    await a_pool(cloud)
    vpc, subnet = await a_vpc(client)
    one, other = [await an_instance(client, image, subnet) for _ in range(2)]
    address = await client("allocate_address")
    said = {"AllocationId": address["AllocationId"], "InstanceId": one}
    assert (await client.refused("associate_address", **said))[0] == "Gateway.NotAttached"
    await an_internet(client, vpc)
    await client("associate_address", **said)
    (told,) = (await client("describe_addresses", PublicIps=[address["PublicIp"]]))["Addresses"]
    assert (told["InstanceId"], told["Domain"]) == (one, "vpc")
    shown = await client.until("running", one)
    assert shown["PublicIpAddress"] == address["PublicIp"]
    said["InstanceId"] = other
    refused = await client.refused("associate_address", **said, AllowReassociation=False)
    assert refused[0] == "Resource.AlreadyAssociated"
    association = (await client("associate_address", **said))["AssociationId"]
    assert [each.elastic for each in wanted(cloud, vpc).ports] == ["", address["PublicIp"]]
    assert (await client.refused("release_address", AllocationId=address["AllocationId"]))[
        0
    ] == "InvalidIPAddress.InUse"
    await client("disassociate_address", AssociationId=association)
    await client("release_address", AllocationId=address["AllocationId"])
    assert (await client("describe_addresses"))["Addresses"] == []


async def test_who_names_no_subnet_is_in_the_default_vpc(client: Client, cloud: Cloud, image: str) -> None:
    made = await client("run_instances", ImageId=image, MinCount=1, MaxCount=1)
    (vpc,) = (await client("describe_vpcs", Filters=[{"Name": "is-default", "Values": ["true"]}]))["Vpcs"]
    assert made["Instances"][0]["VpcId"] == vpc["VpcId"]
    named = await client("create_security_group", GroupName="web", Description="d")
    again = await client("run_instances", ImageId=image, MinCount=1, MaxCount=1, SecurityGroups=["web"])
    groups = again["Instances"][0]["SecurityGroups"]
    assert groups == [{"GroupId": named["GroupId"], "GroupName": "web"}]
    assert len((await client("describe_vpcs", Filters=[{"Name": "is-default", "Values": ["true"]}]))["Vpcs"]) == 1


async def test_a_host_without_networks_has_no_vpcs(client: Client, cloud: Cloud, image: str) -> None:
    cloud.host.network_facts.refused = NO_NETWORKS
    code, message = await client.refused("create_default_vpc")
    assert (code, "can have no networks" in message) == ("InsufficientInstanceCapacity", True)
    made = await client("run_instances", ImageId=image, MinCount=1, MaxCount=1)
    assert "VpcId" not in made["Instances"][0]


async def test_a_dry_run_makes_no_default_vpc(client: Client, image: str) -> None:
    refused = await client.refused("run_instances", ImageId=image, MinCount=1, MaxCount=1, DryRun=True)
    assert refused[0] == "DryRunOperation"
    assert (await client("describe_vpcs", Filters=[{"Name": "is-default", "Values": ["true"]}]))["Vpcs"] == []


async def test_public_addresses_are_lent_at_launch(client: Client, cloud: Cloud, image: str) -> None:
    await a_pool(cloud)
    _, subnet = await a_vpc(client)
    await client("modify_subnet_attribute", SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
    lent = await an_instance(client, image, subnet)
    shown = await client.until("running", lent)
    assert shown["PublicIpAddress"] == "192.0.2.2"
    assert shown["NetworkInterfaces"][0]["Association"]["IpOwnerId"] == "amazon"
    assert (await client("describe_addresses"))["Addresses"] == []
    plain = [{"DeviceIndex": 0, "SubnetId": subnet, "AssociatePublicIpAddress": False}]
    made = await client("run_instances", ImageId=image, MinCount=1, MaxCount=1, NetworkInterfaces=plain)
    assert "PublicIpAddress" not in made["Instances"][0]
    await client("terminate_instances", InstanceIds=[lent])
    await client.until("terminated", lent)
    assert (await client("allocate_address"))["PublicIp"] == "192.0.2.2"


async def test_a_launch_takes_an_interface(client: Client, image: str) -> None:
    _, subnet = await a_vpc(client)
    made = await client("create_network_interface", SubnetId=subnet)
    id = made["NetworkInterface"]["NetworkInterfaceId"]
    nics = [{"DeviceIndex": 0, "NetworkInterfaceId": id}]
    await client("run_instances", ImageId=image, MinCount=1, MaxCount=1, NetworkInterfaces=nics)
    assert (await interface(client, id))["Status"] == "in-use"
    again = await client.refused("run_instances", ImageId=image, MinCount=1, MaxCount=1, NetworkInterfaces=nics)
    assert again[0] == "InvalidNetworkInterface.InUse"
