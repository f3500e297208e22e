"""A daemon to be killed: starts a machine, or has it as it is wanted, and dies at a point of that.

``python -m tests.host.daemon HOME BINARY POINT [all]`` with the machine (`Desired` as JSON) on standard input. It says
"there" before it dies; with the point ``after`` it stays until it is killed. With ``all`` it does the whole plan.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec
from tests.host.boxes import converge, silent

from guesthouse.decide.observed import Desired
from guesthouse.decide.steps import Start, WriteSeed
from guesthouse.host.local import open_host
from guesthouse.model.house import House


async def main(home: Path, binary: str, point: str, *, whole: bool) -> None:
    desired = msgspec.json.decode(sys.stdin.buffer.read(), type=Desired)

    def die_at(reached: str) -> None:
        if reached == point:
            print("there", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    async with open_host(House(home, home), binary=binary, reached=die_at) as host:
        if whole:
            await converge(host, desired)
        else:
            await host.machines.perform(WriteSeed(), desired, silent)
            await host.machines.perform(Start(), desired, silent)
        print("there", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], whole=sys.argv[4:] == ["all"]))
