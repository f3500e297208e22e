"""``python -m bench [NAME...]``: run all benches, or those named; print their tables and keep them in the docs."""

from __future__ import annotations

import importlib
import pkgutil
import signal
import sys
from collections.abc import Callable

import bench
from bench import report
from bench.table import Section, plain

Measure = Callable[[Callable[[str], None]], Section]


def benches() -> dict[str, Measure]:
    """All benches by name, in alphabetical order."""
    names = sorted(info.name for info in pkgutil.iter_modules(bench.__path__) if info.name != "__main__")
    modules = {name: importlib.import_module(f"bench.{name}") for name in names}
    return {name: module.measure for name, module in modules.items() if hasattr(module, "measure")}


def say(line: str) -> None:
    """What is going on, on standard error: the tables alone are the output."""
    print(f"... {line}", file=sys.stderr, flush=True)


def main(names: list[str]) -> int:
    known = benches()
    if unknown := [name for name in names if name not in known]:
        print(f"error: there is no bench {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    # Ended from outside, too, a bench leaves no process and no folder behind.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    for name in names or known:
        section = known[name](say)
        print(f"\n{plain(section)}", flush=True)
        report.write(name, section)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
