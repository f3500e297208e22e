"""Internet gateways: records that routes name. What one means is in the subnets (`routing`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from guesthouse.doors.ec2 import ids
from guesthouse.doors.ec2.networks import kept
from guesthouse.doors.ec2.networks.routing import Routing
from guesthouse.doors.ec2.rows import DOOR, Call, owner, tag_set
from guesthouse.engine.door_intents import Forget, Keep, Piece
from guesthouse.engine.stock import Stock
from guesthouse.formats.awsquery.fault import Fault
from guesthouse.formats.cloudids import ec2_id
from guesthouse.model.dialect import DoorRecord
from guesthouse.model.network import Network


def gateways(stock: Stock) -> Iterable[dict[str, Any]]:
    """All internet gateways."""
    return [gateway(stock, each) for each in kept.records(stock, kept.INTERNET_GATEWAY).values()]


def gateway(stock: Stock, record: DoorRecord) -> dict[str, Any]:
    """One of them."""
    vpc = record.document.get("vpc", "")
    is_attached = vpc in stock.networks
    return {
        "InternetGatewayId": ec2_id("igw", record.id),
        "OwnerId": owner(stock),
        "Attachments": [{"State": "available", "VpcId": ec2_id("vpc", vpc)}] if is_attached else [],
        "Tags": tag_set(stock.tags.get(record.id, {})),
    }


async def create(call: Call) -> Mapping[str, Any]:
    """Make an internet gateway that is attached to nothing."""
    intent = Keep(door=DOOR, kind=kept.INTERNET_GATEWAY, document={"vpc": ""})
    (id,) = await call.make(Piece(intent=intent, tags=call.tags(kept.INTERNET_GATEWAY)))
    stock = await call.stock(*kept.NOUNS)
    return {"InternetGateway": gateway(stock, stock.records[id])}


async def delete(call: Call) -> None:
    """Delete an internet gateway that is attached to nothing."""
    stock = await call.stock(*kept.NOUNS)
    record = _one(call, stock)
    if record.document.get("vpc") in stock.networks:
        said = f"The internetGateway '{call['InternetGatewayId']}' has dependencies and cannot be deleted."
        raise Fault("DependencyViolation", said)
    await call.do(Forget(record=record.id))


async def attach(call: Call) -> None:
    """Attach a gateway to a VPC, one to one."""
    stock = await call.stock(*kept.NOUNS)
    record, network = _one(call, stock), _vpc(call, stock)
    routing = Routing(stock)
    if record.document.get("vpc") in stock.networks:
        said = f"resource {call['InternetGatewayId']} is already attached to a network"
        raise Fault("Resource.AlreadyAssociated", said)
    if network.id in routing.attached.values():
        said = f"Network {call['VpcId']} already has an internet gateway attached"
        raise Fault("InvalidParameterValue", said)
    routing.attached[record.id] = network.id
    await call.make(*routing.pieces(), wait_s=kept.WAIT_S)


async def detach(call: Call) -> None:
    """Take a gateway from a VPC of which no public address is in use."""
    stock = await call.stock(*kept.NOUNS)
    record, network = _one(call, stock), _vpc(call, stock)
    if record.document.get("vpc") != network.id:
        said = f"resource {call['InternetGatewayId']} is not attached to network {call['VpcId']}"
        raise Fault("Gateway.NotAttached", said)
    if any(each.network == network.id for each in stock.elastics.values()):
        said = f"Network {call['VpcId']} has some mapped public address(es). Please unmap those before detaching the"
        raise Fault("DependencyViolation", f"{said} gateway.")
    routing = Routing(stock)
    routing.attached[record.id] = ""
    await call.make(*routing.pieces(), wait_s=kept.WAIT_S)


def is_public(stock: Stock, network: str) -> bool:
    """Whether an internet gateway is attached to a network; always so of one that this door did not make."""
    return kept.record(stock, network, kept.VPC) is None or network in Routing(stock).attached.values()


def _one(call: Call, stock: Stock) -> DoorRecord:
    id = ids.only(call["InternetGatewayId"], "InternetGatewayId")
    return ids.one(kept.records(stock, kept.INTERNET_GATEWAY), "igw", id)


def _vpc(call: Call, stock: Stock) -> Network:
    return ids.one(stock.networks, "vpc", ids.only(call["VpcId"], "VpcId"))
