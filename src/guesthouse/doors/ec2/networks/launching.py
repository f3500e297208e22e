"""Where those who are launched get their places, for RunInstances.

Rules
-----
1. Who names no subnet, nor a group by its id, is launched in the default VPC, which is made for that; on a host that
   can have no networks, on a user-mode network of its own, without a VPC.
2. A public address is lent where it is asked for, or the subnet gives one, and comes from the house's pools. It goes
   back with the interface.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

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

Said = Mapping[str, Any]
_OF_ONE_NIC = ("SubnetId", "SecurityGroupIds", "SecurityGroups", "PrivateIpAddress")


async def make_default(call: Call, stock: Stock, said: Said) -> bool:
    """Make the default VPC where there is none yet and this launch needs it; whether it was made.

    Not in a dry run, nor where the host can have no networks.
    """
    named = said.get("NetworkInterfaces") or (said,)
    homeless = any(not each.get("SubnetId") and not each.get("NetworkInterfaceId") for each in named)
    if not homeless or default_subnet(stock) is not None or _ids(said) or call["DryRun"]:
        return False

    async def make(call: Call) -> None:
        await vpcs.with_default(call)

    try:
        await in_turn(make)(replace(call, once=None))
    except NoCapacity:
        return False
    return True


def _ids(said: Said) -> list[str]:
    """The groups that are named by their ids: those say which network it is."""
    of_nics = (name for each in said.get("NetworkInterfaces") or () for name in each.get("Groups") or ())
    return [name for name in (*(said.get("SecurityGroupIds") or ()), *of_nics) if name.startswith("sg-")]


def nics(stock: Stock, said: Said) -> tuple[NicSpec, ...]:
    """The NICs of a machine that is to be launched; raises `Fault`."""
    several = said.get("NetworkInterfaces") or ()
    if not several:
        groups = (*(said.get("SecurityGroupIds") or ()), *(said.get("SecurityGroups") or ()))
        return (_nic(stock, said, groups, said.get("PrivateIpAddress") or ""),)
    if both := next((name for name in _OF_ONE_NIC if said.get(name)), ""):
        text = f"Network interfaces and an instance-level {both} may not be specified on the same request"
        raise Fault("InvalidParameterCombination", text)
    ordered = sorted(several, key=lambda each: each.get("DeviceIndex", 0))
    if [each.get("DeviceIndex") for each in ordered] != list(range(len(ordered))):
        raise Fault("InvalidParameterValue", "Each network interface requires a device index of its own, from 0 on")
    return tuple(_interface(stock, each) for each in ordered)


def _interface(stock: Stock, said: Said) -> NicSpec:
    if (id := said.get("NetworkInterfaceId")) is None:
        return _nic(stock, said, tuple(said.get("Groups") or ()), _address(said))
    if both := next((name for name in ("SubnetId", "Groups", "PrivateIpAddress", "PrivateIpAddresses",
                                       "AssociatePublicIpAddress") if said.get(name)), ""):  # fmt: skip
        text = f"A network interface that there is has its {both}: that may not be specified on the same request"
        raise Fault("InvalidParameterCombination", text)
    port = ids.one(stock.ports, "eni", id)
    if port.machine or kept.record(stock, port.id, kept.NAT_GATEWAY) is not None:
        raise Fault("InvalidNetworkInterface.InUse", f"Interface: [{id}] in use.")
    return NicSpec(mac=port.mac, network=port.network, subnet=port.subnet, address=port.address)


def _address(interface: Said) -> str:
    addresses = [each for each in interface.get("PrivateIpAddresses") or () if each.get("PrivateIpAddress")]
    if len(addresses) > 1:
        raise Fault("UnsupportedOperation", "A network interface has one private address here")
    return interface.get("PrivateIpAddress") or (addresses[0]["PrivateIpAddress"] if addresses else "")


def _nic(stock: Stock, said: Said, groups: Sequence[str], address: str) -> NicSpec:
    subnet = _subnet(stock, said.get("SubnetId"), groups)
    public = said.get("AssociatePublicIpAddress")
    if subnet is None:
        if address or public:
            what = "a private address" if address else "a public address"
            raise Fault("MissingParameter", f"The request must contain the parameter SubnetId: it has {what}")
        return NicSpec()
    return NicSpec(
        network=subnet.network,
        subnet=subnet.id,
        address=address,
        groups=groups_of(stock, subnet.network, groups),
        public=_is_public(stock, subnet, said=public),
    )


def _subnet(stock: Stock, id: str | None, groups: Sequence[str]) -> Subnet | None:
    """The subnet that is said; else one of the network that groups are of, or the default one."""
    if id is not None:
        return ids.one(stock.subnets, "subnet", id)
    default, named = default_subnet(stock), [name for name in groups if name.startswith("sg-")]
    if not named:
        if default is None and groups:
            raise _no_group(groups[0])
        return default
    network = ids.one(stock.groups, "sg", named[0]).network
    if default is not None and default.network == network:
        return default
    found = next((each for each in stock.subnets.values() if each.network == network), None)
    if found is None:
        raise Fault("MissingInput", f"No subnets found for the VPC of security group {named[0]}")
    return found


def default_subnet(stock: Stock) -> Subnet | None:
    """The subnet for who names none; None where there is no default VPC."""
    return next(
        (each for id, each in stock.subnets.items() if kept.document(stock, id, kept.SUBNET).get("default")), None
    )


def _is_public(stock: Stock, subnet: Subnet, *, said: bool | None) -> bool:
    """Whether who is launched in a subnet is lent a public address; raises `Fault` where the house has none."""
    if said:
        refuse_without_pool(stock)
    given = bool(kept.document(stock, subnet.id, kept.SUBNET).get("public")) and bool(stock.pools)
    return given if said is None else said


def groups_of(stock: Stock, network: str, said: Sequence[str]) -> tuple[str, ...]:
    """The ids of groups of a network, by their EC2 ids or names; raises `Fault`."""
    found = []
    for name in said:
        if name.startswith("sg-"):
            group = ids.one(stock.groups, "sg", name)
            if group.network != network:
                text = f"Security group {name} and the subnet belong to different networks."
                raise Fault("InvalidParameter", text)
            found.append(group.id)
            continue
        own = (each for each in stock.groups.values() if each.network == network)
        named = next((each for each in own if kept.group_name(stock, each) == name), None)
        if named is None:
            raise _no_group(name)
        found.append(named.id)
    return tuple(found)


def _no_group(name: str) -> Fault:
    return Fault("InvalidGroup.NotFound", f"The security group '{name}' does not exist")
