"""What a network costs a launch: machines with a NIC on one beside machines without any, in turns.

The daemon is on a host of the bench's own. Machines have nothing to boot: their guests would be what is measured.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.house import Daemon, a_furnished_house
from bench.networked import Samples, with_networks
from bench.table import Row, Section, median_ms, spread

ROUNDS = 21
_LIMIT_MORE_MS = 30.0
_SPEC: dict[str, Any] = {"firmware": "bios", "disks": [{"name": "root", "size_mib": 16}]}
_NICS = {
    "none": [],
    "private": [{"network": "lan"}],
    "default": [{"network": "default"}],
}
Say = Callable[[str], None]


def measure(say: Say) -> Section:
    """From the request to running vCPUs, in turns."""
    with a_furnished_house(say) as house, tempfile.TemporaryDirectory() as folder:
        say(f"{ROUNDS} launches of each, in turns")
        times = with_networks(house, Path(folder), _launches)
    none = times["none"]
    rows = [
        Row(
            f"accept → running with a NIC on {what}",
            spread(times[name]),
            f"{spread(none)} without one: {median_ms(times[name]) - median_ms(none):+.0f} ms",
            f"≤ {_LIMIT_MORE_MS:.0f} ms more",
            median_ms(times[name]) - median_ms(none) <= _LIMIT_MORE_MS,
        )
        for name, what in (("private", "a private network"), ("default", "the network `default` (nat)"))
    ]
    return Section("Launches with networks", rows)


def _launches(daemon: Daemon) -> Samples:
    daemon.do("POST", "/networks", {"name": "lan", "mode": "private"})
    daemon.do("POST", "/networks/lan/subnets", {"cidr": "10.7.0.0/24"})
    samples: Samples = {name: [] for name in _NICS}
    for number in range(ROUNDS + 1):
        for name, nics in _NICS.items():
            machine = f"{name}-{number}"
            started = time.perf_counter()
            daemon.launch(machine, **_SPEC, nics=nics)
            if number:  # the first round warms the caches of all
                samples[name].append(time.perf_counter() - started)
            daemon.do("DELETE", f"/machines/{machine}")
    return samples
