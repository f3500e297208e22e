"""Which addresses a network may have, and which it gets where nobody says.

Rules
-----
1. What a mode takes stands in `MODES`; what it does not take is refused by name.
2. Networks that the host routes (``nat``, ``host-only``) have addresses that nobody else in the house has, nor the
   host; ``private`` ones may have the same as others. Inside a network no two subnets overlap.
3. IPv6 blocks are not asked for: a /48 of unique local addresses follows from the network's id, a /64 of that from the
   subnet's number, and an address in it from the IPv4 address that goes with it.
4. Of a pool every address can be had but the first and the last of its block, which a link may need for itself.

Source: RFC 4193 for unique local addresses, RFC 6890 for blocks that have another meaning, RFC 1035 for names.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network
from typing import NamedTuple

from guesthouse.model.errors import Conflict, Invalid, NoCapacity
from guesthouse.model.network import NetworkMode, Subnet

MAX_SUBNETS = 200
INSIDE = "guest.internal"
"""Below it are the names of networks whose domain nobody said."""

HOUSE = IPv4Network("10.100.0.0/16")
"""Where networks that the host routes have their addresses unless its operator says others."""

_PREFIXES, _POOL_PREFIXES = range(8, 31), range(16, 33)
_LABEL = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
_RESERVED = {
    IPv4Network("0.0.0.0/8"): "no addresses of machines",
    IPv4Network("100.64.0.0/10"): "the house's own, between networks and their host",
    IPv4Network("127.0.0.0/8"): "loopback addresses",
    IPv4Network("169.254.0.0/16"): "link-local, where machines find their metadata",
    IPv4Network("224.0.0.0/3"): "for multicast, or reserved",
}


class Mode(NamedTuple):
    """What a network of a mode takes and has. `routed` ones are reached by the host, `elastic` ones from outside."""

    takes: frozenset[str]
    routed: bool = False
    groups: bool = True
    elastic: bool = False


_SUBNET = frozenset({"cidr", "first", "last"})
MODES: dict[NetworkMode, Mode] = {
    NetworkMode.NAT: Mode(_SUBNET | {"domain", "mtu", "ipv6"}, routed=True, elastic=True),
    NetworkMode.HOST_ONLY: Mode(_SUBNET | {"domain", "mtu", "ipv6"}, routed=True),
    NetworkMode.PRIVATE: Mode(frozenset({"cidr", "domain", "mtu", "ipv6"}), elastic=True),
    NetworkMode.BRIDGE: Mode(frozenset({"link", "mtu"}), groups=False),
}
_INSTEAD = {
    (NetworkMode.PRIVATE, "first"): "`guest subnet create` gives a private network its addresses",
    (NetworkMode.PRIVATE, "last"): "`guest subnet create` gives a private network its addresses",
    (NetworkMode.BRIDGE, "cidr"): "on a bridge somebody else gives the addresses",
}


class Block(NamedTuple):
    """A block of addresses that is taken, and by whom, in words."""

    cidr: str
    holder: str


def check_mode(mode: NetworkMode, said: dict[str, object]) -> None:
    """Raise `Invalid` for the first thing said (by field) that a network of this mode does not take, or lacks."""
    for name, value in said.items():
        if value and name not in MODES[mode].takes:
            fits = ", ".join(each.value for each, row in MODES.items() if name in row.takes)
            instead = _INSTEAD.get((mode, name)) or (_INSTEAD.get((mode, "cidr")) if name in _SUBNET else None)
            hint = instead or f"it goes with mode {fits}"
            raise Invalid(f"a network in mode {mode.value} takes no {name}", field=name, value=value, hint=hint)
    if mode is NetworkMode.BRIDGE and not said.get("link"):
        raise Invalid(
            "a network in mode bridge is on a link of the host, and none is named",
            field="link",
            hint="name an interface or a bridge; `ip link` lists them",
        )


def check_mtu(mtu: int, *, ipv6: bool) -> int:
    """Return an MTU in bytes, 0 for that of the way out; raises `Invalid` for one that no packet fits."""
    least = 1280 if ipv6 else 576
    if mtu and not least <= mtu <= 65535:
        raise Invalid(f"mtu is {mtu}", field="mtu", value=mtu, hint=f"from {least} to 65535, or 0 for that of the host")
    return mtu


def check_domain(domain: str) -> str:
    """Return a DNS domain; raises `Invalid` for what is none."""
    if len(domain) > 190 or not all(_LABEL.match(label) for label in domain.split(".")):
        hint = f"labels of lower-case letters, digits and '-' with dots between, like shop.{INSIDE}"
        raise Invalid(f"{domain!r} is no domain of names", field="domain", value=domain, hint=hint)
    return domain


def is_one_in_other(one: str, other: str) -> bool:
    """Whether one of two domains is the other, or below it."""
    return f".{one}".endswith(f".{other}") or f".{other}".endswith(f".{one}")


def check_block(cidr: str, field: str = "cidr") -> IPv4Network:
    """A block that a subnet may have; raises `Invalid` for any other."""
    block = _block(cidr, field)
    if block.prefixlen not in _PREFIXES:
        hint = f"a prefix from /{_PREFIXES[0]} to /{_PREFIXES[-1]}: a subnet has at least one machine and a gateway"
        raise Invalid(f"{cidr} is no block for a subnet", field=field, value=cidr, hint=hint)
    return block


def check_pool(cidr: str) -> IPv4Network:
    """A block that elastic addresses may be taken from; raises `Invalid` for any other."""
    block = _block(cidr, "cidr")
    if block.prefixlen not in _POOL_PREFIXES:
        hint = f"a prefix from /{_POOL_PREFIXES[0]} to /{_POOL_PREFIXES[-1]}"
        raise Invalid(f"{cidr} is no pool of addresses", field="cidr", value=cidr, hint=hint)
    return block


def _block(cidr: str, field: str) -> IPv4Network:
    hint = "an address and the length of its prefix, like 10.1.0.0/24"
    if "/" not in cidr:
        raise Invalid(f"{cidr!r} is no block of addresses", field=field, value=cidr, hint=hint)
    try:
        block = ip_network(cidr, strict=False)
    except ValueError as error:
        raise Invalid(f"{cidr!r} is no block of addresses", field=field, value=cidr, hint=hint) from error
    if not isinstance(block, IPv4Network):
        hint = "a block of IPv4; the house makes those of IPv6"
        raise Invalid(f"{cidr} is IPv6", field=field, value=cidr, hint=hint)
    if str(block) != cidr:
        raise Invalid(f"{cidr} is not how this is written", field=field, value=cidr, hint=f"write {block}")
    for reserved, meaning in _RESERVED.items():
        if block.overlaps(reserved):
            hint = "take a private one, like 10.1.0.0/24 (RFC 1918)"
            raise Invalid(f"{cidr}: addresses of {reserved} are {meaning}", field=field, value=cidr, hint=hint)
    return block


def refuse_overlap(cidr: str, taken: Iterable[Block], subject: str) -> None:
    """Raise `Conflict` for the first block that has addresses of `cidr` already."""
    for block in taken:
        if overlap(cidr, block.cidr):
            raise Conflict(
                f"addresses of {cidr} are taken: {block.cidr} is {block.holder}",
                subject=subject,
                field="cidr",
                value=cidr,
                hint="take other addresses",
            )


def check_inside(cidr: str, around: str, subject: str) -> None:
    """Raise `Invalid` where a subnet's block is not in that of its network; `around` is "" where that has none."""
    if around and not IPv4Network(cidr).subnet_of(IPv4Network(around)):
        raise Invalid(f"{cidr} is not in {subject}'s block", field="cidr", value=cidr, hint=f"take a part of {around}")


