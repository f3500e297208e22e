"""What a read costs by the number of layers that a disk lies in: one file, and up to three more on it.

Rules
-----
1. `qemu-img bench` reads the top of each chain, one request at a time, the depths in turns. It opens the layers for
   each run: what they say of themselves is cold then, and soon warm.
2. The lowest layer is full; each one on it has one cluster in eight, others in each.
3. Warm is many reads with all files in the page cache. Cold is the first reads, with none of them there.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import tempfile
from pathlib import Path
from random import Random
from typing import NamedTuple

from bench.house import Say
from bench.table import Row, Section

ROUNDS = 7
DEEPEST = 4
_SIZE_MIB, _CLUSTER_KIB, _ONE_IN = 1024, 64, 8
_TOOK = re.compile(r"Run completed in ([0-9.]+) seconds")


class Pattern(NamedTuple):
    """How is read: so many requests of a size, each that far from the one before."""

    name: str
    count: int
    size: int
    step: int
    cold: bool


# Steps that come to every part of the disk before they come to the same place again.
_FAR = (37 << 20) + (68 << 10)
PATTERNS = (
    Pattern("one after the other, 64 KiB, warm", 16_000, 64 << 10, 64 << 10, cold=False),
    Pattern("far apart, 4 KiB, warm", 50_000, 4096, _FAR, cold=False),
    Pattern("far apart, 4 KiB, cold", 500, 4096, _FAR, cold=True),
)


def measure(say: Say) -> Section:
    """All patterns at all depths."""
    with tempfile.TemporaryDirectory(prefix="guesthouse-bench-") as folder:
        say("writing the layers")
        chain = _chain(Path(folder))
        took: dict[tuple[Pattern, int], list[float]] = {}
        for number in range(ROUNDS + 1):
            say(f"round {number} of {ROUNDS}")
            for pattern in PATTERNS:
                for depth in range(1, DEEPEST + 1):
                    seconds = _read(chain[:depth], pattern)
                    if number:
                        took.setdefault((pattern, depth), []).append(seconds)
    rows = [_row(pattern, depth, took) for pattern in PATTERNS for depth in range(2, DEEPEST + 1)]
    return Section("Reads by the depth of layers", rows, [f"Medians of {ROUNDS}; a disk of {_SIZE_MIB} MiB."])


def _chain(folder: Path) -> list[Path]:
    """The layers, from the lowest."""
    random, files = Random(1), [folder / f"{number}.qcow2" for number in range(DEEPEST)]
    clusters = _SIZE_MIB * 1024 // _CLUSTER_KIB
    for number, file in enumerate(files):
        under = ("-b", files[number - 1].name, "-F", "qcow2") if number else ()
        subprocess.run(
            ("qemu-img", "create", "-q", "-f", "qcow2", *under, str(file), f"{_SIZE_MIB}M"), check=True, cwd=folder
        )
        writes = ["write -q -P 1 0 1G"]
        if number:
            some = sorted(random.sample(range(clusters), clusters // _ONE_IN))
            writes = [f"write -q -P {number + 1} {at * _CLUSTER_KIB}k {_CLUSTER_KIB}k" for at in some]
        lines = "".join(f"{line}\n" for line in (*writes, "flush", "quit"))
        subprocess.run(
            ("qemu-io", "-f", "qcow2", str(file)), input=lines, text=True, check=True, stdout=subprocess.DEVNULL
        )
    return files


def _read(chain: list[Path], pattern: Pattern) -> float:
    """Seconds that one run took by its own account: without opening the layers."""
    for file in chain:
        with file.open("rb") as opened:
            if pattern.cold:
                os.fdatasync(opened.fileno())
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            else:
                while opened.read(1 << 20):
                    pass
    done = subprocess.run(
        ("qemu-img", "bench", "-f", "qcow2", "-d", "1", "-c", str(pattern.count), "-s", str(pattern.size),
         "-S", str(pattern.step), str(chain[-1])),
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    found = _TOOK.search(done.stdout)
    if found is None:
        raise RuntimeError(f"qemu-img bench does not say how long it took: {done.stdout}")
    return float(found[1])


def _row(pattern: Pattern, depth: int, took: dict[tuple[Pattern, int], list[float]]) -> Row:
    here, one = (statistics.median(took[pattern, each]) / pattern.count * 1e6 for each in (depth, 1))
    return Row(f"{pattern.name}: {depth} layers", f"{here:.1f} µs a read", f"{one:.1f} µs with one: {here / one:.2f}x")
