"""Networks on a host: made, applied again, one NIC more of a thousand, its address; and what a packet's way costs.

Beside the way of a packet stand a plain Linux bridge with the same machines and no rules, and libvirt's own network.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.host.nets import Made, a_house_with_networks, a_machine, a_network, ip, on_a_host, outside
from tests.host.test_network_services import DISCOVER, dhcp

from bench.libvirt import Libvirt, a_libvirt, missing
from bench.table import Row, Section, limited, spread
from guesthouse.formats import links
from guesthouse.host.networks.local import LocalNetworks
from guesthouse.host.networks.namespace import Namespace
from guesthouse.model.network import NetworkMode

NICS, ROUNDS, TRIPS, STREAM_BYTES, TURNS = 1000, 15, 5000, 1 << 30, 5
CIDR = "10.0.0.0/16"
FORWARDING_S, LOST_S = 60, 5
_CHUNK = bytes(1 << 18)
Say = Callable[[str], None]
Samples = dict[str, list[float]]


def measure(say: Say) -> Section:
    """Times on a host of the bench's own; namespaces stand for machines where no QEMU is the point."""
    say(f"a network with {NICS} NICs")
    nics = _on_a_host(_with_many_nics)
    say(f"{TRIPS} round trips, {STREAM_BYTES >> 20} MiB in a stream, {TURNS} times on each")
    ways = _on_a_host(_packets)
    rows = [
        limited("a new network", nics["new"], 1000),
        limited(f"{NICS:,} NICs at once", nics["all"], 1000),
        limited(f"one NIC more, with {NICS:,}: rules, address, name", nics["apply"], 20),
        limited("its TAP", nics["tap"], 20),
        limited("then the offer of its address", nics["offer"], 10),
        Row(f"to look whether all of {NICS:,} NICs is as it should be", spread(nics["differs"])),
        *_compared("round trip, machine to machine", ways, "trips", lambda took: f"{took / TRIPS * 1e6:.1f} µs"),
        *_compared("stream of TCP, machine to machine", ways, "stream", _rate),
    ]
    absent = missing()
    return Section("Networks on a host", rows, [f"Without libvirt: {absent}."] if absent else [])


def _compared(what: str, ways: Samples, kind: str, say: Callable[[float], str]) -> Iterable[Row]:
    """A row for each peer: the best of all turns, taken one after the other on each."""
    ours = min(ways[f"{kind} ours"])
    for peer, name, target in (("plain", "plain bridge", "≤ 1.3x"), ("libvirt", "libvirt's default network", "")):
        if theirs := ways.get(f"{kind} {peer}"):
            ratio = ours / min(theirs)
            beside = f"{say(min(theirs))}, {name}: {ratio:.2f}x the time"
            yield Row(what, say(ours), beside, target, ratio <= 1.3 if target else None)


def _rate(took_s: float) -> str:
    return f"{STREAM_BYTES * 8 / took_s / 1e9:.1f} Gbit/s"


def _on_a_host(work: Callable[[], Coroutine[Any, Any, Samples]]) -> Samples:
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder, "samples.json")

        async def tell() -> None:
            told.write_text(json.dumps(await work()))

        on_a_host(Path(folder), tell)
        samples: Samples = json.loads(told.read_text())
        return samples


async def _with_many_nics() -> Samples:
    samples: Samples = {name: [] for name in ("new", "all", "apply", "tap", "offer", "differs")}
    async with outside(), a_house_with_networks() as (_, networks):
        for number in range(2, 7):
            small = a_network(number, f"n{number}", NetworkMode.NAT, f"10.{number}.0.0/24")
            samples["new"].append(await _timed(networks.apply(small.wanted)))
            await networks.remove(small.network)
        made = a_network(1, "nat", NetworkMode.NAT, CIDR)
        await networks.apply(made.wanted)
        for number in range(1, NICS + 1):
            made.port(number)
        samples["all"].append(await _timed(networks.apply(made.wanted)))
        samples["all"] *= 2  # a median wants two
        await Namespace("machine").make()
        for number in range(NICS + 1, NICS + 1 + ROUNDS):
            await _one_more(networks, made, number, samples)
            samples["differs"].append(await _timed(networks.differs(made.wanted)))
    return samples


async def _one_more(networks: LocalNetworks, made: Made, number: int, samples: Samples) -> None:
    asked, inside = made.port(number), networks.namespace(made.network)
    wanted = made.wanted
    started = time.perf_counter()
    await networks.apply(wanted)
    applied = time.perf_counter()
    opened = await networks.open_tap(wanted, asked.port)
    samples["apply"].append(applied - started)
    samples["tap"].append(time.perf_counter() - applied)
    os.close(opened)
    # In the TAP's place, somebody who asks for an address: the next one, who is just being made known.
    asked = made.port(number + ROUNDS)
    tap = links.tap(asked.port.number)
    words = ("address", asked.port.mac, "netns", "machine", "type", "veth", "peer", "name", tap, "netns", inside.name)
    ip("link", "add", "eth0", *words)
    ip("link", "set", tap, "master", links.bridge(1), "up", namespace=inside.name)
    ip("link", "set", "eth0", "up", namespace="machine")
    await networks.apply(made.wanted)
    samples["offer"].append(await _timed(dhcp(Namespace("machine"), DISCOVER, asked.port.mac)))
    ip("link", "delete", "eth0", namespace="machine")


