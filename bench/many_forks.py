"""Two hundred forks of one template, all there at once: reachable, each somebody of its own, and what each costs.

Rules
-----
1. So many are launched at a time as the box has processors and two more. One that can be reached says who it is, and
   stands still from then on: guests at rest would take the processors from those that still begin.
2. Reached is a line of its SSH server, through the port that leads to it. Who it is: its name, machine-id, SSH host
   key, and what its random numbers begin with.
3. Private memory is that of `bench/forks.py`, when all are there.
4. Where the box has no memory for so many, there are fewer, and the table says how many.
"""

from __future__ import annotations

import base64
import os
import socket
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from bench.forks import private_mib
from bench.house import Daemon, Say, a_daemon, a_furnished_house
from bench.table import Row, Section

COUNT = 200
AT_A_TIME = (os.cpu_count() or 1) + 2
MEMORY_MIB = 128
_EACH_MIB, _LEFT_MIB = 120, 2048
_PATIENCE_S = 120.0
_WHO = (
    "hostname; cat /etc/machine-id; dropbearkey -y -f /etc/dropbear/dropbear_ed25519_host_key | grep ^ssh-ed25519;"
    "head -c 64 /dev/urandom | base64 -w0"
)


class Fork(NamedTuple):
    """One that is there: who it says it is, and how long that took from its launch."""

    who: tuple[str, ...]
    seconds: float


def measure(say: Say) -> Section:
    """Launch them, ask them, and look at what they cost together."""
    count = min(COUNT, max(2, (_available_mib() - _LEFT_MIB) // _EACH_MIB))
    with a_furnished_house(say) as house, a_daemon(house) as daemon:
        say("making the template")
        daemon.do("POST", "/templates", {"image": "micro", "memory_mib": MEMORY_MIB})
        said: list[Fork] = []
        begun, before = time.perf_counter(), _available_mib()
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            for fork in pool.map(lambda number: _launched(daemon, f"many-{number}"), range(count)):
                said.append(fork)
                if len(said) % 10 == 0:
                    say(f"{len(said)} of {count} forks")
        elapsed_s = time.perf_counter() - begun
        together_mib = (before - _available_mib()) / count
        machines = [daemon.machine(f"many-{number}") for number in range(count)]
        private = [private_mib(machine["status"]["pid"]) for machine in machines]
        for machine in machines:
            daemon.do("DELETE", f"/machines/{machine['name']}")
    alike = sum(len(said) - len(set(values)) for values in zip(*(fork.who for fork in said), strict=True))
    return Section("Many forks at once", _rows(count, said, alike, elapsed_s, private, together_mib))


def _rows(
    count: int, said: list[Fork], alike: int, elapsed_s: float, private: list[float], together_mib: float
) -> list[Row]:
    return [
        Row(
            "forks of one template, all reachable",
            f"{len(said)} of {count}",
            f"{elapsed_s:.0f} s, {AT_A_TIME} at a time: {statistics.median(fork.seconds for fork in said):.1f} s each",
            str(COUNT),
            len(said) == COUNT,
        ),
        Row("names, ids, keys and random numbers that two have in common", str(alike), "", "0", alike == 0),
        Row(
            "private memory of an idle fork",
            f"{statistics.median(private):.0f} MiB",
            f"the box has {together_mib:.0f} MiB less for each",
        ),
    ]


def _launched(daemon: Daemon, name: str) -> Fork:
    """Launch one, see that it is a fork and can be reached, ask who it is, and let it stand still."""
    begun = time.perf_counter()
    spec = {"name": name, "image": "micro", "memory_mib": MEMORY_MIB}
    operation = daemon.do("POST", "/machines", {"spec": spec})
    if "template" not in operation["result"]:
        raise RuntimeError(f"{name} was booted: {operation}")
    machine: Any = {"stage": ""}
    while machine["stage"] not in ("reachable", "configured"):
        machine = daemon.ask("GET", f"/machines/{name}/wait", until="reachable", wait_s=60)
        if time.perf_counter() - begun > _PATIENCE_S:
            raise RuntimeError(f"{name} cannot be reached after {_PATIENCE_S:.0f} s: {machine['stage']}")
    with socket.create_connection(("127.0.0.1", machine["status"]["ssh_port"]), _PATIENCE_S) as connection:
        if not connection.recv(64).startswith(b"SSH-2.0"):
            raise RuntimeError(f"no SSH server of {name} answers")
    seconds = time.perf_counter() - begun
    daemon.ask("GET", f"/machines/{name}/wait", until="configured", wait_s=60)
    ended = daemon.ask("POST", f"/machines/{name}/exec", {"argv": ["sh", "-c", _WHO]})
    daemon.do("POST", f"/machines/{name}/pause")
    return Fork(tuple(base64.b64decode(ended["stdout"]).decode().splitlines()), seconds)


def _available_mib() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) // 1024
