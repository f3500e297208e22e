"""Networks on a host: made, applied again, one NIC more of a thousand, its address; and what a packet's way costs.

Beside the way of a packet stands a plain Linux bridge with the same machines, and no rules.
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from tests.host.nets import Made, a_house_with_networks, a_machine, a_network, ip, on_a_host, outside
from tests.host.test_network_services import DISCOVER, dhcp

from bench.table import Row, Section, limited, spread
from guesthouse.formats import links
from guesthouse.host.networks.local import LocalNetworks
from guesthouse.host.networks.namespace import Namespace
from guesthouse.model.network import NetworkMode

NICS, ROUNDS, TRIPS = 1000, 15, 5000
CIDR = "10.0.0.0/16"
Say = Callable[[str], None]
Samples = dict[str, list[float]]


def measure(say: Say) -> Section:
    """Times on a host of the bench's own; namespaces stand for machines where no QEMU is the point."""
    say(f"a network with {NICS} NICs")
    nics = _on_a_host(_with_many_nics)
    say(f"{TRIPS} round trips")
    trips = _on_a_host(_round_trips)
    ours, plain = (min(trips[name]) / TRIPS * 1e6 for name in ("ours", "plain"))
    rows = [
        limited("a new network", nics["new"], 1000),
        limited(f"{NICS:,} NICs at once", nics["all"], 1000),
        limited(f"one NIC more, with {NICS:,}: rules, address, name", nics["apply"], 20),
        limited("its TAP", nics["tap"], 20),
        limited("then the offer of its address", nics["offer"], 10),
        Row(f"to look whether all of {NICS:,} NICs is as it should be", spread(nics["differs"])),
        Row(
            "round trip, machine to machine",
            f"{ours:.1f} µs",
            f"{plain:.1f} µs: plain bridge",
            "≤ 1.3x",
            ours <= 1.3 * plain,
        ),
    ]
    return Section("Networks on a host", rows)


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


async def _round_trips() -> Samples:
    async with outside(), a_house_with_networks() as (_, networks):
        made = a_network(1, "own", NetworkMode.PRIVATE, CIDR)
        ours = [await a_machine(networks, made, made.port(number)) for number in (1, 2)]
        plain = await _on_a_plain_bridge()
        samples: Samples = {"ours": [], "plain": []}
        for _ in range(5):
            samples["ours"].append(_ping_pong(*ours, "10.0.0.12"))
            samples["plain"].append(_ping_pong(*plain, "10.0.0.12"))
        return samples


async def _on_a_plain_bridge() -> tuple[Namespace, Namespace]:
    """Two machines on a bridge, in a namespace where bridged frames meet no rules."""
    there, one, two = Namespace("plain"), Namespace("one"), Namespace("two")
    for each in (there, one, two):
        await each.make()
    there.enter(lambda: Path("/proc/sys/net/bridge/bridge-nf-call-iptables").write_text("0"))
    ip("link", "add", "br0", "type", "bridge", namespace="plain")
    ip("link", "set", "br0", "up", namespace="plain")
    for number, each in ((1, one), (2, two)):
        ip("link", "add", "eth0", "netns", each.name, "type", "veth", "peer", "name", f"tap{number}", "netns", "plain")
        ip("link", "set", f"tap{number}", "master", "br0", "up", namespace="plain")
        ip("address", "add", f"10.0.0.1{number}/16", "dev", "eth0", namespace=each.name)
        ip("link", "set", "eth0", "up", namespace=each.name)
    return one, two


def _ping_pong(one: Namespace, two: Namespace, address: str) -> float:
    """Seconds for `TRIPS` datagrams there and back, each after the other."""
    answering, asking = (each.enter(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for each in (two, one))
    with answering, asking:
        answering.bind((address, 7))
        asking.connect((address, 7))
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
