"""A small world for tests of networks: a host, what is outside of it, and machines; all of it network namespaces.

The test runs in a child process whose own network is the host's. Nothing of the box's network is ever touched, and all
is gone with the child.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from tests.host.boxes import a_house
from tests.host.children import mount_small, run_as, take_own_network
from tests.patience import PATIENCE_S

from guesthouse.formats import links
from guesthouse.host.networks.local import LocalNetworks, clean, open_networks
from guesthouse.host.networks.namespace import Namespace
from guesthouse.model.house import House
from guesthouse.model.machine import Forward
from guesthouse.model.network import Group, Network, NetworkMode, NetworkWanted, Port, PortWanted, Subnet

HOST, OUTSIDE, FAR = "203.0.113.1", "203.0.113.100", "198.51.100.7"
HOST6, OUTSIDE6 = "2001:db8:f::1", "2001:db8:f::100"
ELASTIC = "203.0.113.50"
DENIED_S = 1.0
"""How long a connection is tried that is to fail: what is open answers in milliseconds."""


def _no_more() -> None:
    """Nothing else is to be prepared."""


def on_a_host(
    tmp_path: Path, work: Callable[[], Coroutine[Any, Any, None]], then: Callable[[], None] = _no_more
) -> None:
    """Do the work where the network, and the names of namespaces, are a host's of the test's own.

    `then` changes more of the child that the work is done in.
    """
    resolver = tmp_path / "resolv.conf"
    resolver.write_text(f"nameserver {OUTSIDE}\n")
    resolver.chmod(0o644)

    def prepare() -> None:
        take_own_network(resolver)
        mount_small(Path("/run"), "8m")
        then()

    run_as(prepare, work)


def ip(*words: str, namespace: str = "") -> str:
    argv = ("ip", *(("-n", namespace) if namespace else ()), *words)
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


@asynccontextmanager
async def outside() -> AsyncIterator[Namespace]:
    """What is outside: a neighbour of the host on its uplink ``wan0``, who knows a way to every network and to afar."""
    there = Namespace("outside")
    await there.make()
    ip("link", "add", "wan0", "mtu", "1450", "type", "veth", "peer", "name", "eth0", "netns", "outside")
    for words in (
        ("address", "add", f"{HOST}/24", "dev", "wan0"),
        ("address", "add", f"{HOST6}/64", "dev", "wan0", "nodad"),
        ("link", "set", "wan0", "up"),
    ):
        ip(*words)
    for words in (
        ("link", "set", "lo", "up"),
        ("link", "set", "eth0", "mtu", "1450", "up"),
        ("address", "add", f"{OUTSIDE}/24", "dev", "eth0"),
        ("address", "add", f"{FAR}/32", "dev", "lo"),
        ("address", "add", f"{OUTSIDE6}/64", "dev", "eth0", "nodad"),
        *(("route", "add", cidr, "via", HOST) for cidr in ("10.0.0.0/16", "192.168.56.0/24", "100.64.0.0/10")),
    ):
        ip(*words, namespace="outside")
    ip("route", "add", "default", "via", OUTSIDE)
    try:
        yield there
    finally:
        await there.remove()


def bridge_the_uplink() -> None:
    """As somebody sets up a host whose machines are to be on its own network."""
    ip("link", "add", "lan0", "type", "bridge", "forward_delay", "0")
    ip("address", "delete", f"{HOST}/24", "dev", "wan0")
    ip("link", "set", "wan0", "master", "lan0")
    ip("address", "add", f"{HOST}/24", "dev", "lan0")
    ip("link", "set", "lan0", "mtu", "1450", "up")
    ip("route", "add", "default", "via", OUTSIDE)


@dataclass
class Made:
    """A network as it grows in a test."""

    network: Network
    subnets: list[Subnet] = field(default_factory=list)
    ports: list[PortWanted] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)

    @property
    def wanted(self) -> NetworkWanted:
        return NetworkWanted(
            network=self.network, subnets=tuple(self.subnets), ports=tuple(self.ports), groups=tuple(self.groups)
        )

    def port(
        self, number: int, *, forwards: tuple[Forward, ...] = (), elastic: str = "", groups: tuple[str, ...] = ()
    ) -> PortWanted:
        """One more port; its machine is called ``NETWORK-NUMBER``."""
        name, subnet = f"{self.network.name}-{number}", self.subnets[0] if self.subnets else None
        port = Port(
            id=f"{self.network.id}-{number}", project="p", network=self.network.id, number=number,
            machine=name, name=name, subnet=subnet.id if subnet else "", groups=groups, forwards=forwards,
            mac=f"52:54:{self.network.number:02x}:00:{number >> 8:02x}:{number & 255:02x}",
            address=_nth(subnet.cidr, number + 10) if subnet else "",
            address6=_nth(subnet.cidr6, number + 10) if subnet and subnet.cidr6 else "",
        )  # fmt: skip
        self.ports.append(PortWanted(port=port, elastic=elastic))
        return self.ports[-1]


def _nth(cidr: str, number: int) -> str:
    return str(ip_network(cidr)[number])


def a_network(number: int, name: str, mode: NetworkMode, cidr: str = "", cidr6: str = "", link: str = "") -> Made:
    """A network with one subnet, or none."""
    network = Network(
        id=f"net-{number}", project="p", name=name, mode=mode, number=number, link=link,
        domain="" if mode is NetworkMode.BRIDGE else f"{name}.guest.internal", ipv6=bool(cidr6),
    )  # fmt: skip
    if not cidr:
        return Made(network)
    subnet = Subnet(
        id=f"subnet-{number}", project="p", network=network.id, name="first", number=1, cidr=cidr,
        gateway=_nth(cidr, 1), first=_nth(cidr, 2), last=_nth(cidr, -2),
        cidr6=cidr6, gateway6=_nth(cidr6, 1) if cidr6 else "",
    )  # fmt: skip
    return Made(network, [subnet])


@asynccontextmanager
async def a_house_with_networks() -> AsyncIterator[tuple[House, LocalNetworks]]:
    with a_house() as house:
        try:
            async with open_networks(house) as networks:
                yield house, networks
        finally:
            await clean(house)


async def a_machine(networks: LocalNetworks, made: Made, asked: PortWanted, *, own: str = "") -> Namespace:
    """A namespace in place of a machine: its NIC is one end of a veth, whose other end is called as its TAP would be.

    `own` is its address with the prefix length where the network gives none.
    """
    machine = Namespace(asked.machine)
    await machine.make()
    inside, port = networks.namespace(made.network), asked.port
    await networks.apply(made.wanted)
    ip(
        "link", "add", "eth0", "address", port.mac, "netns", machine.name,
        "type", "veth", "peer", "name", links.tap(port.number), "netns", inside.name,
    )  # fmt: skip
    place = networks._site(made.network).place(made.wanted, port)
    ip("link", "set", place.tap, "master", place.bridge, "mtu", str(place.mtu), "up", namespace=inside.name)
    ip("link", "set", "lo", "up", namespace=machine.name)
    ip("link", "set", "eth0", "mtu", str(place.mtu), "up", namespace=machine.name)
    subnet = made.subnets[0] if made.subnets else None
    address = own or f"{port.address}/{subnet.cidr.partition('/')[2]}" if subnet or own else ""
    ip("address", "add", address, "dev", "eth0", namespace=machine.name)
    if subnet is not None:
        ip("route", "add", "default", "via", subnet.gateway, namespace=machine.name)
    if subnet is not None and port.address6:
        ip("address", "add", f"{port.address6}/64", "dev", "eth0", "nodad", namespace=machine.name)
        ip("route", "add", "default", "via", subnet.gateway6, namespace=machine.name)
    return machine


def listener(namespace: Namespace | None, port: int, family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
    """A TCP socket in a namespace, of the host itself by None, at all its addresses."""

    def make() -> socket.socket:
        sock = socket.create_server(("", port), family=family, dualstack_ipv6=family is socket.AF_INET6)
        sock.setblocking(False)
        return sock

    return namespace.enter(make) if namespace else make()


@asynccontextmanager
async def serving(services: dict[str, socket.socket]) -> AsyncIterator[None]:
    """Each answers with its name and who asks, and keeps the connection until the asker goes: ``NAME from ADDRESS``."""
    async with contextlib.AsyncExitStack() as stack:
        for name, sock in services.items():
            await stack.enter_async_context(await asyncio.start_server(_answer(name), sock=sock))
        yield


def _answer(name: str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"{name} from {writer.get_extra_info('peername')[0]}\n".encode())
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(64):
                writer.write(data)
        writer.close()

    return answer


async def connect(
    namespace: Namespace | None, address: str, port: int, wait_s: float = PATIENCE_S
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_STREAM | socket.SOCK_NONBLOCK
    sock = namespace.enter(lambda: socket.socket(family, kind)) if namespace else socket.socket(family, kind)
    try:
        async with asyncio.timeout(wait_s):
            await asyncio.get_running_loop().sock_connect(sock, (address, port))
    except BaseException:
        sock.close()
        raise
    return await asyncio.open_connection(sock=sock)


async def ask(namespace: Namespace | None, address: str, port: int, *, denied: bool = False) -> str:
    """What answers there, "" when nobody does."""
    try:
        reader, writer = await connect(namespace, address, port, DENIED_S if denied else PATIENCE_S)
    except (TimeoutError, ConnectionRefusedError, OSError):
        return ""
    try:
        return (await reader.readline()).decode().strip()
    finally:
        writer.close()


def left() -> list[str]:
    """Whatever of ours is on this host: links, namespaces, tables, routes, name servers."""
    found = [line.split()[1].rstrip(":") for line in ip("-o", "link").splitlines() if line.split()[1].startswith("gh")]
    found += [line.split()[0] for line in ip("netns").splitlines() if line.startswith("gh")]
    tables = subprocess.run(("nft", "list", "tables"), check=True, capture_output=True, text=True).stdout
    found += [line for line in tables.splitlines() if "guesthouse" in line]
    found += [line for line in ip("route").splitlines() if " 103" in line]
    found += [line for line in ip("neighbour", "show", "proxy").splitlines() if line]
    return found + name_servers()


def name_servers() -> list[str]:
    """Processes of dnsmasq in the namespaces of this host: those that have a folder of one of our houses."""
    return [
        path.name
        for path in Path("/proc").glob("[0-9]*")
        if (words := _words(path)) and words[0] == b"dnsmasq" and _is_ours(path)
    ]


def _words(path: Path) -> list[bytes]:
    with contextlib.suppress(OSError):
        return (path / "cmdline").read_bytes().split(b"\0")
    return []


def _is_ours(path: Path) -> bool:
    """Whether it is of this child's mounts."""
    with contextlib.suppress(OSError):
        return (path / "ns" / "mnt").samefile("/proc/self/ns/mnt")
    return False
