"""A host with networks and machines, an outsider on its link, and a yard that is none of our business.

Each is a namespace of its own; all are the test's.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

from tests.firewall.box import take_network
from tests.patience import PATIENCE_S

from guesthouse.formats import links
from guesthouse.formats.netfilter import inside, outside
from guesthouse.model.network import NetworkMode, NetworkWanted, PortWanted

TAG, TABLE = "ab12", "inet guesthouse_test_networks"
HOST, HOST6, OUTSIDER, OUTSIDER6 = "203.0.113.1", "2001:db8::1", "203.0.113.100", "2001:db8::100"
YARD_GATE, YARD_GATE6, YARD, YARD6 = "192.0.2.1", "2001:db8:2::1", "192.0.2.2", "2001:db8:2::2"
SOMEBODY_ELSES = """
table ip somebody {
    chain prerouting {
        type nat hook prerouting priority -101
        tcp dport 2299 dnat to 10.3.0.11:22
    }
}
"""
_CLONE_NEWNET = 0x40000000
_SYSCTLS = {
    "net/ipv6/conf/all/accept_dad": "0",
    "net/ipv6/conf/default/accept_dad": "0",
    "net/ipv4/ip_forward": "1",
    "net/ipv6/conf/all/forwarding": "1",
    "net/bridge/bridge-nf-call-iptables": "1",
    "net/bridge/bridge-nf-call-ip6tables": "1",
}
Result = TypeVar("Result")


class Place:
    """A namespace without a name: it is there as long as this is."""

    def __init__(self, namespace: int) -> None:
        self._namespace = namespace
        self.path = f"/proc/{os.getpid()}/fd/{namespace}"

    def within(self, work: Callable[[], Result]) -> Result:
        """What `work` returns, done there by a thread that ends with it."""
        results: list[Result] = []

        def visit() -> None:
            assert ctypes.CDLL(None).setns(self._namespace, _CLONE_NEWNET) == 0
            results.append(work())

        thread = threading.Thread(target=visit)
        thread.start()
        thread.join()
        return results[0]

    def run(self, *argv: str, text: str = "") -> None:
        """Run a program there; what it says is the failure."""
        done = subprocess.run(("nsenter", f"--net={self.path}", *argv), input=text, text=True, capture_output=True)
        assert done.returncode == 0, f"{done.stderr}\n{text}"

    def ip(self, *lines: str) -> None:
        self.run("ip", "-batch", "-", text="\n".join(lines))

    def set(self, **more: str) -> None:
        for name, value in {**_SYSCTLS, **more}.items():
            self.within(lambda name=name, value=value: Path("/proc/sys", name).write_text(value))  # type: ignore[misc]


def a_place() -> Place:
    """A new namespace, with its loopback device up."""
    opened: list[int] = []

    def leave() -> None:
        take_network()
        opened.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY))

    thread = threading.Thread(target=leave)
    thread.start()
    thread.join()
    place = Place(opened[0])
    place.set()
    place.ip("link set lo up")
    return place


class Street:
    """The host, where we are, the outsider, and networks with their machines."""

    def __init__(self, networks: Sequence[NetworkWanted]) -> None:
        self.networks = networks
        self.places: dict[str, Place] = {
            "host": Place(os.open("/proc/thread-self/ns/net", os.O_RDONLY)),
            "out": a_place(),
            "yard": a_place(),
        }
        self.host = self.places["host"]
        self.host.set()
        self._lan()
        for wanted in networks:
            self._network(wanted)
        self.host.run("nft", "-f", "-", text=outside(TABLE, TAG, networks))
        self.host.run("nft", "-f", "-", text=SOMEBODY_ELSES)

    def _lan(self) -> None:
        """The outsider's link, and one of somebody whose packets the host passes on without us."""
        self.host.ip("link set lo up")
        for name, link, host, theirs in (
            ("out", "lan0", (HOST, HOST6), (OUTSIDER, OUTSIDER6)),
            ("yard", "yard0", (YARD_GATE, YARD_GATE6), (YARD, YARD6)),
        ):
            place = self.places[name]
            self.host.ip(f"link add {link} type veth peer name eth0 netns {place.path}")
            for where, device, addresses in ((self.host, link, host), (place, "eth0", theirs)):
                four, six = addresses
                where.ip(
                    f"link set {device} up", f"address add {four}/24 dev {device}", f"address add {six}/64 dev {device}"
                )
            # They try to come in by every way there is.
            place.ip(f"route add default via {host[0]}", f"route add default via {host[1]}")
        self.host.ip(f"route add default via {OUTSIDER}", f"route add default via {OUTSIDER6}")
        self.host.set(**{"net/ipv4/neigh/lan0/proxy_delay": "0", "net/ipv6/neigh/lan0/proxy_delay": "0"})

    def _network(self, wanted: NetworkWanted) -> None:
        number = wanted.network.number
        place = self.places[wanted.network.name] = a_place()
        ends, name = links.transit(TAG, number), links.link(TAG, number)
        self.host.ip(
            f"link add {name} type veth peer name {links.UPLINK} netns {place.path}",
            f"link set {name} up",
            f"address add {ends.host}/31 dev {name}",
            f"address add {ends.host6}/127 dev {name} nodad",
        )
        self.host.within(lambda: Path(f"/proc/sys/net/ipv4/conf/{name}/route_localnet").write_text("1"))
        place.ip(
            f"link set {links.UPLINK} up",
            f"address add {ends.network}/31 dev {links.UPLINK}",
            f"address add {ends.network6}/127 dev {links.UPLINK} nodad",
            f"route add default via {ends.host}",
            f"route add default via {ends.host6}",
        )
        place.run("nft", "-f", "-", text=inside(wanted, TAG))
        for subnet in wanted.subnets:
            bridge = links.bridge(subnet.number)
            place.ip(
                f"link add {bridge} type bridge mcast_snooping 0 forward_delay 0",
                f"link set {bridge} address {links.gateway_mac(subnet.number)} up",
                f"address add {subnet.gateway}/24 dev {bridge}",
                f"address add {subnet.gateway6}/64 dev {bridge} nodad",
            )
        if wanted.network.mode is not NetworkMode.PRIVATE:
            for subnet in wanted.subnets:
                self.host.ip(
                    f"route add {subnet.cidr} via {ends.network}", f"route add {subnet.cidr6} via {ends.network6}"
                )
        for each in wanted.ports:
            self._machine(place, wanted, each)
            if each.elastic:
                self.host.ip(
                    f"route add {each.elastic} via {ends.network6 if ':' in each.elastic else ends.network}",
                    f"neighbour add proxy {each.elastic} dev lan0",
                )

    def _machine(self, network: Place, wanted: NetworkWanted, each: PortWanted) -> None:
        port = each.port
        place = self.places[each.machine] = a_place()
        tap = links.tap(port.number)
        subnet = next(subnet for subnet in wanted.subnets if subnet.id == port.subnet)
        network.ip(
            f"link add {tap} type veth peer name eth0 address {port.mac} netns {place.path}",
            f"link set {tap} addrgenmode none",
            f"link set {tap} master {links.bridge(subnet.number)} up",
        )
        place.ip(
            "link set eth0 up",
            f"address add {port.address}/24 dev eth0",
            f"address add {port.address6}/64 dev eth0 nodad",
            f"route add default via {subnet.gateway}",
            f"route add default via {subnet.gateway6}",
        )


