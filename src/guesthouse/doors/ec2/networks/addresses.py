"""Elastic addresses. Those that are lent to machines show at these, and not here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from guesthouse.catalog.places import REGION
from guesthouse.doors.ec2 import ids
from guesthouse.doors.ec2.networks import gateways, kept
from guesthouse.doors.ec2.rows import Call, owner, tag_set
from guesthouse.engine.door_intents import Piece
from guesthouse.engine.intents import Intent
from guesthouse.engine.network_intents import AddressAllocate, AddressDetach, AddressLead, AddressRelease
from guesthouse.engine.stock import Stock
from guesthouse.formats.awsquery.fault import Fault
from guesthouse.formats.cloudids import ec2_id
from guesthouse.model.errors import NoCapacity
from guesthouse.model.network import Elastic, Port

KIND = "elastic-ip"


def addresses(stock: Stock) -> Iterable[dict[str, Any]]:
    """The project's elastic addresses."""
    return [address(stock, each) for each in stock.elastics.values() if not each.lent]


def address(stock: Stock, elastic: Elastic) -> dict[str, Any]:
    """One of them."""
    port = stock.ports.get(elastic.port)
    found = {
        "AllocationId": ec2_id("eipalloc", elastic.id),
        "PublicIp": elastic.address,
        "PublicIpv4Pool": "amazon",
        "NetworkBorderGroup": REGION,
        "Domain": "vpc",
        "Tags": tag_set(stock.tags.get(elastic.id, {})),
    }
    if port is not None:
        found |= {
            "AssociationId": kept.association_id(elastic),
            "NetworkInterfaceId": ec2_id("eni", port.id),
            "NetworkInterfaceOwnerId": owner(stock),
            "PrivateIpAddress": port.address,
        }
        found |= {"InstanceId": ec2_id("i", port.machine)} if port.machine else {}
    return found


async def allocate(call: Call) -> Mapping[str, Any]:
    """Take an address of the house's pools."""
    piece = Piece(intent=AddressAllocate(address=call["Address"] or ""), tags=call.tags(KIND))
    try:
        (id,) = await call.make(piece)
    except NoCapacity as error:
        raise Fault("InsufficientAddressCapacity", f"{error.message} ({error.hint})") from error
    elastic = (await call.stock("elastics")).elastics[id]
    return {
        "AllocationId": ec2_id("eipalloc", id),
        "PublicIp": elastic.address,
        "PublicIpv4Pool": "amazon",
        "NetworkBorderGroup": REGION,
        "Domain": "vpc",
    }


async def release(call: Call) -> None:
    """Give an address back that leads nowhere."""
    stock = await call.stock(*kept.NOUNS)
    elastic = _elastic(call, stock)
    if elastic.port:
        said = f"Address {elastic.address} is in use."
        raise Fault("InvalidIPAddress.InUse", said)
    await call.do(AddressRelease(address=elastic.id))


async def associate(call: Call) -> Mapping[str, Any]:
    """Have an address lead to an instance's first interface, or to a certain one."""
    stock = await call.stock(*kept.NOUNS)
    elastic, port = _elastic(call, stock), _port(call, stock)
    if not gateways.is_public(stock, port.network):
        raise Fault("Gateway.NotAttached", f"Network {ec2_id('vpc', port.network)} is not attached to any internet"
                    " gateway")  # fmt: skip
    if call["PrivateIpAddress"] not in (None, port.address):
        said = f"The private IP address '{call['PrivateIpAddress']}' is not that of the interface"
        raise Fault("InvalidParameterValue", said)
    if elastic.port not in ("", port.id) and call["AllowReassociation"] is False:
        said = f"resource {ec2_id('eipalloc', elastic.id)} is already associated with another interface"
        raise Fault("Resource.AlreadyAssociated", said)
    there = stock.elastic_of.get(port.id)
    if there is not None and there.id != elastic.id and not there.lent and call["AllowReassociation"] is False:
        said = f"resource {ec2_id('eni', port.id)} is already associated with address {there.address}"
        raise Fault("Resource.AlreadyAssociated", said)
    intents: list[Intent] = []
    if elastic.network not in ("", port.network):
        intents.append(AddressDetach(address=elastic.id))
    await call.do(*intents, AddressLead(address=elastic.id, port=port.id, move=True), wait_s=kept.WAIT_S)
    after = (await call.stock("elastics")).elastics[elastic.id]
    return {"AssociationId": kept.association_id(after)}


async def disassociate(call: Call) -> None:
    """Have an address lead nowhere."""
    stock = await call.stock(*kept.NOUNS)
    wanted = call["AssociationId"]
    if wanted is None:
        elastic: Elastic | None = _elastic(call, stock)
    else:
        own = (each for each in stock.elastics.values() if each.port and not each.lent)
        elastic = next((each for each in own if kept.association_id(each) == wanted), None)
    if elastic is None or not elastic.port:
        raise Fault("InvalidAssociationID.NotFound", f"The association ID '{wanted or ''}' does not exist")
    if kept.record(stock, elastic.port, kept.NAT_GATEWAY) is not None:
        raise Fault("OperationNotPermitted", "You are not allowed to manage 'nat_gateway' associations.")
    await call.do(AddressDetach(address=elastic.id), wait_s=kept.WAIT_S)


def _elastic(call: Call, stock: Stock) -> Elastic:
    own = {id: each for id, each in stock.elastics.items() if not each.lent}
    if call["AllocationId"] is not None:
        return ids.one(own, "eipalloc", call["AllocationId"])
    wanted = ids.only(call["PublicIp"], "AllocationId")
    for elastic in own.values():
        if elastic.address == wanted:
            return elastic
    raise Fault("InvalidAddress.NotFound", f"Address '{wanted[:50]}' not found.")


def _port(call: Call, stock: Stock) -> Port:
    if call["NetworkInterfaceId"] is not None:
        return ids.one(stock.ports, "eni", call["NetworkInterfaceId"])
    machine = ids.one(stock.machines, "i", ids.only(call["InstanceId"], "InstanceId"))
    ports = stock.ports_of.get(machine.id, {})
    first = next((ports[nic.mac] for nic in machine.spec.nics if nic.mac in ports), None)
    if first is None:
        raise Fault("InvalidInstanceID", f"The instance '{call['InstanceId']}' is on no network")
    return first
