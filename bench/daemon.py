"""The daemon: its memory when idle, what a running machine adds, and how fast it finds machines again.

Rules
-----
1. Machines here have nothing to boot and stand idle: it is the daemon that is measured.
2. Memory is the proportional set size of the process (proc(5), smaps_rollup): what it adds to the box.
3. Before the daemon is started anew, all machines are written down as not yet seen in its store. They count as found
   when the new daemon says of each that it runs: it has talked to every QEMU by then, and written what it saw.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path

from bench.house import Daemon, Say, a_daemon, a_furnished_house
from bench.table import Row, Section
from guesthouse.model.house import House
from guesthouse.model.machine import MachineStatus, Stage, State
from guesthouse.store import open_store

MACHINES = 50
ROUNDS = 5
_IDLE_MB, _EACH_MIB, _FOUND_S = 80.0, 1.0, 2.0


def measure(say: Say) -> Section:
    """Memory without machines and with many, then deaths and new beginnings."""
    with a_furnished_house(say) as house:
        with a_daemon(house) as daemon:
            idle, resident = _memory_kib(daemon, "Pss"), _memory_kib(daemon, "Rss")
            for number in range(MACHINES):
                say(f"machine {number + 1} of {MACHINES}")
                daemon.launch(f"machine-{number}", memory_mib=64, firmware="bios")
            busy = _memory_kib(daemon, "Pss")
            daemon.kill()
        times = [_found_again(house, say) for _ in range(ROUNDS)]
    each_mib = (busy - idle) / 1024 / MACHINES
    found_s = statistics.median(times)
    rows = [
        Row(
            "daemon, idle",
            f"{idle * 1024 / 1e6:.0f} MB",
            f"resident with shared files {resident * 1024 / 1e6:.0f} MB",
            f"≤ {_IDLE_MB:.0f} MB",
            resident * 1024 / 1e6 <= _IDLE_MB,
        ),
        Row(
            "each running machine more",
            f"{each_mib:.2f} MiB",
            f"{busy * 1024 / 1e6:.0f} MB with {MACHINES}",
            f"≤ {_EACH_MIB:.0f} MiB",
            each_mib <= _EACH_MIB,
        ),
        Row(
            f"{MACHINES} running machines found again after SIGKILL, from exec",
            f"{found_s:.2f} s",
            ", ".join(f"{each_s:.2f} s" for each_s in times),
            f"< {_FOUND_S:.0f} s",
            found_s < _FOUND_S,
        ),
    ]
    return Section("The daemon", rows)


def _memory_kib(daemon: Daemon, kind: str) -> int:
    lines = Path(f"/proc/{daemon.process.pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{kind}:"))


def _found_again(house: House, say: Say) -> float:
    """Seconds from the start of a daemon until it has seen all machines run; kills it again."""
    asyncio.run(_forget_what_was_seen(house))
    say("a new daemon")
    started = time.perf_counter()
    with a_daemon(house) as daemon:
        for number in range(MACHINES):
            seen = daemon.ask("GET", f"/machines/machine-{number}/wait", until="running", wait_s=60)
            assert seen["state"] == "running", seen
        elapsed_s = time.perf_counter() - started
        daemon.kill()
    return elapsed_s


async def _forget_what_was_seen(house: House) -> None:
    async with open_store(f"sqlite:///{house.database}") as store, store.write() as tx:
        for machine in await tx.machines.scan():
            await tx.machines.update(
                machine.id, {}, state=State.STARTING, stage=Stage.NONE, observed_generation=0, status=MachineStatus()
            )
