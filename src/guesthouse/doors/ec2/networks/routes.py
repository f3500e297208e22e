"""Route tables: which ways lead outside from subnets. Destinations outside are everything, or nothing.

Within a VPC everybody has a way to everybody; who is let through, groups say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from guesthouse.decide.addresses import network6
from guesthouse.doors.ec2 import ids
from guesthouse.doors.ec2.networks import kept, vpcs
from guesthouse.doors.ec2.networks.routing import EVERYWHERE, Routing, Table
from guesthouse.doors.ec2.rows import DOOR, Call, owner, tag_set
from guesthouse.engine.door_intents import Forget, Keep, Piece, Rewrite
from guesthouse.engine.stock import Stock
from guesthouse.formats.awsquery.fault import Fault
from guesthouse.formats.cloudids import ec2_id

_ASSOCIATED = {"State": "associated"}


def tables(stock: Stock) -> Iterable[dict[str, Any]]:
    """All route tables."""
    routing = Routing(stock)
    return [table(stock, routing, each) for each in routing.tables.values()]


def table(stock: Stock, routing: Routing, found: Table) -> dict[str, Any]:
    """One route table."""
    return {
        "RouteTableId": found.id,
        "VpcId": ec2_id("vpc", found.vpc),
        "OwnerId": owner(stock),
        "Associations": list(_associations(found)),
        "PropagatingVgws": [],
        "Routes": list(_routes(stock, routing, found)),
        "Tags": tag_set(stock.tags.get(found.record.id, {})),
    }


def _associations(found: Table) -> Iterable[dict[str, Any]]:
    if found.is_main:
        id = association_id(found, found.vpc)
        yield {"Main": True, "RouteTableAssociationId": id, "RouteTableId": found.id, "AssociationState": _ASSOCIATED}
    for subnet in found.subnets:
        yield {
            "Main": False,
            "RouteTableAssociationId": association_id(found, subnet),
            "RouteTableId": found.id,
            "SubnetId": ec2_id("subnet", subnet),
            "AssociationState": _ASSOCIATED,
        }


def _routes(stock: Stock, routing: Routing, found: Table) -> Iterable[dict[str, Any]]:
    yield {
        "DestinationCidrBlock": vpcs.block_of(stock, stock.networks[found.vpc]),
        "GatewayId": "local",
        "Origin": "CreateRouteTable",
        "State": "active",
    }
    if stock.networks[found.vpc].ipv6:
        yield {
            "DestinationIpv6CidrBlock": str(network6(found.vpc)),
            "GatewayId": "local",
            "Origin": "CreateRouteTable",
            "State": "active",
        }
    for destination, by in found.routes.items():
        route = {"DestinationCidrBlock": destination, "Origin": "CreateRoute"}
        if by in routing.attached:
            active = routing.is_attached(by, found.vpc)
            yield {**route, "GatewayId": ec2_id("igw", by), "State": "active" if active else "blackhole"}
        else:
            yield {
                **route,
                "NatGatewayId": ec2_id("nat", by),
                "State": "active" if by in routing.nats else "blackhole",
            }


def association_id(found: Table, of: str) -> str:
    """The id of what puts a subnet, or a VPC, into a table."""
    return kept.joint_id("rtbassoc", found.record.id, of)


async def create(call: Call) -> Mapping[str, Any]:
    """Make a route table without a way out."""
    stock = await call.stock(*kept.NOUNS)
    network = ids.one(stock.networks, "vpc", ids.only(call["VpcId"], "VpcId"))
    intent = Keep(door=DOOR, kind=kept.TABLE, subject=network.id, document={"routes": {}, "subnets": []})
    (id,) = await call.make(Piece(intent=intent, tags=call.tags(kept.TABLE)))
    after = await call.stock(*kept.NOUNS)
    routing = Routing(after)
    return {"RouteTable": table(after, routing, routing.tables[id])}


async def delete(call: Call) -> None:
    """Delete a route table that no subnet is in."""
    routing = Routing(await call.stock(*kept.NOUNS))
    found = routing.table(ids.only(call["RouteTableId"], "RouteTableId"))
    if found.is_main or found.subnets:
        said = f"The routeTable '{found.id}' has dependencies and cannot be deleted."
        raise Fault("DependencyViolation", said)
    if found.record.kind == kept.VPC:  # the VPC's own, of which another one has taken the place
        await call.do(Rewrite(record=found.record.id, parts={"own": False, "routes": None}))
    else:
        await call.do(Forget(record=found.record.id))


async def associate(call: Call) -> Mapping[str, Any]:
    """Put a subnet into a table."""
    stock = await call.stock(*kept.NOUNS)
    routing = Routing(stock)
    found = routing.table(ids.only(call["RouteTableId"], "RouteTableId"))
    subnet = ids.one(stock.subnets, "subnet", ids.only(call["SubnetId"], "SubnetId"))
    if subnet.network != found.vpc:
        said = f"Route table {found.id} and subnet {call['SubnetId']} belong to different networks"
        raise Fault("InvalidParameterValue", said)
    if any(subnet.id in each.subnets for each in routing.tables.values() if each is not found):
        said = f"The specified association for route table {found.id} conflicts with an existing association"
        raise Fault("Resource.AlreadyAssociated", said)
    if subnet.id not in found.subnets:
        found.subnets.append(subnet.id)
    await _apply(call, routing)
    return {"AssociationId": association_id(found, subnet.id), "AssociationState": _ASSOCIATED}


async def disassociate(call: Call) -> None:
    """Have a subnet be in the main table again."""
    routing = Routing(await call.stock(*kept.NOUNS))
    found, subnet = _associated(routing, ids.only(call["AssociationId"], "AssociationId"))
    if subnet == found.vpc:
        said = f"cannot disassociate the main route table association {call['AssociationId']}"
        raise Fault("InvalidParameterValue", said)
    found.subnets.remove(subnet)
    await _apply(call, routing)


async def replace_association(call: Call) -> Mapping[str, Any]:
    """Put a subnet from one table into another, or have another table be a VPC's main one."""
    routing = Routing(await call.stock(*kept.NOUNS))
    found, of = _associated(routing, ids.only(call["AssociationId"], "AssociationId"))
    new = routing.table(ids.only(call["RouteTableId"], "RouteTableId"))
    if new.vpc != found.vpc:
        raise Fault("InvalidParameterValue", f"Route tables {new.id} and {found.id} belong to different networks")
    if of == found.vpc:
        found.is_main, new.is_main = False, True
    else:
        found.subnets.remove(of)
        new.subnets.append(of)
    await _apply(call, routing)
    return {"NewAssociationId": association_id(new, of), "AssociationState": _ASSOCIATED}


