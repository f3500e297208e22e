"""From RunInstances to an SSH server that answers: with a warm template, and by a boot.

Real machines on the network that a house has from the start, on a host of the bench's own. The time is from before the
request is signed until the server's first line is read at the instance's own address.
"""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.ec2 import Server
from bench.house import GUEST, Daemon, a_furnished_house, environment
from bench.networked import Samples, with_networks
from bench.table import Row, Section, median_ms, spread
from guesthouse.catalog.ec2_types import TYPES
from guesthouse.formats.cloudids import ec2_id

TYPE, ROUNDS, BOOTS = "t3.nano", 11, 3
_GREETING = b"SSH-2.0-"
_SSH, _LOOK_EVERY_S = 22, 0.005
Say = Callable[[str], None]


def measure(say: Say) -> Section:
    """Boots first, then as many forks of a template that is made of the same image."""
    with a_furnished_house(say) as house, tempfile.TemporaryDirectory() as folder:
        say(f"{BOOTS} boots, a template, {ROUNDS} forks")
        times = with_networks(house, Path(folder), _launches)
    fork, boot = times["fork"], times["boot"]
    faster = median_ms(boot) / median_ms(fork)
    rows = [
        Row(f"RunInstances of a {TYPE} → SSH answers", spread(fork), f"{spread(boot)} by a boot: {faster:.1f}x"),
        Row("… of that until the answer to RunInstances", spread(times["answer"])),
    ]
    return Section("From RunInstances to SSH", rows)


def _launches(daemon: Daemon) -> Samples:
    for operation in daemon.ask("GET", "/operations")["items"]:
        daemon.ended(operation["id"])  # the network is there
    server = _open_door(daemon)
    samples: Samples = {"boot": [], "fork": [], "answer": []}
    for _ in range(BOOTS):
        samples["boot"].append(_launch(daemon, server)[1])
    size = TYPES[TYPE]
    hardware = {"vcpus": size.vcpus, "memory_mib": size.memory_mib, "datasource": "metadata"}
    daemon.do("POST", "/templates", {"image": "micro", **hardware})
    _launch(daemon, server)  # the first one warms the caches
    for _ in range(ROUNDS):
        answered_s, took_s = _launch(daemon, server)
        samples["answer"].append(answered_s)
        samples["fork"].append(took_s)
    return samples


def _open_door(daemon: Daemon) -> Server:
    daemon.ask("PUT", "/doors/ec2", {"listen": "127.0.0.1:0"})
    told = subprocess.run(
        (str(GUEST), "ec2", "credentials", "--json"), env=environment(daemon.house), stdout=subprocess.PIPE, check=True
    )
    process: Any = daemon.process
    server = Server(process, json.loads(told.stdout))
    for name, action, tag in (("IMAGE", "DescribeImages", "imageId"), ("SUBNET", "DescribeSubnets", "subnetId")):
        server.environment[name] = _inner(server.ask({"Action": action}).decode(), tag)
    return server


def _launch(daemon: Daemon, server: Server) -> tuple[float, float]:
    """Launch one, and end it; the seconds until the request was answered, and until its SSH server was."""
    image, subnet = server.environment["IMAGE"], server.environment["SUBNET"]
    begun = time.perf_counter()
    document = server.ask({
        "Action": "RunInstances", "ImageId": image, "InstanceType": TYPE, "MinCount": "1", "MaxCount": "1",
        "SubnetId": subnet,
    }).decode()  # fmt: skip
    answered_s = time.perf_counter() - begun
    instance, address = _inner(document, "instanceId"), _inner(document, "privateIpAddress")
    (machine,) = (each["id"] for each in daemon.ask("GET", "/machines")["items"] if ec2_id("i", each["id"]) == instance)
    daemon.ask("GET", f"/machines/{machine}/wait", until="reachable", wait_s=60)
    greeting = _greeting(address)
    took_s = time.perf_counter() - begun
    if greeting != _GREETING:
        raise RuntimeError(f"{address} says {greeting!r}")
    daemon.do("DELETE", f"/machines/{machine}")
    return answered_s, took_s


def _greeting(address: str) -> bytes:
    """What the SSH server says first, as soon as there is one."""
    while True:
        try:
            with socket.create_connection((address, _SSH), timeout=60) as connection:
                return connection.recv(len(_GREETING))
        except ConnectionRefusedError:
            time.sleep(_LOOK_EVERY_S)


def _inner(document: str, tag: str) -> str:
    """What the first element of that name holds."""
    return document.partition(f"<{tag}>")[2].partition("<")[0]
