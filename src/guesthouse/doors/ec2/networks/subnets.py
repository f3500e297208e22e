"""Subnets of VPCs: those of the house's networks, with the ways out that routes mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from guesthouse.catalog.places import ZONE, ZONE_ID
from guesthouse.decide.addresses import number6
from guesthouse.doors.ec2 import ids
from guesthouse.doors.ec2.networks import kept
from guesthouse.doors.ec2.networks.routing import EVERYWHERE, Routing
from guesthouse.doors.ec2.rows import DOOR, Call, owner, tag_set
from guesthouse.engine.door_intents import Forget, Keep, Piece, Rewrite
from guesthouse.engine.network_intents import SubnetCreate, SubnetDelete
from guesthouse.engine.stock import Stock
from guesthouse.formats.awsquery.fault import Fault
from guesthouse.formats.cloudids import ec2_id
from guesthouse.model.errors import Conflict, Invalid
from guesthouse.model.network import Network, Outlet, Subnet

_PREFIXES = range(16, 29)
_OURS = 3
"""Addresses of a subnet that no machine gets: its own, the gateway's, the broadcast address."""


def subnets(stock: Stock) -> Iterable[dict[str, Any]]:
    """The subnets of all networks that the project may use."""
    return [subnet(stock, each) for each in stock.subnets.values()]


def subnet(stock: Stock, found: Subnet) -> dict[str, Any]:
    """One subnet."""
    document, id = kept.document(stock, found.id, kept.SUBNET), ec2_id("subnet", found.id)
    taken = sum(port.subnet == found.id for port in stock.ports.values())
    account = owner(stock)
    return {
        "SubnetId": id,
        "SubnetArn": f"arn:aws:ec2:{ZONE[:-1]}:{account}:subnet/{id}",
        "VpcId": ec2_id("vpc", found.network),
        "OwnerId": account,
        "CidrBlock": found.cidr,
        "AvailableIpAddressCount": max(0, IPv4Network(found.cidr).num_addresses - _OURS - taken),
        "AvailabilityZone": ZONE,
        "AvailabilityZoneId": ZONE_ID,
        "DefaultForAz": bool(document.get("default")),
        "MapPublicIpOnLaunch": bool(document.get("public")),
        "AssignIpv6AddressOnCreation": bool(found.cidr6),
        "MapCustomerOwnedIpOnLaunch": False,
        "EnableDns64": False,
        "Ipv6Native": False,
        "Ipv6CidrBlockAssociationSet": [_association6(found)] if found.cidr6 else [],
        "PrivateDnsNameOptionsOnLaunch": {
            "HostnameType": "ip-name",
            "EnableResourceNameDnsARecord": False,
            "EnableResourceNameDnsAAAARecord": False,
        },
        "State": "available",
        "Tags": tag_set(stock.tags.get(found.id, {})),
    }


def _association6(found: Subnet) -> dict[str, Any]:
    return {
        "AssociationId": kept.joint_id("subnet-cidr-assoc", found.id),
        "Ipv6CidrBlock": found.cidr6,
        "Ipv6CidrBlockState": {"State": "associated"},
        "Ipv6AddressAttribute": "private",
        "IpSource": "amazon",
    }


async def create(call: Call) -> Mapping[str, Any]:
    """Make a subnet; its way out is that of the VPC's main route table."""
    stock = await call.stock(*kept.NOUNS)
    network = ids.one(stock.networks, "vpc", ids.only(call["VpcId"], "VpcId"))
    cidr = check_block(ids.only(call["CidrBlock"], "CidrBlock"), "InvalidSubnet.Range", "CidrBlock")
    _check_zone(call)
    number = _number_of(network, call["Ipv6CidrBlock"]) if call["Ipv6CidrBlock"] else 0
    id = await _make(call, stock, network, cidr, {}, call.tags(kept.SUBNET), number)
    after = await call.stock(*kept.NOUNS)
    return {"Subnet": subnet(after, after.subnets[id])}


def _number_of(network: Network, cidr6: str) -> int:
    """The number of the subnet that has this IPv6 block; raises `Fault` where none can have it."""
    try:
        number = number6(network.id, IPv6Network(cidr6)) if network.ipv6 else 0
    except ValueError:
        number = 0
    if not number:
        said = f"The CIDR '{cidr6[:50]}' is invalid: name a /64 of the VPC's IPv6 block, from its second one on"
        raise Fault("InvalidSubnet.Range", said)
    return number


def _check_zone(call: Call) -> None:
    for name, only in (("AvailabilityZone", ZONE), ("AvailabilityZoneId", ZONE_ID)):
        if call[name] not in (None, only):
            raise Fault("InvalidParameterValue", f"Value ({call[name]}) for parameter {name} is invalid. Subnets can"
                        f" currently only be created in the following availability zones: {only}.")  # fmt: skip


