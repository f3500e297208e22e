"""Snapshots of a machine at work, and going back: beside libvirt's, of the same guest on copies of the same disks.

Rules
-----
1. The guest has 1 GiB, dirties about 60 MB of memory a second, and writes a tick to its serial console every 10 ms.
2. How long it stood still is the longest time between two ticks, as they arrive on the host while a snapshot is taken:
   no clock of the guest counts the time in which it does not run.
3. A snapshot and a revert are timed as their users wait for them: from the request to its answer. Going back is done
   when the first tick has come after that.
4. Ours and libvirt's are taken in turns; each snapshot is deleted before the next.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import bare
from bench.house import Daemon, Say, a_daemon, a_furnished_house
from bench.libvirt import Libvirt, Session, a_libvirt, missing
from bench.table import Row, Section, median_ms, spread

ROUNDS = 5
_MEMORY_MIB = 1024
_TOTAL_MS, _STALL_MS, _REVERT_MS, _FASTER = 1500.0, 60.0, 300.0, 10.0
_LOOK_S = 0.001
_WORK = """
import os, time
if os.fork() == 0:
    block, begun = bytearray(60 << 20), time.monotonic()
    second = 0
    while True:
        for at in range(0, len(block), 4096):
            block[at] = second & 255
        second += 1
        time.sleep(max(0.0, begun + second - time.monotonic()))
console = os.open("/dev/ttyS0", os.O_WRONLY)
while True:
    os.write(console, b".")
    time.sleep(0.01)
"""
_USER_DATA = f"""#cloud-config
write_files:
  - path: /srv/work.py
    content: |
{"".join(f"      {line}{chr(10)}" for line in _WORK.splitlines())}
runcmd:
  - python3 /srv/work.py </dev/null >/dev/null 2>&1 &
"""


@dataclass
class Ticks:
    """When the console's log grew, in seconds, as somebody saw who looked every millisecond."""

    log: Path
    at: list[float] = field(default_factory=list)

    def longest_s(self, begin: float, end: float) -> float:
        """The longest time between two ticks of which one came within that time."""
        pairs = zip(self.at, self.at[1:], strict=False)
        return max(after - before for before, after in pairs if after > begin and before < end)

    def first_after(self, begin: float) -> float:
        """When the first tick came after `begin`; waits for it."""
        while not self.at or self.at[-1] <= begin:
            time.sleep(_LOOK_S)
        return next(at for at in self.at if at > begin)


@contextmanager
def watching(log: Path) -> Iterator[Ticks]:
    """Look at a log as long as the block."""
    ticks, over = Ticks(log), threading.Event()

    def look() -> None:
        size = log.stat().st_size
        while not over.wait(_LOOK_S):
            if (now := log.stat().st_size) != size:
                ticks.at.append(time.perf_counter())
                size = now

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield ticks
    finally:
        over.set()
        watcher.join()


@dataclass
class Way:
    """One way to keep a guest and to go back: what it took, each time."""

    take: Callable[[int], Any]
    revert: Callable[[int], Any] | None
    drop: Callable[[int], Any]
    total_s: list[float] = field(default_factory=list)
    stall_s: list[float] = field(default_factory=list)
    back_s: list[float] = field(default_factory=list)


def measure(say: Say) -> Section:
    """Our snapshots and libvirt's, in turns."""
    with ExitStack() as stack:
        house = stack.enter_context(a_furnished_house(say))
        daemon = stack.enter_context(a_daemon(house))
        absent = missing()
        libvirt = None if absent else stack.enter_context(a_libvirt())
        machine = _machine(daemon, say)
        ours = stack.enter_context(watching(house.machines / machine["id"] / "console.log"))
        ways = {"ours": (_ours(daemon), ours)}
        if libvirt is not None:
            session = stack.enter_context(libvirt.session())
            theirs = stack.enter_context(watching(_guest(daemon, libvirt, session, machine, say)))
            ways |= {
                "internal": (_internal(session), theirs),
                "external": (_external(session, libvirt.folder), theirs),
            }
        for number in range(ROUNDS + 1):
            say(f"snapshot {number} of {ROUNDS}")
            for way, ticks in ways.values():
                _once(way, ticks, number)
        rows = _rows({name: way for name, (way, _) in ways.items()})
    notes = [f"The micro image with {_MEMORY_MIB} MiB. Medians, with quartiles in brackets."]
    return Section("Snapshots", rows, [*notes, *([f"Without libvirt: {absent}."] if absent else [])])


