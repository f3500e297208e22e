"""NAT gateways: a port that is kept, whose elastic address those share that routes lead there.

Rules
-----
1. A gateway has an elastic address from its beginning on; it is available when that leads to its port.
2. One that is deleted is shown for an hour.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from guesthouse.doors.ec2 import ids
from guesthouse.doors.ec2.networks import gateways, kept
from guesthouse.doors.ec2.networks.routing import Routing
from guesthouse.doors.ec2.rows import Call, tag_set
from guesthouse.engine.door_intents import Piece, Rewrite, Tagged
from guesthouse.engine.network_intents import AddressLead, PortCreate, PortDelete
from guesthouse.engine.stock import Stock
from guesthouse.formats.awsquery.fault import Fault
from guesthouse.formats.cloudids import ec2_id
from guesthouse.model.dialect import DoorRecord
from guesthouse.model.errors import GuesthouseError


def nats(stock: Stock) -> Iterable[dict[str, Any]]:
    """All NAT gateways, and those that were deleted not long ago."""
    return [nat(stock, each) for each in kept.records(stock, kept.NAT_GATEWAY).values()]


def nat(stock: Stock, record: DoorRecord) -> dict[str, Any]:
    """One of them."""
    document, port = record.document, stock.ports.get(record.subject)
    elastic = stock.elastic_of.get(record.subject)
    state = "deleted" if port is None else "available" if elastic else "pending"
    address = {
        "AllocationId": document["allocation"],
        "AssociationId": kept.association_id(elastic) if elastic else None,
        "IsPrimary": True,
        "NetworkInterfaceId": ec2_id("eni", record.subject),
        "PrivateIp": document.get("private") or (port.address if port else ""),
        "PublicIp": document["public"],
        "Status": "succeeded",
    }
    return {
        "NatGatewayId": ec2_id("nat", record.id),
        "VpcId": document["vpc"],
        "SubnetId": document["subnet"],
        "CreateTime": record.created_at,
        "DeleteTime": record.gone_at or None,
        "State": state,
        "ConnectivityType": "public",
        "NatGatewayAddresses": [{name: value for name, value in address.items() if value is not None}],
        "Tags": tag_set(stock.tags.get(record.id, {})),
    }


async def create(call: Call) -> Mapping[str, Any]:
    """Make a NAT gateway in a subnet, with an elastic address that leads nowhere yet."""
    stock = await call.stock(*kept.NOUNS)
    if (before := _made_before(call, stock)) is not None:
        return {"NatGateway": nat(stock, before), "ClientToken": call["ClientToken"]}
    subnet = ids.one(stock.subnets, "subnet", ids.only(call["SubnetId"], "SubnetId"))
    elastic = ids.one(stock.elastics, "eipalloc", ids.only(call["AllocationId"], "AllocationId"))
    if elastic.port:
        said = f"Elastic IP address [{call['AllocationId']}] is already associated"
        raise Fault("Resource.AlreadyAssociated", said)
    if not gateways.is_public(stock, subnet.network):
        raise Fault("Gateway.NotAttached", f"Network {ec2_id('vpc', subnet.network)} has no Internet gateway attached")
    document = {
        "vpc": ec2_id("vpc", subnet.network),
        "subnet": call["SubnetId"],
        "allocation": call["AllocationId"],
        "public": elastic.address,
        "token": call["ClientToken"] or "",
    }
    intent = PortCreate(network=subnet.network, subnet=subnet.id, address=call["PrivateIpAddress"] or "")
    piece = Piece(intent=intent, kind=kept.NAT_GATEWAY, document=document)
    call = replace(call, once=None)  # the gateway's record has the token: it is made in two steps
    (port,) = await call.make(piece, wait_s=kept.WAIT_S)
    record = kept.record(await call.stock(*kept.NOUNS), port, kept.NAT_GATEWAY)
    assert record is not None
    tagged = Tagged(subject=record.id, put=call.tags(kept.NAT_GATEWAY))
    try:
        await call.do(tagged, AddressLead(address=elastic.id, port=port), wait_s=kept.WAIT_S)
    except GuesthouseError:
        await call.do(PortDelete(port=port), wait_s=kept.WAIT_S)
        raise
    after = await call.stock(*kept.NOUNS)
    return {"NatGateway": nat(after, record), "ClientToken": call["ClientToken"]}


def _made_before(call: Call, stock: Stock) -> DoorRecord | None:
    """The gateway that a request with this token made; raises `Fault` where that was another request."""
    for record in kept.records(stock, kept.NAT_GATEWAY).values() if call["ClientToken"] else ():
        document = record.document
        if document["token"] == call["ClientToken"] and record.subject in stock.elastic_of:
            if (document["subnet"], document["allocation"]) != (call["SubnetId"], call["AllocationId"]):
                raise Fault("IdempotentParameterMismatch", "The token was used for another request")
            return record
    return None


async def delete(call: Call) -> Mapping[str, Any]:
    """Delete a NAT gateway: who went out by it has no way any more. Its elastic address is kept."""
    stock = await call.stock(*kept.NOUNS)
    id = ids.only(call["NatGatewayId"], "NatGatewayId")
    try:
        record = ids.one(Routing(stock).nats, "nat", id)
    except Fault as fault:
        if fault.code.endswith("NotFound"):
            raise Fault("NatGatewayNotFound", f"The Nat Gateway {id} was not found") from None
        raise
    port = stock.ports[record.subject]
    routing = Routing(stock)
    del routing.nats[record.id]
    told = {"private": port.address}
    pieces = [*routing.pieces(), Piece(intent=Rewrite(record=record.id, parts=told))]
    await call.make(*pieces, Piece(intent=PortDelete(port=port.id)), wait_s=kept.WAIT_S)
    return {"NatGatewayId": id}