def is_houses(cidr: str) -> bool:
    """Whether a block is of those that the house gives to networks by itself."""
    return IPv4Network(cidr).subnet_of(HOUSE)


def overlap(one: str, other: str) -> bool:
    """Whether two blocks of addresses have some in common."""
    first, second = ip_network(one, strict=False), ip_network(other, strict=False)
    return isinstance(first, IPv4Network) == isinstance(second, IPv4Network) and first.overlaps(second)


def free_block(taken: Collection[Block]) -> str:
    """The first /24 of the house's own block that overlaps nothing that is taken; raises `NoCapacity`."""
    for block in HOUSE.subnets(new_prefix=24):
        if not any(overlap(str(block), each.cidr) for each in taken):
            return str(block)
    raise NoCapacity(f"no /24 of {HOUSE} is free", field="cidr", hint="say which addresses the network is to have")


def make_subnet(plain: Subnet, *, ipv6: bool) -> Subnet:
    """The subnet with gateway, range and IPv6 block, made of its `cidr`, and of `first` and `last` where they are said.

    Raises `Invalid` where the range is not one of the block.
    """
    block = check_block(plain.cidr)
    gateway, lowest, highest = block[1], block[2], block[-2]
    first = _in_range("first", plain.first, lowest, lowest, highest)
    last = _in_range("last", plain.last, highest, lowest, highest)
    if first > last:
        raise Invalid(
            f"a range from {first} to {last}", field="last", value=str(last), hint=f"{first} or more, up to {highest}"
        )
    six = block6(plain.network, plain.number) if ipv6 else ("", "")
    return Subnet(
        id=plain.id,
        project=plain.project,
        network=plain.network,
        name=plain.name,
        number=plain.number,
        cidr=plain.cidr,
        gateway=str(gateway),
        first=str(first),
        last=str(last),
        cidr6=six[0],
        gateway6=six[1],
        outlet=plain.outlet,
        gate=plain.gate,
    )


