"""VPCs through the EC2 door with real machines: groups, gateways, elastic addresses, and two VPCs that are the same."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from tests.host.nets import FAR, HOST, ask, left, listener, on_a_host, serving
from tests.vm.houses import Daemon, a_daemon, guest
from tests.vm.test_networks import a_house_on_a_host, until_ready

from guesthouse.formats.cloudids import ec2_id
from guesthouse.host.images.built import BuiltImage
from guesthouse.host.networks.namespace import Namespace
from guesthouse.model.house import House

pytestmark = pytest.mark.vm
SSH = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
EVERYWHERE = "0.0.0.0/0"
PORT = 8000


class Site:
    """A house whose EC2 door is open, and what is outside of its host."""

    def __init__(self, house: House, there: Namespace, daemon: Daemon, client: Any, image: str) -> None:
        self.house, self.there, self.daemon, self.client, self.image = house, there, daemon, client, image

    async def __call__(self, operation: str, **arguments: Any) -> Any:
        return await asyncio.to_thread(getattr(self.client, operation), **arguments)

    async def vpc(self) -> tuple[str, str]:
        """A VPC and its subnet; all have the same addresses."""
        vpc = (await self("create_vpc", CidrBlock="10.0.0.0/16"))["Vpc"]["VpcId"]
        return vpc, (await self("create_subnet", VpcId=vpc, CidrBlock="10.0.1.0/24"))["Subnet"]["SubnetId"]

    async def internet(self, vpc: str) -> None:
        """An internet gateway to which the main table leads."""
        gateway = (await self("create_internet_gateway"))["InternetGateway"]["InternetGatewayId"]
        await self("attach_internet_gateway", InternetGatewayId=gateway, VpcId=vpc)
        await self("create_route", RouteTableId=await self.main_table(vpc), DestinationCidrBlock=EVERYWHERE,
                   GatewayId=gateway)  # fmt: skip

    async def main_table(self, vpc: str) -> str:
        filters = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "association.main", "Values": ["true"]}]
        return str((await self("describe_route_tables", Filters=filters))["RouteTables"][0]["RouteTableId"])

    async def launch(self, name: str, subnet: str) -> str:
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": name}]}]
        made = await self("run_instances", ImageId=self.image, InstanceType="t2.nano", MinCount=1, MaxCount=1,
                          SubnetId=subnet, TagSpecifications=tags)  # fmt: skip
        return str(made["Instances"][0]["InstanceId"])

    async def goes_out(self, machine: str) -> str:
        """By which address a machine comes to a server far away, "" where it does not."""
        line = f"echo | nc -w 2 {FAR} {PORT} 2>/dev/null | head -n 1; true"
        said = await guest(self.house, "exec", machine, "--", "sh", "-c", line)
        return said.strip().removeprefix("far from ")

    async def comes_in(self, address: str, *, denied: bool = False) -> bool:
        return (await ask(self.there, address, 22, denied=denied)).startswith("SSH-2.0")


def test_vpcs_with_real_machines(tmp_path: Path, micro_image: BuiltImage) -> None:
    async def look() -> None:
        async with a_house_on_a_host(micro_image) as (house, there), a_daemon(house, networks=True) as daemon:
            await until_ready(daemon)
            await guest(house, "address", "pool", "add", "203.0.113.48/28")
            site = Site(house, there, daemon, await _client(house), await _image(daemon))
            async with serving({"far": listener(there, PORT)}):
                await _two_vpcs(site)
        assert left() == []

    on_a_host(tmp_path, look)


async def _client(house: House) -> Any:
    await guest(house, "ec2", "enable", "--listen", "127.0.0.1:0")
    said = json.loads(await guest(house, "ec2", "credentials", "--json"))
    make: Callable[..., Any] = botocore.session.Session().create_client
    return make(
        "ec2", region_name=said["AWS_DEFAULT_REGION"], endpoint_url=said["AWS_ENDPOINT_URL"],
        aws_access_key_id=said["AWS_ACCESS_KEY_ID"], aws_secret_access_key=said["AWS_SECRET_ACCESS_KEY"],
    )  # fmt: skip


async def _image(daemon: Daemon) -> str:
    return ec2_id("ami", (await daemon.ask("GET", "/images"))["items"][0]["id"])


async def _two_vpcs(site: Site) -> None:
    (front, in_front), (back, in_back) = await site.vpc(), await site.vpc()
    web, db = await site.launch("web", in_front), await site.launch("db", in_back)
    for name in ("web", "db"):
        await site.daemon.reach(name, "configured")
    shown = (await site("describe_instances"))["Reservations"]
    assert [each["PrivateIpAddress"] for r in shown for each in r["Instances"]] == ["10.0.1.2"] * 2
    assert [await site.goes_out(name) for name in ("web", "db")] == ["", ""], "no gateway, no way"
    await _elastic(site, front, web)
    await _nat(site, back, in_back)
    assert await site.goes_out("web") == "", "the other VPC's gateway is not its own"
    for id in (web, db):
        await site("terminate_instances", InstanceIds=[id])
    waiter = site.client.get_waiter("instance_terminated")
    said = {"InstanceIds": [web, db], "WaiterConfig": {"Delay": 1, "MaxAttempts": 60}}
    await asyncio.to_thread(waiter.wait, **said)


async def _elastic(site: Site, vpc: str, instance: str) -> None:
    """An elastic address leads to the instance and out again, as far as its group lets it."""
    await site.internet(vpc)
    assert await site.goes_out("web") == "", "a gateway alone is no way for who has no public address"
    address = await site("allocate_address")
    association = (await site("associate_address", AllocationId=address["AllocationId"], InstanceId=instance))[
        "AssociationId"
    ]
    assert await site.goes_out("web") == address["PublicIp"]
    assert not await site.comes_in(address["PublicIp"], denied=True)
    filters = [{"Name": "vpc-id", "Values": [vpc]}]
    group = (await site("describe_security_groups", Filters=filters))["SecurityGroups"][0]["GroupId"]
    await site("authorize_security_group_ingress", GroupId=group, IpPermissions=[SSH])
    assert await site.comes_in(address["PublicIp"])
    await site("revoke_security_group_ingress", GroupId=group, IpPermissions=[SSH])
    assert not await site.comes_in(address["PublicIp"], denied=True)
    await site("disassociate_address", AssociationId=association)
    assert await site.goes_out("web") == ""


async def _nat(site: Site, vpc: str, subnet: str) -> None:
    """Who is routed to a NAT gateway goes out by its address; nobody comes in by that."""
    await site.internet(vpc)
    public = (await site("create_subnet", VpcId=vpc, CidrBlock="10.0.9.0/24"))["Subnet"]["SubnetId"]
    address = await site("allocate_address")
    made = await site("create_nat_gateway", SubnetId=public, AllocationId=address["AllocationId"])
    id = made["NatGateway"]["NatGatewayId"]
    table = (await site("create_route_table", VpcId=vpc))["RouteTable"]["RouteTableId"]
    await site("associate_route_table", RouteTableId=table, SubnetId=subnet)
    assert await site.goes_out("db") == ""
    await site("create_route", RouteTableId=table, DestinationCidrBlock=EVERYWHERE, NatGatewayId=id)
    assert await site.goes_out("db") == address["PublicIp"] != HOST
    assert not await site.comes_in(address["PublicIp"], denied=True)
    await site("delete_nat_gateway", NatGatewayId=id)
    assert await site.goes_out("db") == ""
