"""VPCs: networks in mode private whose subnets lie in one block. Other networks that the project may use show as VPCs.

Rules
-----
1. A project's default VPC is made when it is asked for, or when something is launched without a subnet.
2. A VPC goes when nothing is in it but what came with it: its main route table, its default group.
3. A VPC has one IPv6 block or none. Where it has one, all its subnets have theirs of it, and all that is on them has
   IPv6 addresses: nobody is left out.
4. DNS is always there: the name server of each network knows its machines' names.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from guesthouse.catalog.places import REGION
from guesthouse.decide.addresses import network6
from guesthouse.doors.ec2 import ids
from guesthouse.doors.ec2.networks import kept, subnets
from guesthouse.doors.ec2.networks.routing import Routing
from guesthouse.doors.ec2.rows import Call, owner, tag_set
from guesthouse.engine.door_intents import Piece
from guesthouse.engine.network_intents import NetworkChange, NetworkCreate, NetworkDelete
from guesthouse.engine.stock import Stock
from guesthouse.formats.awsquery.fault import Fault
from guesthouse.formats.cloudids import ec2_id
from guesthouse.model.network import Network, NetworkMode, NetworkState

DEFAULT_BLOCK, DEFAULT_SUBNET = "172.31.0.0/16", "172.31.0.0/20"
_ATTRIBUTES = {"enableDnsSupport": ("EnableDnsSupport", True), "enableDnsHostnames": ("EnableDnsHostnames", False),
               "enableNetworkAddressUsageMetrics": ("EnableNetworkAddressUsageMetrics", False)}  # fmt: skip


def vpcs(stock: Stock) -> Iterable[dict[str, Any]]:
    """All networks whose addresses are ours."""
    return [vpc(stock, each) for each in stock.networks.values() if each.mode is not NetworkMode.BRIDGE]


def vpc(stock: Stock, network: Network) -> dict[str, Any]:
    """One network."""
    cidr, document = block_of(stock, network), kept.document(stock, network.id, kept.VPC)
    association = {
        "AssociationId": kept.joint_id("vpc-cidr-assoc", network.id),
        "CidrBlock": cidr,
        "CidrBlockState": {"State": "associated"},
    }
    return {
        "VpcId": ec2_id("vpc", network.id),
        "OwnerId": owner(stock) if network.project == stock.project.id else "000000000000",
        "CidrBlock": cidr,
        "CidrBlockAssociationSet": [association],
        "Ipv6CidrBlockAssociationSet": [_association6(network)] if network.ipv6 else [],
        "InstanceTenancy": "default",
        "IsDefault": bool(document.get("default")),
        "DhcpOptionsId": ec2_id("dopt", stock.project.id),
        "State": "available" if network.state is NetworkState.READY else "pending",
        "Tags": tag_set(stock.tags.get(network.id, {})),
    }


def _association6(network: Network, state: str = "associated") -> dict[str, Any]:
    return {
        "AssociationId": kept.joint_id("vpc-cidr-assoc", network.id, "ipv6"),
        "Ipv6CidrBlock": str(network6(network.id)),
        "Ipv6CidrBlockState": {"State": state},
        "NetworkBorderGroup": REGION,
        "Ipv6Pool": "Amazon",
        "Ipv6AddressAttribute": "private",
        "IpSource": "amazon",
    }


def block_of(stock: Stock, network: Network) -> str:
    """The block of a network; that of its first subnet where it has none of its own."""
    return network.cidr or next((each.cidr for each in stock.subnets.values() if each.network == network.id), "")


async def create(call: Call) -> Mapping[str, Any]:
    """Make a VPC with its main route table and default group."""
    cidr = subnets.check_block(ids.only(call["CidrBlock"], "CidrBlock"), "InvalidVpc.Range", "CidrBlock")
    piece = _piece(cidr, call.tags(kept.VPC), ipv6=bool(call["AmazonProvidedIpv6CidrBlock"]))
    (id,) = await call.make(piece, wait_s=kept.WAIT_S)
    stock = await call.stock(*kept.NOUNS)
    return {"Vpc": vpc(stock, stock.networks[id])}


async def create_default(call: Call) -> Mapping[str, Any]:
    """Make the default VPC with its subnet and internet gateway."""
    stock = await call.stock(*kept.NOUNS)
    if default_of(stock) is not None:
        raise Fault("DefaultVpcAlreadyExists", "A Default VPC already exists for this account in this region.")
    stock = await with_default(call)
    found = default_of(stock)
    assert found is not None
    return {"Vpc": vpc(stock, found)}


def default_of(stock: Stock) -> Network | None:
    """The project's default VPC."""
    return next(
        (each for id, each in stock.networks.items() if kept.document(stock, id, kept.VPC).get("default")), None
    )


