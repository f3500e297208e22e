"""``python -m bench.soak_snapshots [--minutes N] [--seed N]``: histories of a machine and its snapshots, for as long.

What `tests/vm/test_histories.py` does in every run, with other histories each time. It ends at the first that goes
wrong, with its seed: that and the ones before it, on the same machine, come again with ``--seed``.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import tempfile
import time
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from tests.vm.histories import ACTIONS, Action, History, a_history

from bench.house import packages
from guesthouse.host.images.micro import build_micro

LENGTH = 40


def main(minutes: float, number: int) -> int:
    """Play until the time is over; 1 when something went wrong."""
    print(f"... --seed {number}", file=sys.stderr, flush=True)
    return asyncio.run(_soak(minutes, number))


async def _soak(minutes: float, number: int) -> int:
    end, played, actions = time.monotonic() + 60 * minutes, 0, 0
    with tempfile.TemporaryDirectory(prefix="guesthouse-bench-") as scratch:
        built = await build_micro(Path(scratch) / "micro", packages(), lambda phase, percent=None: None)
        async with a_history(built) as history:
            history.say = lambda line: print(f"... {line}", file=sys.stderr, flush=True)
            while time.monotonic() < end:
                drawn = await asyncio.to_thread(_drawn, number + played)
                try:
                    await history.play(drawn)
                except BaseException:
                    _tell(history, number, played, drawn)
                    raise
                played, actions = played + 1, actions + len(drawn)
    print(f"{played} histories, {actions} actions: the machine held what it should")
    return 0


def _drawn(number: int) -> list[Action]:
    """The history that belongs to a number."""
    last: list[list[Action]] = []

    @seed(number)
    @settings(
        max_examples=2, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(st.lists(ACTIONS, min_size=LENGTH, max_size=LENGTH))
    def draw(actions: list[Action]) -> None:
        last[:] = [actions]  # the first is the least that there can be, and the same for every number

    draw()
    return last[0]


def _tell(history: History, number: int, played: int, drawn: list[Action]) -> None:
    print(f"went wrong after {played} histories: --seed {number}; its actions were {drawn}", file=sys.stderr)
    log = history.house.home / "daemon.log"
    print(f"the daemon's last words:\n{log.read_text()[-3000:]}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.soak_snapshots", description="Snapshots in any order.")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (10)")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32), help="a random one")
    asked = parser.parse_args()
    sys.exit(main(asked.minutes, asked.seed))
