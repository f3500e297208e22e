"""A daemon with networks, on a host of the bench's own: nothing of either stays."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.host.children import bind
from tests.host.nets import on_a_host, outside

from bench.house import Daemon, a_daemon
from guesthouse.host.networks.local import clean
from guesthouse.model.house import House

Samples = dict[str, list[float]]


def with_networks(house: House, folder: Path, work: Callable[[Daemon], Samples]) -> Samples:
    """What the work measures with a daemon of the house, in a child process whose network is the host's."""
    told = folder / "samples.json"

    async def tell() -> None:
        async with outside():
            try:
                with a_daemon(house, "--listen", "127.0.0.1:0") as daemon:
                    told.write_text(json.dumps(work(daemon)))
            finally:
                await clean(house)  # name servers outlast their daemon

    on_a_host(folder, tell, lambda: bind(house.home, house.home))
    samples: Samples = json.loads(told.read_text())
    return samples
