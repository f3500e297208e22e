"""Addresses and names on networks: DHCP and DNS as a machine asks for them."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from pathlib import Path

import msgspec
from tests.host.nets import (
    Made,
    a_house_with_networks,
    a_machine,
    a_network,
    on_a_host,
    outside,
)
from tests.patience import PATIENCE_S

from guesthouse.host.networks.namespace import Namespace
from guesthouse.model.network import NetworkMode, PortWanted

DISCOVER, OFFER, REQUEST, ACK, NAK = 1, 2, 3, 5, 6
_BOOTP = struct.Struct(">BBBBIHH4s4s4s4s16s192s4s")
_COOKIE = b"\x63\x82\x53\x63"


def _asking(interface: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
    sock.bind(("0.0.0.0", 68))
    return sock


def _message(kind: int, mac: str, options: dict[int, bytes]) -> bytes:
    body = b"".join(bytes([code, len(value)]) + value for code, value in {53: bytes([kind]), **options}.items())
    hardware = bytes.fromhex(mac.replace(":", "")).ljust(16, b"\0")
    none = bytes(4)
    return (
        _BOOTP.pack(1, 1, 6, 0, 4711, 0, 0x8000, none, none, none, none, hardware, bytes(192), _COOKIE) + body + b"\xff"
    )


def _parse(data: bytes) -> tuple[str, dict[int, bytes]]:
    """The address that is given, and the options."""
    options, at = dict[int, bytes](), _BOOTP.size
    while data[at] != 255:
        code, length = data[at], data[at + 1]
        options[code] = data[at + 2 : at + 2 + length]
        at += 2 + length
    return socket.inet_ntoa(_BOOTP.unpack_from(data)[8]), options


async def dhcp(
    machine: Namespace, kind: int, mac: str, options: dict[int, bytes] | None = None
) -> tuple[str, dict[int, bytes]]:
    """Ask, and again every while as RFC 2131 has it; what is answered."""
    loop = asyncio.get_running_loop()
    with machine.enter(lambda: _asking("eth0")) as sock:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                sock.sendto(_message(kind, mac, options or {}), ("255.255.255.255", 67))
                try:
                    async with asyncio.timeout(1):
                        return _parse(await loop.sock_recv(sock, 1500))
                except TimeoutError:
                    continue


async def lease(machine: Namespace, mac: str, options: dict[int, bytes] | None = None) -> str:
    """Discover and request, as a client without memory does."""
    address, told = await dhcp(machine, DISCOVER, mac, options)
    assert told[53] == bytes([OFFER])
    wanted = {50: socket.inet_aton(address), 54: told[54], **(options or {})}
    again, told = await dhcp(machine, REQUEST, mac, wanted)
    assert (again, told[53]) == (address, bytes([ACK]))
    return address


async def resolve(place: Namespace | None, server: str, name: str, kind: int = 1) -> list[bytes]:
    """The data of the answers to a question of DNS; nothing where there is no such name."""
    question = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + struct.pack(
        ">BHH", 0, kind, 1
    )

    def make() -> socket.socket:
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        return socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    loop = asyncio.get_running_loop()
    with place.enter(make) if place else make() as sock:
        async with asyncio.timeout(PATIENCE_S):
            sock.sendto(struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0) + question, (server, 53))
            data = await loop.sock_recv(sock, 1500)
    answers, at = [], 12 + len(question)
    for _ in range(struct.unpack_from(">H", data, 6)[0]):
        length = struct.unpack_from(">H", data, at + 10)[0]
        answers.append(data[at + 12 : at + 12 + length])
        at += 12 + length
    return answers


def without(made: Made, number: int) -> PortWanted:
    """Take a port from a network; it is returned."""
    (gone,) = (each for each in made.ports if each.port.number == number)
    made.ports.remove(gone)
    return gone


def test_a_machine_has_its_address_and_its_name_at_once(tmp_path: Path) -> None:
    async def look() -> None:
        nat = a_network(1, "nat", NetworkMode.NAT, "10.0.0.0/24")
        async with outside(), a_house_with_networks() as (_, networks):
            first = nat.port(1)
            machine = await a_machine(networks, nat, first)
            address, told = await dhcp(machine, DISCOVER, first.port.mac)
            assert address == first.port.address == "10.0.0.11"
            assert told[1] == socket.inet_aton("255.255.255.0")
            assert told[3] == told[6] == socket.inet_aton("10.0.0.1")
            assert struct.unpack(">H", told[26]) == (1450,)
            assert told[15] == b"nat.guest.internal"
            assert told[12] == b"nat-1"
            assert networks.leases(nat.network) == []
            assert await lease(machine, first.port.mac) == "10.0.0.11"
            (kept,) = networks.leases(nat.network)
            assert (kept.address, kept.mac) == ("10.0.0.11", first.port.mac)
            assert kept.expires_at > time.time() + 3600
            for place, server in ((machine, "10.0.0.1"), (None, "10.0.0.1")):
                for name in ("nat-1", "nat-1.nat.guest.internal"):
                    assert await resolve(place, server, name) == [socket.inet_aton("10.0.0.11")]
                assert await resolve(place, server, "nobody.nat.guest.internal") == []
                (pointer,) = await resolve(place, server, "11.0.0.10.in-addr.arpa", 12)
                assert pointer.startswith(b"\x05nat-1\x03nat\x05guest")

    on_a_host(tmp_path, look)


def test_name_servers_read_their_files_whatever_the_umask(tmp_path: Path) -> None:
    async def look() -> None:
        os.umask(0o077)
        nat = a_network(1, "nat", NetworkMode.NAT, "10.0.0.0/24")
        async with outside(), a_house_with_networks() as (_, networks):
            asked = nat.port(1)
            assert await lease(await a_machine(networks, nat, asked), asked.port.mac) == "10.0.0.11"

    on_a_host(tmp_path, look)


def test_whom_we_do_not_know_gets_no_address_and_no_name(tmp_path: Path) -> None:
    """A guest that calls itself by another's name, or by another's client identifier, is who its MAC address is."""

    async def look() -> None:
        nat = a_network(1, "nat", NetworkMode.NAT, "10.0.0.0/24")
        async with outside(), a_house_with_networks() as (_, networks):
            first, second = nat.port(1), nat.port(2)
            one, other = await a_machine(networks, nat, first), await a_machine(networks, nat, second)
            own = {61: b"\x01" + bytes.fromhex(first.port.mac.replace(":", "")), 12: b"nat-1"}
            assert await lease(one, first.port.mac) == "10.0.0.11"
            assert await lease(other, second.port.mac, own) == "10.0.0.12"
            assert await lease(one, first.port.mac, {12: b"router"}) == "10.0.0.11"
            assert await resolve(one, "10.0.0.1", "nat-1") == [socket.inet_aton("10.0.0.11")]
            assert await resolve(one, "10.0.0.1", "router.nat.guest.internal") == []

    on_a_host(tmp_path, look)


def test_a_strangers_machine_does_not_take_a_name(tmp_path: Path) -> None:
    """On a shared network each project's names are its own, also after a lease."""

    async def look() -> None:
        nat = a_network(1, "nat", NetworkMode.NAT, "10.0.0.0/24")
        async with outside(), a_house_with_networks() as (_, networks):
            first, second = nat.port(1), nat.port(2)
            own = await a_machine(networks, nat, first)
            stranger = await a_machine(networks, nat, second)
            named = msgspec.structs.replace(second.port, name="nat-1")
            nat.ports[1] = msgspec.structs.replace(second, port=named, project="shop")
            await networks.apply(nat.wanted)
            assert await lease(stranger, second.port.mac, {12: b"nat-1"}) == "10.0.0.12"
            for name, address in (
                ("nat-1", "10.0.0.11"),
                ("nat-1.nat.guest.internal", "10.0.0.11"),
                ("nat-1.shop.nat.guest.internal", "10.0.0.12"),
            ):
                assert await resolve(own, "10.0.0.1", name) == [socket.inet_aton(address)]

    on_a_host(tmp_path, look)