async def _make(
    call: Call,
    stock: Stock,
    network: Network,
    cidr: str,
    document: dict[str, Any],
    tags: dict[str, str],
    number: int = 0,
) -> str:
    plain = Subnet(id="", project="", network=network.id, name="", number=0, cidr=cidr, gateway="", first="", last="")
    outlet, gate = Routing(stock).way(plain)
    piece = Piece(
        # What goes by a NAT gateway gets its way as soon as the subnet has an id.
        intent=SubnetCreate(network=network.id, cidr=cidr, outlet=Outlet.NONE if gate else outlet, number=number),
        kind=kept.SUBNET,
        document=document,
        tags=tags,
    )
    try:
        (id,) = await call.make(piece, wait_s=kept.WAIT_S)
    except Conflict as error:
        if error.field in ("cidr", "number"):
            said = cidr if error.field == "cidr" else call["Ipv6CidrBlock"]
            raise Fault("InvalidSubnet.Conflict", f"The CIDR '{said}' conflicts with another subnet") from error
        raise
    except Invalid as error:
        if error.field == "cidr":
            raise Fault("InvalidSubnet.Range", f"The CIDR '{cidr}' is invalid.") from error
        raise
    if gate:
        await call.make(*Routing(await call.stock(*kept.NOUNS)).pieces(), wait_s=kept.WAIT_S)
    return id


async def furnish_default(call: Call, stock: Stock, network: Network, cidr: str) -> None:
    """Give the default VPC what it lacks: a subnet, and an internet gateway to which its main table leads."""
    routing = Routing(stock)
    if network.id not in routing.attached.values():
        gateway = Keep(door=DOOR, kind=kept.INTERNET_GATEWAY, document={"vpc": network.id})
        (id,) = await call.do(gateway)
        routing = Routing(await call.stock(*kept.NOUNS))
        main = next(table for table in routing.tables.values() if table.is_main and table.vpc == network.id)
        main.routes.setdefault(EVERYWHERE, id)
        if pieces := routing.pieces():
            await call.make(*pieces, wait_s=kept.WAIT_S)
    if not any(kept.document(stock, id, kept.SUBNET).get("default") for id in stock.subnets):
        document = {"default": True, "public": bool(stock.pools)}
        await _make(call, await call.stock(*kept.NOUNS), network, cidr, document, {})


async def delete(call: Call) -> None:
    """Delete a subnet on which nothing is."""
    stock = await call.stock(*kept.NOUNS)
    found = ids.one(stock.subnets, "subnet", ids.only(call["SubnetId"], "SubnetId"))
    if any(port.subnet == found.id for port in stock.ports.values()):
        raise Fault("DependencyViolation", f"The subnet '{call['SubnetId']}' has dependencies and cannot be deleted.")
    routing = Routing(stock)
    for table in routing.tables.values():
        table.subnets = [id for id in table.subnets if id != found.id]
    record = kept.record(stock, found.id, kept.SUBNET)
    pieces = [piece for piece in routing.pieces() if isinstance(piece.intent, Rewrite)]
    pieces += [Piece(intent=Forget(record=record.id))] if record else []
    pieces.append(Piece(intent=SubnetDelete(network=found.network, subnet=found.id)))
    await call.make(*pieces, wait_s=kept.WAIT_S)


async def modify(call: Call) -> None:
    """Say whether who is launched there gets a public address: that takes a house that has some."""
    stock = await call.stock(*kept.NOUNS)
    found = ids.one(stock.subnets, "subnet", ids.only(call["SubnetId"], "SubnetId"))
    if call["MapPublicIpOnLaunch"] is None:
        raise Fault("MissingParameter", "The request must contain the parameter MapPublicIpOnLaunch")
    public = bool(call["MapPublicIpOnLaunch"].get("Value"))
    if public:
        refuse_without_pool(stock)
    record = kept.record(stock, found.id, kept.SUBNET)
    if record is not None:
        await call.do(Rewrite(record=record.id, parts={"public": public}))
    elif found.project == stock.project.id:
        await call.do(Keep(door=DOOR, kind=kept.SUBNET, subject=found.id, document={"public": public}))
    else:
        raise Fault("OperationNotPermitted", f"The subnet '{call['SubnetId']}' is another account's")


def refuse_without_pool(stock: Stock) -> None:
    """Raise `Fault` where the house has no elastic addresses."""
    if not stock.pools:
        hint = "its operator gives it some by `guest address pool add`"
        raise Fault("UnsupportedOperation", f"This house has no public addresses: {hint}")


def check_block(cidr: str, code: str, name: str) -> str:
    """A block of addresses as EC2 takes them, written as `ipaddress` writes it; raises `Fault`."""
    try:
        block = IPv4Network(cidr, strict=False)
    except ValueError:
        raise Fault("InvalidParameterValue", f"Value ({cidr[:50]}) for parameter {name} is invalid. This is not a valid"
                    " CIDR block.") from None  # fmt: skip
    if block.prefixlen not in _PREFIXES:
        raise Fault(code, f"The CIDR '{cidr}' is invalid.")
    return str(block)
