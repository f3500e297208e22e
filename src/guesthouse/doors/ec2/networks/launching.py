"""Where those who are launched get their places, for RunInstances.

Rules
-----
1. Who names no subnet is launched in the default VPC, which is made for that; on a host that can have no networks, on a
   network of its own without a VPC.
2. A public address is lent where it is asked for, or the subnet gives one, and comes from the house's pools. It goes
   back with the interface.
"""

from __future__ import annotations

from dataclasses import replace

from guesthouse.doors.ec2 import ids
from guesthouse.doors.ec2.networks import kept, vpcs
from guesthouse.doors.ec2.networks.subnets import refuse_without_pool
from guesthouse.doors.ec2.networks.turn import in_turn
from guesthouse.doors.ec2.rows import Call
from guesthouse.engine.stock import Stock
from guesthouse.formats.awsquery.fault import Fault
from guesthouse.model.errors import NoCapacity
from guesthouse.model.machine import NicSpec
from guesthouse.model.network import Subnet

NOUNS = kept.NOUNS


async def make_default(call: Call) -> None:
    """Make the default VPC where there is none yet, unless this is a dry run, or the host can have no networks."""
    if vpcs.default_of(await call.stock("networks", "door_records")) is not None or call["DryRun"]:
        return

    async def make(call: Call) -> None:
        await vpcs.with_default(call)

    try:
        await in_turn(make)(replace(call, once=None))
    except NoCapacity:
        return


def default_subnet(stock: Stock) -> Subnet | None:
    """The subnet for who names none; None where there is no default VPC."""
    return next(
        (each for id, each in stock.subnets.items() if kept.document_of(stock, kept.SUBNET, id).get("default")), None
    )


def is_public(stock: Stock, subnet: Subnet, *, said: bool | None) -> bool:
    """Whether who is launched in a subnet is lent a public address; `said` is AssociatePublicIpAddress.

    Raises `Fault` where it is asked for and the house has none.
    """
    if said:
        refuse_without_pool(stock)
    given = bool(kept.document_of(stock, kept.SUBNET, subnet.id).get("public")) and bool(stock.pools)
    return given if said is None else said


def in_interface(stock: Stock, id: str) -> NicSpec:
    """The NIC in the place of a network interface that nobody has; raises `Fault`."""
    port = ids.one(stock.ports, "eni", id)
    if port.machine or kept.record_of(stock, kept.NAT_GATEWAY, port.id) is not None:
        raise Fault("InvalidNetworkInterface.InUse", f"Interface: [{id}] in use.")
    return NicSpec(mac=port.mac, network=port.network, subnet=port.subnet, address=port.address)