async def _timed(work: Coroutine[Any, Any, object]) -> float:
    started = time.perf_counter()
    await work
    return time.perf_counter() - started


async def _packets() -> Samples:
    async with outside(), a_house_with_networks() as (_, networks):
        made = a_network(1, "own", NetworkMode.PRIVATE, CIDR)
        one, two = [await a_machine(networks, made, made.port(number)) for number in (1, 2)]
        await _make_plain_bridge()
        with contextlib.ExitStack() as stack:
            pairs = {
                "ours": (one, two, "10.0.0.12"),
                "plain": (*await _machines("plain", "br0", "10.0.0"), "10.0.0.12"),
            }
            if not missing():
                stack.enter_context(_libvirts_network())
                pairs["libvirt"] = (*await _machines("", "virbr0", "192.168.122"), "192.168.122.12")
                _until_forwarding("virbr0")
            samples: Samples = {}
            for _ in range(TURNS):
                for name, pair in pairs.items():
                    samples.setdefault(f"trips {name}", []).append(_ping_pong(*pair))
                    samples.setdefault(f"stream {name}", []).append(_stream(*pair))
            return samples


async def _make_plain_bridge() -> None:
    """A bridge in a namespace where bridged frames meet no rules."""
    there = Namespace("plain")
    await there.make()
    there.enter(lambda: Path("/proc/sys/net/bridge/bridge-nf-call-iptables").write_text("0"))
    ip("link", "add", "br0", "type", "bridge", namespace="plain")
    ip("link", "set", "br0", "up", namespace="plain")


@contextmanager
def _libvirts_network() -> Iterator[None]:
    """The network that libvirt has from the start, as Debian's package defines it; its name server ends with it."""
    with a_libvirt() as libvirt:
        _virsh(libvirt, "net-start", "default")
        try:
            yield
        finally:
            _virsh(libvirt, "net-destroy", "default")


def _virsh(libvirt: Libvirt, *words: str) -> None:
    ended = subprocess.run([*libvirt.virsh, *words], capture_output=True, text=True)
    if ended.returncode:
        raise RuntimeError(f"virsh {words[0]}: {ended.stderr}")


def _until_forwarding(bridge: str) -> None:
    """Wait until all ports of a bridge let frames through: one with spanning tree, as libvirt's is, takes its time."""
    deadline = time.monotonic() + FORWARDING_S
    while not all(_forwards(link) for link in json.loads(ip("-json", "-details", "link", "show", "master", bridge))):
        if time.monotonic() > deadline:
            raise TimeoutError(f"bridge {bridge}: a port still does not forward after {FORWARDING_S} s")
        time.sleep(0.1)


def _forwards(link: dict[str, Any]) -> bool:
    return bool(link["linkinfo"]["info_slave_data"]["state"] == "forwarding")


async def _machines(namespace: str, bridge: str, block: str) -> tuple[Namespace, Namespace]:
    """Two machines on a bridge, which is in that namespace, or on the host itself."""
    machines = []
    for number in (1, 2):
        machine, tap = Namespace(f"{bridge}-{number}"), f"{bridge}-{number}"
        await machine.make()
        ip("link", "add", "eth0", "netns", machine.name, "type", "veth", "peer", "name", f"e{tap}")
        if namespace:
            ip("link", "set", f"e{tap}", "netns", namespace)
        ip("link", "set", f"e{tap}", "master", bridge, "up", namespace=namespace)
        ip("address", "add", f"{block}.1{number}/24", "dev", "eth0", namespace=machine.name)
        ip("link", "set", "eth0", "up", namespace=machine.name)
        machines.append(machine)
    return machines[0], machines[1]


def _stream(one: Namespace, two: Namespace, address: str) -> float:
    """Seconds for `STREAM_BYTES` over one connection of TCP."""
    listening = two.enter(lambda: socket.create_server((address, 7)))
    asking = one.enter(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    with listening, asking:
        thread = threading.Thread(target=_swallow, args=(listening,))
        thread.start()
        asking.connect((address, 7))
        started = time.perf_counter()
        for _ in range(STREAM_BYTES // len(_CHUNK)):
            asking.sendall(_CHUNK)
        asking.shutdown(socket.SHUT_WR)
        thread.join()
        return time.perf_counter() - started


def _swallow(listening: socket.socket) -> None:
    connection, _ = listening.accept()
    room = bytearray(len(_CHUNK))
    with connection:
        while connection.recv_into(room):
            pass


def _ping_pong(one: Namespace, two: Namespace, address: str) -> float:
    """Seconds for `TRIPS` datagrams there and back, each after the other; raises `TimeoutError` when one is lost."""
    answering, asking = (each.enter(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for each in (two, one))
    with answering, asking:
        answering.bind((address, 7))
        asking.connect((address, 7))
        for each in (answering, asking):
            each.settimeout(LOST_S)
        thread = threading.Thread(target=_echo, args=(answering,))
        thread.start()
        started = time.perf_counter()
        for _ in range(TRIPS):
            asking.send(b"ping")
            asking.recv(16)
        took = time.perf_counter() - started
        thread.join()
        return took


def _echo(answering: socket.socket) -> None:
    for _ in range(TRIPS):
        data, asker = answering.recvfrom(16)
        answering.sendto(data, asker)