async def with_default(call: Call) -> Stock:
    """What the project has, with its default VPC, which is made, or mended, where it is not whole."""
    call = replace(call, once=None)  # a token is that of what is then done there
    stock = await call.stock(*kept.NOUNS)
    network = default_of(stock)
    if network is None:
        await call.make(_piece(DEFAULT_BLOCK, {}, default=True), wait_s=kept.WAIT_S)
        stock = await call.stock(*kept.NOUNS)
        network = default_of(stock)
        assert network is not None
    await subnets.furnish_default(call, stock, network, DEFAULT_SUBNET)
    return await call.stock(*kept.NOUNS)


async def delete(call: Call) -> None:
    """Delete a VPC; raises `Fault` while something of the user's is in it."""
    stock = await call.stock(*kept.NOUNS)
    network = ids.one(stock.networks, "vpc", ids.only(call["VpcId"], "VpcId"))
    groups = [group for group in stock.groups.values() if group.network == network.id and group.name != "default"]
    tables = [each for each in Routing(stock).tables.values() if each.vpc == network.id and not each.is_main]
    gateways = kept.records(stock, kept.INTERNET_GATEWAY).values()
    if (
        groups
        or tables
        or any(each.network == network.id for each in stock.subnets.values())
        or any(each.document.get("vpc") == network.id for each in gateways)
    ):
        raise Fault("DependencyViolation", f"The vpc '{call['VpcId']}' has dependencies and cannot be deleted.")
    await call.do(NetworkDelete(network=network.id), wait_s=kept.WAIT_S)


async def attribute(call: Call) -> Mapping[str, Any]:
    """Tell an attribute."""
    stock = await call.stock(*kept.NOUNS)
    network = ids.one(stock.networks, "vpc", ids.only(call["VpcId"], "VpcId"))
    member, value = _ATTRIBUTES[ids.only(call["Attribute"], "Attribute")]
    if member == "EnableDnsHostnames":
        value = bool(network.domain)
    return {"VpcId": call["VpcId"], member: {"Value": value}}


async def modify_attribute(call: Call) -> None:
    """Attributes are as they are: DNS, and names of machines in it, are always there; others are refused."""
    stock = await call.stock(*kept.NOUNS)
    network = ids.one(stock.networks, "vpc", ids.only(call["VpcId"], "VpcId"))
    so = {"EnableDnsSupport": True, "EnableDnsHostnames": bool(network.domain),
          "EnableNetworkAddressUsageMetrics": False}  # fmt: skip
    for member, value in so.items():
        said = (call[member] or {}).get("Value", value)
        if said != value:
            raise Fault("UnsupportedOperation", f"{member} can only be {str(value).lower()} here")


async def associate(call: Call) -> Mapping[str, Any]:
    """Give a VPC its IPv6 block, and all that is in it addresses of that."""
    stock = await call.stock(*kept.NOUNS)
    network = ids.one(stock.networks, "vpc", ids.only(call["VpcId"], "VpcId"))
    if not call["AmazonProvidedIpv6CidrBlock"]:
        raise Fault("MissingParameter", "The request must contain the parameter AmazonProvidedIpv6CidrBlock: true")
    if network.ipv6:
        said = f"VPC {call['VpcId']} has its IPv6 CIDR block, and can have one only"
        raise Fault("CidrLimitExceeded", said)
    await call.do(NetworkChange(network=network.id, ipv6=True), wait_s=kept.WAIT_S)
    return {"VpcId": call["VpcId"], "Ipv6CidrBlockAssociation": _association6(network)}


async def disassociate(call: Call) -> Mapping[str, Any]:
    """Take a VPC's IPv6 block, and the addresses of all that is in it."""
    stock = await call.stock(*kept.NOUNS)
    id = ids.only(call["AssociationId"], "AssociationId")
    for network in stock.networks.values():
        if network.ipv6 and kept.joint_id("vpc-cidr-assoc", network.id, "ipv6") == id:
            await call.do(NetworkChange(network=network.id, ipv6=False), wait_s=kept.WAIT_S)
            return {
                "VpcId": ec2_id("vpc", network.id),
                "Ipv6CidrBlockAssociation": _association6(network, "disassociated"),
            }
        if kept.joint_id("vpc-cidr-assoc", network.id) == id:
            said = "The vpc CIDR block with which a VPC was made cannot be disassociated"
            raise Fault("OperationNotPermitted", said)
    raise Fault("InvalidCidrBlockAssociationID.NotFound", f"The vpc CIDR association ID '{id[:100]}' does not exist")


def _piece(cidr: str, tags: dict[str, str], *, default: bool = False, ipv6: bool = False) -> Piece:
    name = "default-vpc" if default else f"vpc-{secrets.token_hex(4)}"
    intent = NetworkCreate(name=name, mode=NetworkMode.PRIVATE, cidr=cidr, ipv6=ipv6)
    return Piece(intent=intent, kind=kept.VPC, document={"default": default}, tags=tags)
