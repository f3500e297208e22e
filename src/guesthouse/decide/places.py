"""Which address of a subnet somebody gets."""

from __future__ import annotations

from collections.abc import Container
from ipaddress import AddressValueError, IPv4Address, IPv4Network

from guesthouse.model.errors import Conflict, Invalid, NoCapacity
from guesthouse.model.network import Subnet


def free_address(subnet: Subnet, taken: Container[str]) -> str:
    """The lowest address of the subnet that is given to who names none; raises `NoCapacity` when all are taken."""
    for number in range(int(IPv4Address(subnet.first)), int(IPv4Address(subnet.last)) + 1):
        if (address := str(IPv4Address(number))) not in taken and address != subnet.gateway:
            return address
    raise NoCapacity(
        f"subnet {subnet.name} has no free address: {subnet.first} to {subnet.last} are taken",
        subject=f"subnet {subnet.name}",
        field="address",
        hint="name an address of the subnet beyond these, take another subnet, or delete machines",
    )


def check_address(subnet: Subnet, address: str, taken: Container[str]) -> str:
    """The address, if somebody may have it in the subnet; raises `Invalid` or `Conflict`."""
    network = IPv4Network(subnet.cidr)
    try:
        wanted = IPv4Address(address)
    except AddressValueError as error:
        raise Invalid(
            f"{address!r} is no address", field="address", value=address, hint=f"one of {subnet.cidr}"
        ) from error
    reserved = {network.network_address: "the subnet's own", network.broadcast_address: "for broadcasts"}
    reserved[IPv4Address(subnet.gateway)] = "the gateway's"
    if wanted not in network or wanted in reserved:
        why = f"is {reserved[wanted]}" if wanted in reserved else f"is not in subnet {subnet.name}"
        raise Invalid(
            f"address {address} {why}", field="address", value=address, hint=f"take another one of {subnet.cidr}"
        )
    if str(wanted) in taken:
        raise Conflict(
            f"address {address} is taken",
            subject=f"subnet {subnet.name}",
            field="address",
            value=address,
            hint="take another one, or leave it out: the house then chooses one",
        )
    return str(wanted)