class Cell(NamedTuple):
    """Who connects to what, and what he hears: who answered, and whom that one saw; None for nothing."""

    source: str
    target: str
    port: int
    heard: str | None


@asynccontextmanager
async def listening(street: Street, ports: Sequence[int]) -> AsyncIterator[None]:
    """Everybody answers at these ports, with his name and whom he sees."""
    async with contextlib.AsyncExitStack() as stack:
        for name, place in street.places.items():
            for port in ports:
                service = place.within(lambda port=port: _service(port))  # type: ignore[misc]
                server = await asyncio.start_server(_answer(name), sock=service)
                stack.callback(server.close)
        yield


def _service(port: int) -> socket.socket:
    return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)


def _answer(name: str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
    def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")[0].removeprefix("::ffff:")
        writer.write(f"{name} saw {peer}".encode())
        writer.close()

    return answer


async def connect(street: Street, cell: Cell) -> str | None:
    """What somebody hears who connects; None when there is no way, but a refusal is an answer."""
    family = socket.AF_INET6 if ":" in cell.target else socket.AF_INET
    loop = asyncio.get_running_loop()
    client = street.places[cell.source].within(lambda: socket.socket(family, socket.SOCK_STREAM))
    client.setblocking(False)
    with client:
        try:
            await loop.sock_connect(client, (cell.target, cell.port))
            return (await loop.sock_recv(client, 100)).decode()
        except ConnectionRefusedError:
            return "refused"
        except OSError:
            return None


async def look(street: Street, cells: Sequence[Cell]) -> dict[Cell, str | None]:
    """What is heard in each cell. Who is to hear nothing begins first, and has until all others have heard twice."""
    first = [cell for cell in cells if cell.heard is None]
    asked = {cell: asyncio.ensure_future(connect(street, cell)) for cell in first}
    await asyncio.sleep(0)  # lets them begin
    for _ in range(2):
        then = [asyncio.ensure_future(connect(street, cell)) for cell in cells if cell.heard is not None]
        await asyncio.wait(then, timeout=PATIENCE_S)
    asked |= dict(zip((cell for cell in cells if cell.heard is not None), then, strict=True))
    heard = {cell: task.result() if task.done() else None for cell, task in asked.items()}
    for task in asked.values():
        task.cancel()
    await asyncio.wait(asked.values())
    return heard
