"""A real daemon that a test can kill at a checkpoint; it is born in the `nursery`.

It makes networks only where it is told to: its host is then a network namespace of the test's own.

Every checkpoint that it passes is a line of ``HOME/checkpoints``; at the one that ``HOME/fatal`` names it dies, or at
the so many-th from now where that has a number.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from pathlib import Path

from guesthouse.app import Options, run_until_told
from guesthouse.model.house import House


def main(place: str, networks: str = "") -> None:
    """The daemon of the house at a place; with a word for `networks` it makes such."""
    home = Path(place)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)
    fatal = home / "fatal"

    async def checkpoint(kind: str, step: str, edge: str) -> None:
        line = f"{kind} {step} {edge}\n"
        with (home / "checkpoints").open("a") as trace:
            trace.write(line)
        if fatal.exists():
            named = fatal.read_text()
            if named.isdigit() and int(named) > 1:
                fatal.write_text(str(int(named) - 1))
            elif named in (line, "1"):
                fatal.unlink()
                os.kill(os.getpid(), signal.SIGKILL)

    asyncio.run(run_until_told(House(home, home), Options(no_networks=not networks), checkpoint))