def _once(way: Way, ticks: Ticks, number: int) -> None:
    ticks.first_after(time.perf_counter())
    begin = time.perf_counter()
    way.take(number)
    total_s = time.perf_counter() - begin
    ticks.first_after(time.perf_counter() + 0.3)
    stall_s = ticks.longest_s(begin, time.perf_counter())
    back_s = 0.0
    if way.revert is not None:
        begin = time.perf_counter()
        way.revert(number)
        back_s = ticks.first_after(time.perf_counter()) - begin
    way.drop(number)
    if number:  # the first round warms the caches of all
        way.total_s.append(total_s)
        way.stall_s.append(stall_s)
        way.back_s.append(back_s)


def _machine(daemon: Daemon, say: Say) -> Any:
    say("launching the machine")
    disk = {"name": "data", "size_mib": 1024}
    daemon.launch("web", memory_mib=_MEMORY_MIB, user_data=_USER_DATA, disks=[disk])
    return daemon.ask("GET", "/machines/web/wait", until="configured", wait_s=60)


def _guest(daemon: Daemon, libvirt: Libvirt, session: Session, machine: Any, say: Say) -> Path:
    """The same guest for libvirt; its console's log, when it ticks."""
    say("starting libvirt's guest")
    argv = bare.arguments_of(machine["status"]["pid"])
    disk = daemon.house.disks / f"{machine['spec']['disks'][0]['disk']}.qcow2"
    seed = daemon.house.machines / machine["id"] / "seed.iso"
    libvirt.define("web", argv, [disk], seed, memory_mib=_MEMORY_MIB)
    session("start web")
    log = libvirt.folder / "web.log"
    while not log.exists() or not log.read_bytes().endswith(b"." * 100):
        time.sleep(0.1)
    return log


def _ours(daemon: Daemon) -> Way:
    snapshots = "/machines/web/snapshots"
    return Way(
        lambda number: daemon.do("POST", snapshots, {"name": f"s{number}"}),
        lambda number: daemon.do("POST", f"{snapshots}/s{number}/revert", {}),
        lambda number: daemon.do("DELETE", f"{snapshots}/s{number}"),
    )


def _internal(session: Session) -> Way:
    return Way(
        lambda number: session(f"snapshot-create-as web i{number}"),
        lambda number: session(f"snapshot-revert web i{number}"),
        lambda number: session(f"snapshot-delete web i{number}"),
    )


def _external(session: Session, folder: Path) -> Way:
    """libvirt 9 cannot go back to one, nor delete it: its record is dropped, and the file of its memory."""

    def take(number: int) -> None:
        files = f"--memspec file={folder}/e{number}.mem,snapshot=external --diskspec vda,file={folder}/e{number}.qcow2"
        session(f"snapshot-create-as web e{number} {files} --diskspec vdb,snapshot=no")

    def drop(number: int) -> None:
        session("blockcommit web vda --active --pivot --wait")
        session(f"snapshot-delete web e{number} --metadata")
        (folder / f"e{number}.mem").unlink()

    return Way(take, None, drop)


def _rows(ways: dict[str, Way]) -> list[Row]:
    ours = ways["ours"]
    rows = [
        _limited("snapshot, from the request to its answer", ours.total_s, _TOTAL_MS, _beside(ways, "total_s")),
        _limited("the guest stands still for it", ours.stall_s, _STALL_MS, _beside(ways, "stall_s")),
        _limited("revert, to the first tick", ours.back_s, _REVERT_MS, ""),
    ]
    if "internal" in ways:
        theirs = ways["internal"].back_s
        ratio = median_ms(theirs) / median_ms(ours.back_s)
        beside = f"{spread(theirs)}: {ratio:.1f}x"
        what = "revert, beside `snapshot-revert`"
        rows.append(Row(what, spread(ours.back_s), beside, f"≥ {_FASTER:.0f}x faster", ratio >= _FASTER))
    return rows


def _limited(what: str, samples_s: list[float], limit_ms: float, beside: str) -> Row:
    return Row(what, spread(samples_s), beside, f"≤ {limit_ms:.0f} ms", median_ms(samples_s) <= limit_ms)


def _beside(ways: dict[str, Way], name: str) -> str:
    return ", ".join(f"libvirt {kind} {spread(getattr(ways[kind], name))}" for kind in ways if kind != "ours")