def _in_range(field: str, said: str, default: IPv4Address, lowest: IPv4Address, highest: IPv4Address) -> IPv4Address:
    if not said:
        return default
    hint = f"an address from {lowest} to {highest}: the first one is the gateway's"
    try:
        address = IPv4Address(said)
    except ValueError as error:
        raise Invalid(f"{said!r} is no address", field=field, value=said, hint=hint) from error
    if not lowest <= address <= highest:
        raise Invalid(f"{said} cannot be given to a machine here", field=field, value=said, hint=hint)
    return address


def network6(network: str) -> IPv6Network:
    """The IPv6 block of a network (id): a unique local one (RFC 4193), with a /64 for each number of a subnet."""
    local = int.from_bytes(b"\xfd" + hashlib.sha256(network.encode()).digest()[:5], "big") << 80
    return IPv6Network((local, 56))


def number6(network: str, block: IPv6Network) -> int:
    """The number of the subnet whose IPv6 block in this network (id) is this one; 0 where none can have it."""
    whole = network6(network)
    if block.prefixlen != 64 or not block.subnet_of(whole):
        return 0
    number = (int(block.network_address) - int(whole.network_address)) >> 64
    return number if number <= MAX_SUBNETS else 0


def block6(network: str, subnet: int) -> tuple[str, str]:
    """The IPv6 block of a network's (id) subnet (number), and the gateway in it."""
    block = IPv6Network((int(network6(network).network_address) + (subnet << 64), 64))
    return str(block), str(block[1])


def address6(subnet: Subnet, address: str) -> str:
    """The IPv6 address that goes with a machine's IPv4 address of this subnet; "" where the subnet has none."""
    if not subnet.cidr6 or not address:
        return ""
    place = int(IPv4Address(address)) - int(IPv4Network(subnet.cidr).network_address)
    return str(IPv6Network(subnet.cidr6)[place])


def lowest_free(taken: Iterable[int]) -> int:
    """The lowest number from 1 on that nobody has."""
    held, number = set(taken), 1
    while number in held:
        number += 1
    return number


def in_pool(address: str, cidr: str) -> bool:
    """Whether an address can be had from this pool."""
    return any(address == each for each in of_pool(cidr))


def of_pool(cidr: str) -> Iterator[str]:
    """The addresses that can be had from a pool, lowest first."""
    return (str(address) for address in IPv4Network(cidr).hosts())


def next_elastic(pools: Iterable[str], taken: Collection[str]) -> str:
    """The lowest free address of the first pool that has one; raises `NoCapacity`."""
    for cidr in pools:
        for address in of_pool(cidr):
            if address not in taken:
                return address
    raise NoCapacity(
        "no elastic address is free",
        field="address",
        hint="release one that is not needed, or ask the operator of the house for more (`guest address pool add`)",
    )


def check_elastic(address: str, pools: Collection[str]) -> str:
    """Return an address that was named, if it is one of the pools; raises `Invalid`."""
    try:
        written = str(ip_address(address))
    except ValueError:
        written = ""
    if written != address or not any(in_pool(address, cidr) for cidr in pools):
        shown = ", ".join(sorted(pools)) or "none yet"
        hint = f"take one of the pools ({shown}), or name none for the lowest free one"
        raise Invalid(f"{address!r} is no address of this house's pools", field="address", value=address, hint=hint)
    return address
