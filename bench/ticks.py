"""A guest at work, which ticks on its serial console; and when its ticks come, as the host sees them.

No clock of the guest counts the time in which it does not run: the ticks do.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

MEMORY_MIB, FILLED_MIB, DIRTIED_MIB_S, TICK_MS = 1024, 700, 60, 10
_LOOK_S = 0.001
_PATIENCE_S = 60.0
# A sixth of what is written in a second, six times a second: one byte of every page.
_WORK = f"""
import os, threading, time
filled = bytearray(b"x") * ({FILLED_MIB} << 20)
console = os.open("/dev/ttyS0", os.O_WRONLY | os.O_NOCTTY)
block, part = bytearray({DIRTIED_MIB_S} << 20), {DIRTIED_MIB_S // 6} << 20
def dirty():
    at, due = 0, time.monotonic()
    while True:
        block[at : at + part : 4096] = bytes([due % 1 > 0.5]) * (part // 4096)
        at = (at + part) % len(block)
        due = max(due + 1 / 6, time.monotonic() - 1)
        time.sleep(max(0.0, due - time.monotonic()))
threading.Thread(target=dirty, daemon=True).start()
while True:
    os.write(console, b".")
    time.sleep({TICK_MS / 1000})
"""
USER_DATA = f"""#cloud-config
write_files:
  - path: /srv/work.py
    content: |
{"".join(f"      {line}{chr(10)}" for line in _WORK.splitlines())}
runcmd:
  - python3 /srv/work.py </dev/null >/dev/null 2>&1 &
"""


@dataclass
class Ticks:
    """When a console's log grew, in seconds, as somebody saw who looked every millisecond."""

    log: Path
    at: list[float] = field(default_factory=list)

    def longest_s(self, begin: float, end: float) -> float:
        """The longest time between two ticks, of which one lies within that time or both lie around it."""
        pairs = zip(self.at, self.at[1:], strict=False)
        return max(after - before for before, after in pairs if after > begin and before < end)

    def first_after(self, begin: float) -> float:
        """When the first tick came after `begin`; waits for it. Raises `RuntimeError` when none comes."""
        patience = max(begin, time.perf_counter()) + _PATIENCE_S
        while not self.at or self.at[-1] <= begin:
            if time.perf_counter() > patience:
                last = self.log.read_bytes()[-200:] if self.log.exists() else "nothing"
                raise RuntimeError(f"the guest has not ticked for {_PATIENCE_S:.0f} s; {self.log} ends with {last!r}")
            time.sleep(_LOOK_S)
        return next(at for at in self.at if at > begin)


@contextmanager
def watching(log: Path) -> Iterator[Ticks]:
    """Look at a log as long as the block, from a guest's first tick on."""
    ticks, over = Ticks(log), threading.Event()

    def look() -> None:
        seen = _length(log)
        while not over.wait(_LOOK_S):
            if (length := _length(log)) != seen:
                seen = length
                if _last(log) == b".":
                    ticks.at.append(time.perf_counter())

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        ticks.first_after(time.perf_counter())
        yield ticks
    finally:
        over.set()
        watcher.join()


def _length(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


def _last(log: Path) -> bytes:
    """The last byte of a log; nothing of one that libvirt has just begun anew."""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
        return file.read(1)
