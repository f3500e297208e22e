"""IPv6 on networks: what the gateway tells of itself, and the address that a machine gets."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from tests.host.nets import a_house_with_networks, a_machine, a_network, on_a_host, outside
from tests.host.test_network_services import resolve
from tests.patience import PATIENCE_S

from guesthouse.host.networks.namespace import Namespace
from guesthouse.model.network import NetworkMode

_ICMPV6, _ROUTER_SOLICIT, _ROUTER_ADVERT = 58, 133, 134
_SOLICIT, _ADVERTISE, _REQUEST, _REPLY = 1, 2, 3, 7
_CLIENT, _SERVER, _ADDRESSES, _ADDRESS = 1, 2, 3, 5


async def _answer(
    make: Callable[[], socket.socket], machine: Namespace, data: bytes, to: tuple[str, int], kind: int
) -> bytes:
    """Send, and again every while; the first answer of this kind."""
    loop = asyncio.get_running_loop()
    with machine.enter(make) as sock:
        target = (*to, 0, machine.enter(lambda: socket.if_nametoindex("eth0")))
        async with asyncio.timeout(PATIENCE_S):
            while True:
                sock.sendto(data, target)
                try:
                    async with asyncio.timeout(1):
                        while (answer := await loop.sock_recv(sock, 1500))[0] != kind:
                            pass
                        return answer
                except TimeoutError:
                    continue


def _raw() -> socket.socket:
    sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _ICMPV6)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
    return sock


def _dhcp() -> socket.socket:
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
    sock.bind(("::", 546))
    return sock


def _option(code: int, value: bytes) -> bytes:
    return struct.pack(">HH", code, len(value)) + value


def _options(data: bytes) -> dict[int, bytes]:
    found, at = dict[int, bytes](), 0
    while at + 4 <= len(data):
        code, length = struct.unpack_from(">HH", data, at)
        found[code] = data[at + 4 : at + 4 + length]
        at += 4 + length
    return found


def _given(data: bytes) -> str:
    """The address in an answer of DHCPv6."""
    return socket.inet_ntop(socket.AF_INET6, _options(_options(data[4:])[_ADDRESSES][12:])[_ADDRESS][:16])


def test_a_machine_has_its_ipv6_address_from_dhcp_and_its_router_from_the_gateway(tmp_path: Path) -> None:
    async def look() -> None:
        nat = a_network(1, "nat", NetworkMode.NAT, "10.0.0.0/24", "fd00:1::/64")
        async with outside(), a_house_with_networks() as (_, networks):
            asked = nat.port(1)
            machine = await a_machine(networks, nat, asked)
            solicit = struct.pack(">BBHI", _ROUTER_SOLICIT, 0, 0, 0)
            told = await _answer(_raw, machine, solicit, ("ff02::2", 0), _ROUTER_ADVERT)
            assert told[5] & 0x80, "addresses are to be asked for"
            assert struct.unpack_from(">H", told, 6)[0] > 0, "the gateway is a router"
            assert struct.pack(">BBHI", 5, 1, 0, 1450) in told, "the MTU"

            client = _option(_CLIENT, b"\0\x02\0\0\x12\x34anybody")
            wanted = _option(_ADDRESSES, struct.pack(">III", 7, 0, 0))
            group = ("ff02::1:2", 547)
            offered = await _answer(_dhcp, machine, b"\x01\0\0\x01" + client + wanted, group, _ADVERTISE)
            assert _given(offered) == asked.port.address6 == "fd00:1::b"
            server = _option(_SERVER, _options(offered[4:])[_SERVER])
            # Twice: dnsmasq answers first, and writes down then.
            for _ in range(2):
                given = await _answer(_dhcp, machine, b"\x03\0\0\x02" + client + server + wanted, group, _REPLY)
                assert _given(given) == "fd00:1::b"
            assert [each.address for each in networks.leases(nat.network)] == ["fd00:1::b"]
            for server_address in ("10.0.0.1", "fd00:1::1"):
                answers = await resolve(machine, server_address, "nat-1", 28)
                assert answers == [socket.inet_pton(socket.AF_INET6, "fd00:1::b")]

    on_a_host(tmp_path, look)