def _associated(routing: Routing, id: str) -> tuple[Table, str]:
    """The table of an association, and what is in it by that: a subnet, or the VPC whose main one it is."""
    for found in routing.tables.values():
        for of in (*found.subnets, *((found.vpc,) if found.is_main else ())):
            if association_id(found, of) == id:
                return found, of
    raise Fault("InvalidAssociationID.NotFound", f"The association ID '{id[:100]}' does not exist")


async def create_route(call: Call) -> Mapping[str, Any]:
    """Have a way lead outside by a gateway."""
    routing, found, to, by = await _route(call)
    if found.routes.get(to) not in (None, by):
        said = f"The route identified by {to} already exists."
        raise Fault("RouteAlreadyExists", said)
    found.routes[to] = by
    await _apply(call, routing)
    return {"Return": True}


async def replace_route(call: Call) -> None:
    """Have a way that there is lead by another gateway."""
    routing, found, to, by = await _route(call)
    if to not in found.routes:
        raise _no_route(found, to)
    found.routes[to] = by
    await _apply(call, routing)


async def delete_route(call: Call) -> None:
    """Have a way lead nowhere."""
    routing = Routing(await call.stock(*kept.NOUNS))
    found = routing.table(ids.only(call["RouteTableId"], "RouteTableId"))
    to = ids.only(call["DestinationCidrBlock"], "DestinationCidrBlock")
    if found.routes.pop(to, None) is None:
        raise _no_route(found, to)
    await _apply(call, routing)


def _no_route(found: Table, to: str) -> Fault:
    said = f"no route with destination-cidr-block {to[:50]} in route table {found.id}"
    return Fault("InvalidRoute.NotFound", said)


async def _route(call: Call) -> tuple[Routing, Table, str, str]:
    """The table, the destination and the gateway's record of a route that is asked for."""
    stock = await call.stock(*kept.NOUNS)
    routing = Routing(stock)
    found = routing.table(ids.only(call["RouteTableId"], "RouteTableId"))
    to = ids.only(call["DestinationCidrBlock"], "DestinationCidrBlock")
    if to != EVERYWHERE:
        said = f"The parameter DestinationCidrBlock can only be {EVERYWHERE} here: ways lead to everything outside"
        raise Fault("UnsupportedOperation", said)
    if (call["GatewayId"] is None) == (call["NatGatewayId"] is None):
        said = "The request must contain exactly one of gatewayId, natGatewayId"
        raise Fault("InvalidParameterCombination" if call["GatewayId"] else "MissingParameter", said)
    if call["NatGatewayId"] is not None:
        nat = ids.one(routing.nats, "nat", call["NatGatewayId"])
        if stock.ports[nat.subject].network != found.vpc:
            raise Fault("InvalidParameterValue", f"NAT gateway {call['NatGatewayId']} is in another VPC")
        return routing, found, to, nat.id
    gateways = {id: id for id in routing.attached}
    gateway = ids.one(gateways, "igw", call["GatewayId"])
    if routing.attached[gateway] != found.vpc:
        said = f"route table {found.id} and network gateway {call['GatewayId']} belong to different networks"
        raise Fault("InvalidParameterValue", said)
    return routing, found, to, gateway


async def _apply(call: Call, routing: Routing) -> None:
    """Have the house do what the tables say now. A dry run of what changes nothing is one as well."""
    pieces = routing.pieces()
    if pieces or call["DryRun"]:
        await call.make(*pieces, wait_s=kept.WAIT_S)
