"""A daemon to be killed: has a network as it is wanted, or removes it, and dies at a point of that.

``python -m tests.host.networkdaemon HOME apply|remove POINT`` with the network (`NetworkWanted` as JSON) on standard
input. It says "there" before it dies.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec

from guesthouse.host.networks.local import open_networks
from guesthouse.model.house import House
from guesthouse.model.network import NetworkWanted


async def main(home: Path, what: str, point: str) -> None:
    wanted = msgspec.json.decode(sys.stdin.buffer.read(), type=NetworkWanted)

    def die_at(reached: str) -> None:
        if reached == point:
            print("there", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    async with open_networks(House(home, home), reached=die_at) as networks:
        await (networks.apply(wanted) if what == "apply" else networks.remove(wanted.network))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
