"""A hundred thousand requests to the EC2 door that no client would send; the tests ask 1,500 of them."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.doors.ec2.conftest import a_cloud
from tests.doors.ec2.fuzzing import play

from bench.table import Row, Section

REQUESTS, SEED = 100_000, 5
_SHOWN = 3


def measure(say: Callable[[str], None]) -> Section:
    """How often the door had no answer of its own."""
    say(f"{REQUESTS:,} requests")
    begun = time.perf_counter()
    codes, wrong = asyncio.run(_play(REQUESTS))
    took_s = time.perf_counter() - begun
    answered = codes[""]
    rows = [
        Row(f"{REQUESTS:,} spoilt requests: internal errors", str(len(wrong)), "", "0", not wrong),
        Row("of them answered", f"{answered:,}", f"refused by {len(codes) - 1} codes"),
        Row("requests a second", f"{REQUESTS / took_s:.0f}"),
    ]
    return Section("Spoilt requests to the EC2 door", rows, [f"`{each}`" for each in wrong[:_SHOWN]])


async def _play(count: int) -> tuple[Counter[str], list[str]]:
    with tempfile.TemporaryDirectory() as folder:
        async with a_cloud(Path(folder)) as cloud:
            return await play(cloud, SEED, count)
