"""What dnsmasq is told of a network: its command line, a file for each port, and the leases it writes.

Rules
-----
1. One process serves one network, all its subnets, inside the network's namespace. A network in mode ``bridge`` has
   none: there somebody else gives the addresses.
2. The command line is all that it is configured by: a process with another one is another network's, or an older one's.
3. It chooses nothing. Addresses are ours, given by MAC address alone, whatever else a guest calls itself; a name is
   what we say, never what a guest asks for.
4. A port is a file in each of two folders: one for its address, one for its names. Files that come are read at once;
   that one has gone, dnsmasq learns by SIGHUP.
5. A host-only network names no router, only the way to the metadata: a machine with a second NIC leaves by that one.
6. Names of the network's own domain are never asked of others; others are asked where the network goes out.
7. A name is one project's: machines of the network's own are NAME.DOMAIN and NAME, those of another one are
   NAME.PROJECT.DOMAIN alone. Nobody can have a stranger's name by calling his machine the same.

Source: dnsmasq(8); RFC 2132 (3 router, 26 MTU), RFC 3442 (121 routes); dnsmasq's src/lease.c.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from ipaddress import IPv4Network
from typing import NamedTuple

from guesthouse.model.network import METADATA_IPV4, Network, NetworkMode, NetworkWanted, Port, PortWanted, Subnet

ADDRESSES, NAMES, LEASES, LOG = "addresses", "names", "leases", "dnsmasq.log"
"""Folders and files in the folder of a network."""
LEASE_S = 12 * 3600
_ASKS_OTHERS = {NetworkMode.NAT: True, NetworkMode.HOST_ONLY: False, NetworkMode.PRIVATE: True}
_HOST_ASKS = {NetworkMode.NAT: True, NetworkMode.HOST_ONLY: True, NetworkMode.PRIVATE: False}
_ALWAYS = (
    "--keep-in-foreground", "--conf-file=/dev/null", "--no-hosts", "--no-ident", "--bind-dynamic",
    "--except-interface=lo", "--no-ping", "--dhcp-authoritative", "--dhcp-ignore-clid", "--dhcp-ignore-names",
    "--quiet-dhcp", "--quiet-dhcp6", "--quiet-ra", "--domain-needed", "--bogus-priv", "--localise-queries",
    "--cache-size=1000",
)  # fmt: skip


class Lease(NamedTuple):
    """An address that a machine has asked for and got; `expires_at` in seconds since the epoch."""

    address: str
    expires_at: float
    mac: str = ""
    """Empty with IPv6, whose leases are kept by DUID."""


class PortFiles(NamedTuple):
    """What a port's file in `ADDRESSES` and the one in `NAMES` say."""

    addresses: str
    names: str


def is_served(network: Network) -> bool:
    """Whether the network has a dnsmasq."""
    return network.mode in _ASKS_OTHERS


def command(
    wanted: NetworkWanted, folder: str, resolver: str, bridges: dict[int, str], uplink: str, mtu: int
) -> tuple[str, ...]:
    """The command line of a network's dnsmasq, with its files in `folder`.

    `resolver` is the file that names the host's name servers, "" where there are none that the network reaches;
    `bridges` are the subnets' by number, `uplink` is the link to the host, `mtu` in bytes.
    """
    network = wanted.network
    words = [
        "dnsmasq", *_ALWAYS,
        f"--dhcp-hostsdir={folder}/{ADDRESSES}", f"--hostsdir={folder}/{NAMES}",
        f"--dhcp-leasefile={folder}/{LEASES}", f"--log-facility={folder}/{LOG}",
        f"--dhcp-lease-max={sum(IPv4Network(each.cidr).num_addresses for each in wanted.subnets)}",
    ]  # fmt: skip
    if network.domain:
        words += [f"--domain={network.domain}", f"--local=/{network.domain}/"]
    words.append(f"--resolv-file={resolver}" if _ASKS_OTHERS[network.mode] and resolver else "--no-resolv")
    if _HOST_ASKS[network.mode]:
        words += [f"--interface={uplink}", f"--no-dhcp-interface={uplink}"]
    if any(subnet.cidr6 for subnet in wanted.subnets):
        words.append("--enable-ra")
    for subnet in sorted(wanted.subnets, key=lambda each: each.number):
        words += _subnet(network, subnet, bridges[subnet.number], mtu)
    return tuple(words)


def _subnet(network: Network, subnet: Subnet, bridge: str, mtu: int) -> Iterator[str]:
    tag, cidr = f"s{subnet.number}", IPv4Network(subnet.cidr)
    routed = network.mode is not NetworkMode.HOST_ONLY
    yield f"--interface={bridge}"
    yield f"--dhcp-range=set:{tag},{cidr.network_address},static,{cidr.netmask},{LEASE_S}"
    yield f"--dhcp-option=tag:{tag},option:mtu,{mtu}"
    if routed:
        yield f"--dhcp-option=tag:{tag},option:router,{subnet.gateway}"
    else:
        yield f"--dhcp-option=tag:{tag},option:router"
        yield f"--dhcp-option=tag:{tag},option:classless-static-route,{METADATA_IPV4}/32,{subnet.gateway}"
    if subnet.cidr6:
        prefix, length = subnet.cidr6.split("/")
        yield f"--dhcp-range=set:{tag}six,{prefix},static,{length},{LEASE_S}"
        yield f"--ra-param={bridge},mtu:{mtu},60,{1800 if routed else 0}"


def port_files(wanted: NetworkWanted) -> dict[int, PortFiles]:
    """The files of all ports, by number.

    From DHCP a machine's further ports have addresses, but not the name; nor have those of other projects, for dnsmasq
    makes names of the network itself of all that it gives.
    """
    first: dict[str, int] = {}
    for asked in wanted.ports:
        first[asked.port.machine] = min(asked.port.number, first.get(asked.port.machine, asked.port.number))
    return {
        (port := asked.port).number: PortFiles(
            _address_line(port, asked.machine if first[port.machine] == port.number and not asked.project else ""),
            _name_lines(wanted.network, asked),
        )
        for asked in wanted.ports
    }


def _address_line(port: Port, name: str) -> str:
    six = f"[{port.address6}]" if port.address6 else ""
    return ",".join(part for part in (port.mac, port.address, six, name) if part) + "\n"


def _name_lines(network: Network, asked: PortWanted) -> str:
    if not asked.machine:  # nobody is there yet who could have a name
        return ""
    names = f"{asked.machine}.{network.domain} {asked.machine}" if network.domain else asked.machine
    if asked.project:
        names = f"{asked.machine}.{asked.project}.{network.domain}" if network.domain else ""
    return "".join(f"{address} {names}\n" for address in (asked.port.address, asked.port.address6) if address and names)


def read_leases(text: str) -> list[Lease]:
    """The leases in the file that dnsmasq writes; a line that is not whole yet is none."""
    found, six = [], False
    for line in text.splitlines():
        match line.split():
            case ["duid", _]:
                six = True
            case [expires, mac, address, _, _] if expires.isdigit():
                found.append(Lease(address, float(expires), "" if six else mac))
    return found


def without(text: str, addresses: Container[str]) -> str:
    """A file of leases without those of these addresses: they are somebody else's now."""
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if not any(each.address in addresses for each in read_leases(line)))


def addresses_of(line: str) -> set[str]:
    """The addresses that a line of `PortFiles.addresses` gives."""
    return {part.strip("[]") for part in line.strip().split(",")[1:] if "." in part or ":" in part}
