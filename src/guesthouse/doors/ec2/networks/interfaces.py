"""Network interfaces: ports of the house's networks, with a machine or without.

Rules
-----
1. One that is made by itself stays when its machine goes, unless it is said otherwise of its attachment; one that was
   launched with a machine goes with it.
2. The first NIC of a machine stays its own. Further ones are attached and detached while it runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from guesthouse.catalog.places import ZONE, ZONE_ID
from guesthouse.doors.ec2 import ids
from guesthouse.doors.ec2.networks import kept
from guesthouse.doors.ec2.rows import DOOR, Call, owner, tag_set
from guesthouse.engine.door_intents import Keep, Piece, Rewrite
from guesthouse.engine.intents import Intent
from guesthouse.engine.network_intents import PortChange, PortCreate, PortDelete
from guesthouse.engine.nic_intents import NicAdd, NicChange, NicRemove
from guesthouse.engine.stock import Stock
from guesthouse.formats.awsquery.fault import Fault
from guesthouse.formats.cloudids import ec2_id
from guesthouse.model.errors import Conflict, Invalid
from guesthouse.model.machine import Machine
from guesthouse.model.network import Port


def interfaces(stock: Stock) -> Iterable[dict[str, Any]]:
    """All ports."""
    return [interface(stock, each) for each in stock.ports.values()]


def interface(stock: Stock, port: Port) -> dict[str, Any]:
    """One port."""
    network, machine = stock.networks.get(port.network), stock.machines.get(port.machine)
    nat = kept.record(stock, port.id, kept.NAT_GATEWAY)
    document = kept.document(stock, port.id, kept.INTERFACE)
    association = _association(stock, port)
    address = {"Primary": True, "PrivateIpAddress": port.address, "Association": association}
    found = {
        "Association": association,
        "Attachment": _attachment(stock, port, machine),
        "AvailabilityZone": ZONE,
        "AvailabilityZoneId": ZONE_ID,
        "Description": f"Interface for NAT Gateway {ec2_id('nat', nat.id)}" if nat else document.get("description", ""),
        "Groups": groups(stock, port),
        "InterfaceType": "nat_gateway" if nat else "interface",
        "Ipv6Addresses": [{"Ipv6Address": port.address6}] if port.address6 else [],
        "MacAddress": port.mac,
        "NetworkInterfaceId": ec2_id("eni", port.id),
        "OwnerId": owner(stock),
        "PrivateDnsName": f"{machine.name}.{network.domain}" if machine and network and network.domain else None,
        "PrivateIpAddress": port.address,
        "PrivateIpAddresses": [{name: value for name, value in address.items() if value is not None}],
        "RequesterManaged": nat is not None,
        "SourceDestCheck": port.guarded,
        "Status": "in-use" if port.machine or nat else "available",
        "SubnetId": ec2_id("subnet", port.subnet) or None,
        "TagSet": tag_set(stock.tags.get(port.id, {})),
        "VpcId": ec2_id("vpc", port.network),
    }
    return {name: value for name, value in found.items() if value is not None}


def groups(stock: Stock, port: Port) -> list[dict[str, str]]:
    """The groups of a port."""
    found = [stock.groups[id] for id in port.groups if id in stock.groups]
    return [{"GroupId": ec2_id("sg", each.id), "GroupName": kept.group_name(stock, each)} for each in found]


def attachment_id(port: Port) -> str:
    """The id of what puts a port into its machine."""
    return ec2_id("eni-attach", port.id)


def _association(stock: Stock, port: Port) -> dict[str, Any] | None:
    elastic = stock.elastic_of.get(port.id)
    if elastic is None:
        return None
    found = {"IpOwnerId": "amazon" if elastic.lent else owner(stock), "PublicDnsName": "", "PublicIp": elastic.address}
    if not elastic.lent:
        found |= {"AllocationId": ec2_id("eipalloc", elastic.id), "AssociationId": kept.association_id(elastic)}
    return found


def _attachment(stock: Stock, port: Port, machine: Machine | None) -> dict[str, Any] | None:
    if machine is None:
        return None
    index = next((number for number, nic in enumerate(machine.spec.nics) if nic.mac == port.mac), None)
    return {
        "AttachmentId": attachment_id(port),
        "DeleteOnTermination": not port.stays,
        "DeviceIndex": index if index is not None else len(machine.spec.nics),
        "NetworkCardIndex": 0,
        "InstanceId": ec2_id("i", machine.id),
        "InstanceOwnerId": owner(stock),
        "Status": "attached" if index is not None else "detaching",
    }


async def create(call: Call) -> Mapping[str, Any]:
    """Make a network interface that no instance has."""
    stock = await call.stock(*kept.NOUNS)
    subnet = ids.one(stock.subnets, "subnet", ids.only(call["SubnetId"], "SubnetId"))
    groups_ = ids.several(stock.groups, "sg", call["Groups"] or ())
    intent = PortCreate(
        network=subnet.network,
        subnet=subnet.id,
        address=call["PrivateIpAddress"] or "",
        groups=tuple(group.id for group in groups_),
    )
    document = {"description": call["Description"] or ""}
    piece = Piece(intent=intent, kind=kept.INTERFACE, document=document, tags=call.tags(kept.INTERFACE))
    try:
        (id,) = await call.make(piece, wait_s=kept.WAIT_S)
    except (Conflict, Invalid) as error:
        if error.field != "address":
            raise
        code = "InvalidIPAddress.InUse" if isinstance(error, Conflict) else "InvalidParameterValue"
        raise Fault(code, f"The specified address cannot be had: {error.message}") from error
    after = await call.stock(*kept.NOUNS)
    return {"NetworkInterface": interface(after, after.ports[id]), "ClientToken": call["ClientToken"]}


async def delete(call: Call) -> None:
    """Delete a network interface that no instance has."""
    stock, port = await one(call)
    if kept.record(stock, port.id, kept.NAT_GATEWAY) is not None:
        said = "You are not allowed to manage 'nat_gateway' attachments."
        raise Fault("OperationNotPermitted", said)
    if port.machine:
        said = f"Network interface '{call['NetworkInterfaceId']}' is currently in use."
        raise Fault("InvalidParameterValue", said)
    await call.do(PortDelete(port=port.id), wait_s=kept.WAIT_S)


async def attach(call: Call) -> Mapping[str, Any]:
    """Give an instance a NIC in this place; it is there at once, or when the instance starts."""
    stock, port = await one(call)
    machine = ids.one(stock.machines, "i", ids.only(call["InstanceId"], "InstanceId"))
    if port.machine or kept.record(stock, port.id, kept.NAT_GATEWAY) is not None:
        said = f"Interface: [{call['NetworkInterfaceId']}] in use."
        raise Fault("InvalidParameterValue", said)
    index = len(machine.spec.nics)
    if ids.only(call["DeviceIndex"], "DeviceIndex") != index:
        said = f"Instance '{call['InstanceId']}' takes its next interface at device index {index}"
        raise Fault("InvalidParameterValue", said)
    intent = NicAdd(machine=machine.id, mac=port.mac, network=port.network, subnet=port.subnet, address=port.address)
    await call.do(intent)
    return {"AttachmentId": attachment_id(port), "NetworkCardIndex": 0}


async def detach(call: Call) -> None:
    """Take a NIC from its instance; the interface is available when the guest has let go of it."""
    stock = await call.stock(*kept.NOUNS)
    wanted = ids.only(call["AttachmentId"], "AttachmentId")
    port = next((each for each in stock.ports.values() if each.machine and attachment_id(each) == wanted), None)
    if port is None:
        raise Fault("InvalidAttachmentID.NotFound", f"The attachment ID '{wanted[:100]}' does not exist")
    machine = stock.machines[port.machine]
    if machine.spec.nics and machine.spec.nics[0].mac == port.mac:
        said = "The network interface at device index 0 cannot be detached."
        raise Fault("OperationNotPermitted", said)
    if any(nic.mac == port.mac for nic in machine.spec.nics):
        stays: list[Intent] = [] if port.stays else [PortChange(port=port.id, stays=True)]
        await call.do(*stays, NicRemove(machine=machine.id, nic=port.mac))


async def modify_attribute(call: Call) -> None:
    """Change groups, description, source/destination check, or whether it goes with its instance."""
    stock, port = await one(call)
    pieces: list[Piece] = []
    if call["Groups"]:
        found = tuple(group.id for group in ids.several(stock.groups, "sg", call["Groups"]))
        intent: Intent = PortChange(port=port.id, groups=found)
        if port.machine:
            intent = NicChange(machine=port.machine, nic=port.mac, groups=found)
        pieces.append(Piece(intent=intent))
    if call["SourceDestCheck"] is not None:
        pieces.append(Piece(intent=PortChange(port=port.id, guarded=bool(call["SourceDestCheck"].get("Value")))))
    if call["Attachment"] is not None:
        pieces.append(_attachment_change(call, port))
    if call["Description"] is not None:
        text = {"description": call["Description"].get("Value", "")}
        record = kept.record(stock, port.id, kept.INTERFACE)
        plain = Keep(door=DOOR, kind=kept.INTERFACE, subject=port.id, document=text)
        pieces.append(Piece(intent=Rewrite(record=record.id, parts=text) if record else plain))
    if not pieces:
        raise Fault("MissingParameter", "The request must contain an attribute to be modified")
    await call.make(*pieces, wait_s=kept.WAIT_S)


def _attachment_change(call: Call, port: Port) -> Piece:
    said = call["Attachment"]
    if not port.machine or said.get("AttachmentId") != attachment_id(port):
        raise Fault("InvalidAttachmentID.NotFound", f"The attachment ID '{said.get('AttachmentId')}' does not exist")
    return Piece(intent=PortChange(port=port.id, stays=not said.get("DeleteOnTermination", not port.stays)))


async def attribute(call: Call) -> Mapping[str, Any]:
    """Tell one attribute."""
    stock, port = await one(call)
    shown = interface(stock, port)
    answer: dict[str, Any] = {"NetworkInterfaceId": call["NetworkInterfaceId"]}
    match call["Attribute"]:
        case "description":
            return {**answer, "Description": {"Value": shown["Description"]}}
        case "groupSet":
            return {**answer, "Groups": shown["Groups"]}
        case "sourceDestCheck":
            return {**answer, "SourceDestCheck": {"Value": shown["SourceDestCheck"]}}
        case "attachment":
            return {**answer, "Attachment": shown.get("Attachment")}
        case other:
            raise Fault("UnsupportedOperation", f"The attribute {other} is not supported here")


async def one(call: Call) -> tuple[Stock, Port]:
    """What the project has, and the port that is meant."""
    stock = await call.stock(*kept.NOUNS)
    return stock, ids.one(stock.ports, "eni", ids.only(call["NetworkInterfaceId"], "NetworkInterfaceId"))
