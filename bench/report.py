"""docs/performance.md: the tables of the last run between two marks; the prose around them stays as it is.

A run of some benches replaces their sections and leaves the others, each with its own date and machine.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from bench.table import Section, markdown

DOCUMENT = Path(__file__).parents[1] / "docs" / "performance.md"
_BEGIN, _END = "<!-- bench: {} -->", "<!-- /bench: {} -->"


def write(name: str, section: Section, document: Path = DOCUMENT) -> None:
    """Put a bench's section in its place, or at the end where it has none yet."""
    begin, end = _BEGIN.format(name), _END.format(name)
    text = document.read_text() if document.exists() else "# Performance\n"
    block = f"{begin}\n{markdown(section)}\n\n{_stamp()}\n{end}"
    place = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    found = place.search(text)
    text = text[: found.start()] + block + text[found.end() :] if found else f"{text.rstrip()}\n\n{block}\n"
    document.write_text(text)


def _stamp() -> str:
    """When and where: `*2025-03-01, 2 processors (AMD EPYC), ...*`."""
    load = os.getloadavg()[0]
    words = (
        datetime.now(UTC).strftime("%Y-%m-%d"),
        f"{os.cpu_count()} processors ({_processor()})",
        f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') >> 30} GiB",
        f"Linux {platform.release()}",
        f"Python {platform.python_version()}",
        _version("qemu-system-x86_64", "--version"),
        f"load {load:.1f}",
    )
    return f"*{', '.join(words)}*"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.partition(":")[2] for line in lines if line.startswith("model name")), platform.machine())
    return " ".join(name.split())


def _version(*argv: str) -> str:
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    return said.split("(")[0].replace("emulator version ", "").strip()
