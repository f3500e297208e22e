"""Forks of a machine at work: how long it stands still for them, and when they are there. Nobody else has them.

Rules
-----
1. The guest is that of `bench.snapshots`: 1 GiB, most of it in use, at work, with a tick on its console.
2. The machine stands still for the longest time between two of its ticks. A fork runs with its first tick; it has a
   name of its own when its operation has ended.
3. One fork a round; it is deleted before the next.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from bench.house import Daemon, Say, a_daemon, a_furnished_house
from bench.snapshots import at_work
from bench.table import Row, Section, limited, spread
from bench.ticks import DIRTIED_MIB_S, FILLED_MIB, MEMORY_MIB, Ticks, watching

ROUNDS = 5
_STALL_MS, _RUNNING_MS = 60.0, 500.0
_QUIET_S = 1.0
_PATIENCE_S = 60.0
_LOOK_S = 0.001


@dataclass
class Took:
    """What the rounds took, in seconds."""

    stall_s: list[float] = field(default_factory=list)
    answer_s: list[float] = field(default_factory=list)
    running_s: list[float] = field(default_factory=list)
    named_s: list[float] = field(default_factory=list)


def measure(say: Say) -> Section:
    """Forks of one machine, one after the other."""
    took = Took()
    with a_furnished_house(say) as house, a_daemon(house) as daemon:
        machine = at_work(daemon, say)
        with watching(house.machines / machine["id"] / "console.log") as ticks:
            for number in range(ROUNDS + 1):
                say(f"fork {number} of {ROUNDS}")
                _once(daemon, ticks, number, took if number else Took())  # the first round warms the caches
    rows = [
        limited("the machine stands still", took.stall_s, _STALL_MS),
        Row("request to answer: kept and shared", spread(took.answer_s)),
        limited("answer to the fork's first tick", took.running_s, _RUNNING_MS),
        Row("request to a name of its own, and its networks", spread(took.named_s)),
    ]
    note = (
        f"The micro image with {MEMORY_MIB} MiB, {FILLED_MIB} of them filled, {DIRTIED_MIB_S} written a second. "
        "Medians, with quartiles in brackets."
    )
    return Section("Forks of a machine", rows, [note])


def _once(daemon: Daemon, ticks: Ticks, number: int, took: Took) -> None:
    ticks.first_after(time.perf_counter() + _QUIET_S)
    begin = time.perf_counter()
    fork = daemon.do("POST", "/machines/web/forks", {"name": f"f{number}"})["result"]["machines"][0]
    answered = time.perf_counter()
    running = _first_tick(daemon.house.machines / fork["machine"] / "console.log")
    daemon.ended(fork["operation"])
    took.named_s.append(time.perf_counter() - begin)
    took.answer_s.append(answered - begin)
    took.running_s.append(running - answered)
    took.stall_s.append(ticks.longest_s(begin, answered + _QUIET_S / 2))
    daemon.do("DELETE", f"/machines/f{number}")


def _first_tick(log: Path) -> float:
    """When a fork first wrote to its console."""
    patience = time.perf_counter() + _PATIENCE_S
    while not log.exists() or not log.stat().st_size:
        if time.perf_counter() > patience:
            raise RuntimeError(f"the fork has not ticked for {_PATIENCE_S:.0f} s: {log}")
        time.sleep(_LOOK_S)
    return time.perf_counter()
