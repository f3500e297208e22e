"""The `guest` command as a whole process: what someone waits for who types it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Sequence
from random import Random

from tests.host.boxes import a_house

from bench.house import GUEST, Say, a_daemon, environment
from bench.table import Row, Section, median_ms, spread
from guesthouse.model.house import House
from guesthouse.model.machine import Machine, MachineSpec, Power, State
from guesthouse.model.names import make_id
from guesthouse.store import open_store

ROUNDS = 25
MACHINES = 1000
_TARGETS_MS = {"--help": 120.0, "list": 150.0}


def measure(say: Say) -> Section:
    """`guest --help`, and `guest list` of a full house, in turns with a Python that does nothing."""
    with a_house() as house:
        with a_daemon(house) as daemon:
            project = daemon.ask("GET", "/projects")["items"][0]["id"]
        say(f"writing {MACHINES} machines into a store")
        asyncio.run(_fill(house, project))
        with a_daemon(house):
            shown = subprocess.run([str(GUEST), "list", "-q"], env=environment(house), capture_output=True, check=True)
            assert len(shown.stdout.splitlines()) == MACHINES, shown.stdout
            times = _in_turns(house, say)
    python = times.pop("python")
    rows = [
        Row(
            {"list": f"`guest list` with {MACHINES:,} machines"}.get(word, f"`guest {word}`"),
            spread(samples),
            f"{spread(python)}: `python -I -c pass`",
            f"≤ {_TARGETS_MS[word]:.0f} ms",
            median_ms(samples) <= _TARGETS_MS[word],
        )
        for word, samples in times.items()
    ]
    return Section("The command line", rows)


async def _fill(house: House, project: str) -> None:
    """Machines that are stopped, and want to be."""
    random = Random(1)
    async with open_store(f"sqlite:///{house.database}") as store, store.write() as tx:
        for number in range(MACHINES):
            name = f"machine-{number}"
            await tx.machines.insert(
                Machine(
                    id=make_id(random),
                    project=project,
                    name=name,
                    host="local",
                    power=Power.STOPPED,
                    state=State.STOPPED,
                    observed_generation=1,
                    spec=MachineSpec(name=name, user_data="#cloud-config\nhostname: measured\n"),
                )
            )


def _in_turns(house: House, say: Say) -> dict[str, list[float]]:
    commands: dict[str, Sequence[str]] = {
        "python": (sys.executable, "-I", "-c", "pass"),
        **{word: (str(GUEST), word) for word in _TARGETS_MS},
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    say(f"{ROUNDS} rounds of {', '.join(commands)}")
    for number in range(ROUNDS + 1):
        for name, argv in commands.items():
            started = time.perf_counter()
            subprocess.run(argv, env=environment(house), stdout=subprocess.DEVNULL, check=True)
            if number:
                times[name].append(time.perf_counter() - started)
    return times