def test_who_is_removed_is_gone_at_once_and_the_next_has_the_address(tmp_path: Path) -> None:
    async def look() -> None:
        nat = a_network(1, "nat", NetworkMode.NAT, "10.0.0.0/24")
        async with outside(), a_house_with_networks() as (_, networks):
            first, second = nat.port(1), nat.port(2)
            await a_machine(networks, nat, first)
            machine = await a_machine(networks, nat, second)
            assert await lease(Namespace(first.machine), first.port.mac) == "10.0.0.11"
            without(nat, 1)
            await networks.apply(nat.wanted)
            assert await resolve(machine, "10.0.0.1", "nat-1.nat.guest.internal") == []
            assert networks.leases(nat.network) == []
            heir = nat.port(3)
            port = msgspec.structs.replace(heir.port, address="10.0.0.11")
            nat.ports[-1] = heir = msgspec.structs.replace(heir, port=port)
            assert await lease(await a_machine(networks, nat, heir), heir.port.mac) == "10.0.0.11"
            assert await resolve(machine, "10.0.0.1", "nat-3") == [socket.inet_aton("10.0.0.11")]

    on_a_host(tmp_path, look)


def test_a_host_only_network_names_no_router_but_the_way_to_the_metadata(tmp_path: Path) -> None:
    async def look() -> None:
        only = a_network(2, "only", NetworkMode.HOST_ONLY, "192.168.56.0/24")
        async with outside(), a_house_with_networks() as (_, networks):
            asked = only.port(1)
            machine = await a_machine(networks, only, asked)
            _, told = await dhcp(machine, DISCOVER, asked.port.mac, {55: bytes([1, 3, 6, 121])})
            assert 3 not in told
            assert told[121] == bytes([32]) + socket.inet_aton("169.254.169.254") + socket.inet_aton("192.168.56.1")

    on_a_host(tmp_path, look)


def test_name_servers_are_users_of_their_own_and_never_root(tmp_path: Path) -> None:
    async def look() -> None:
        one = a_network(1, "one", NetworkMode.PRIVATE, "10.7.0.0/24")
        two = a_network(2, "two", NetworkMode.PRIVATE, "10.7.0.0/24")
        async with outside(), a_house_with_networks() as (_, networks):
            users = []
            for made in (one, two):
                await networks.apply(made.wanted)
                process = networks._site(made.network).server.process
                assert process is not None
                status = Path(f"/proc/{process.pid}/status").read_text()
                users.append(set(map(int, status.partition("\nUid:")[2].splitlines()[0].split())))
            if os.geteuid() == 0:
                assert all(len(each) == 1 and 0 not in each for each in users)
                assert users[0] != users[1]

    on_a_host(tmp_path, look)
