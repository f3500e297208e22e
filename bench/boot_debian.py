"""The boot of the Debian image to "cloud-init is done": with Debian's own settings, and with our tunings.

Rules
-----
1. Three ways in turns, on bare QEMU with one vCPU and the same seed: before (no tuning, from the disk by BIOS), from
   the disk with our tunings, and with the kernel loaded by the host as `guest launch` does it.
2. Reachable and configured are the guest's own reports, the same programs in all images.
3. Beside the time stands the processor time of QEMU, which a busy box changes less.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests import debian as machines
from tests.bare_qemu import SecureShell

from bench.table import Row, Section
from guesthouse.host.images.built import BuiltImage
from guesthouse.host.images.debian import build_debian
from guesthouse.host.images.debian_tunings import STOCK, TUNINGS, Tuning

ROUNDS = 3
_PATIENCE_S = 1800


class Boot(NamedTuple):
    """Seconds from the start of QEMU: on the clock until the guest can be reached and is configured, and of work."""

    reachable_s: float
    configured_s: float
    processor_s: float


@dataclass(frozen=True)
class Way:
    """A row: how it is called, the image's tunings, and who loads the kernel."""

    name: str
    tunings: tuple[Tuning, ...]
    firmware: str


BEFORE = Way("before", STOCK, "bios")
WAYS = (BEFORE, Way("tuned, from the disk", TUNINGS, "bios"), Way("tuned, kernel by the host", TUNINGS, "direct"))


def measure(say: Callable[[str], None]) -> Section:
    """Boot each way in turns; medians beside those of before."""
    boots: dict[str, list[Boot]] = {way.name: [] for way in WAYS}
    with tempfile.TemporaryDirectory(prefix="guesthouse-bench-") as folder:
        images = {tunings: _image(Path(folder), tunings, say) for tunings in (STOCK, TUNINGS)}
        seed = _seed(Path(folder))
        for number in range(1, ROUNDS + 1):
            for way in WAYS:
                say(f"boot {number} of {ROUNDS}: {way.name}")
                boots[way.name].append(_boot(images[way.tunings], way.firmware, seed))
    rows = [row for way in WAYS[1:] for row in _rows(way.name, boots[way.name], boots[BEFORE.name])]
    return Section("Boot of the Debian image", rows, [f"Medians of {ROUNDS}; beside it: Debian's settings, by BIOS."])


def _image(folder: Path, tunings: tuple[Tuning, ...], say: Callable[[str], None]) -> BuiltImage:
    say("building the image " + ("with our tunings" if tunings else "with Debian's settings"))
    place = folder / ("tuned" if tunings else "stock")
    return asyncio.run(build_debian(place, machines.kept(), lambda phase, percent=None: None, tunings))


def _seed(folder: Path) -> dict[str, str]:
    """What `guest launch` gives a machine: a name, a user's key, and the host key that the host made."""
    shell = SecureShell(folder)
    private = "".join(f"    {line}\n" for line in shell.host_private.splitlines())
    return {
        "meta-data": "instance-id: i-1\nlocal-hostname: web\n",
        "user-data": (
            f"#cloud-config\nssh_authorized_keys: [{shell.public}]\n"
            f"ssh_keys:\n  ed25519_private: |\n{private}  ed25519_public: {shell.host_public}\n"
        ),
    }


def _boot(image: BuiltImage, firmware: str, seed: dict[str, str]) -> Boot:
    with tempfile.TemporaryDirectory(prefix="guesthouse-bench-") as folder:
        began = time.monotonic()
        with machines.running(image, seed, Path(folder), firmware) as machine:
            machine.report.end.settimeout(_PATIENCE_S)
            assert machine.report.receive()["stage"] == "reachable"
            reachable_s = time.monotonic() - began
            assert machine.report.receive()["ok"]
            return Boot(reachable_s, time.monotonic() - began, _processor_s(machine.process.pid))


def _processor_s(pid: int) -> float:
    """User and system time of a process and its threads; proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rows(name: str, boots: list[Boot], before: list[Boot]) -> list[Row]:
    rows = []
    for number, what in enumerate(("reachable", "configured", "configured, processor time")):
        here, beside = (median(boot[number] for boot in some) for some in (boots, before))
        rows.append(Row(f"{name}: {what}", f"{here:.1f} s", f"{beside:.1f} s: {here / beside:.2f}x"))
    return rows
