"""Snapshots of a machine at work, and going back: beside libvirt's, of the same guest on copies of the same disks.

Rules
-----
1. The guest has 1 GiB, most of it in use, dirties 60 MB of it a second, and ticks on its console (`bench/ticks.py`).
2. How long it stood still is the longest time between two ticks from the request to a while after its answer. Beside it
   stands the longest of as much time without a snapshot.
3. A snapshot and a revert are timed as their users wait for them: from the request to its answer. Going back is done
   when the first tick has come after that.
4. Nobody goes back before what follows a snapshot by itself is over: the memory of ours settles then.
5. Ours and libvirt's are taken in turns, and who has no turn stands still. Each snapshot is deleted, and its layers are
   merged, before the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import bare
from bench.house import Daemon, Say, a_daemon, a_furnished_house
from bench.libvirt import Libvirt, Session, a_libvirt, missing
from bench.table import Row, Section, limited, median_ms, spread
from bench.ticks import DIRTIED_MIB_S, FILLED_MIB, MEMORY_MIB, USER_DATA, Ticks, watching

ROUNDS = 5
_TOTAL_MS, _STALL_MS, _REVERT_MS, _FASTER = 1500.0, 60.0, 300.0, 10.0
_QUIET_S = 1.0
_PATIENCE_S = 60.0
_LOOK_S = 0.05


@dataclass
class Contestant:
    """A guest that ticks, and how it is made to stand still and go on."""

    ticks: Ticks
    pause: Callable[[], Any]
    resume: Callable[[], Any]


@dataclass
class Way:
    """One way to keep a guest and to go back: what it took, each time, in seconds."""

    of: Contestant
    take: Callable[[int], Any]
    revert: Callable[[int], Any] | None
    drop: Callable[[int], Any]
    settle: Callable[[], Any] = lambda: None
    total_s: list[float] = field(default_factory=list)
    stall_s: list[float] = field(default_factory=list)
    quiet_s: list[float] = field(default_factory=list)
    back_s: list[float] = field(default_factory=list)


def measure(say: Say) -> Section:
    """Our snapshots and libvirt's, in turns."""
    with ExitStack() as stack:
        house = stack.enter_context(a_furnished_house(say))
        daemon = stack.enter_context(a_daemon(house))
        absent = missing()
        machine = at_work(daemon, say)
        ways = {"ours": _ours(daemon, stack.enter_context(watching(house.machines / machine["id"] / "console.log")))}
        ways["ours"].of.pause()
        if not absent:
            libvirt = stack.enter_context(a_libvirt())
            session = stack.enter_context(libvirt.session())
            log = _guest(daemon, libvirt, session, machine, say)
            guest = Contestant(
                stack.enter_context(watching(log)), lambda: session("suspend web"), lambda: session("resume web")
            )
            guest.pause()
            ways |= {"internal": _internal(session, guest), "external": _external(session, guest, libvirt.folder)}
        for number in range(ROUNDS + 1):
            say(f"snapshot {number} of {ROUNDS}")
            for way in ways.values():
                _once(way, number)
        rows = _rows(ways)
    notes = [
        f"The micro image with {MEMORY_MIB} MiB, {FILLED_MIB} of them filled, {DIRTIED_MIB_S} written a second. "
        "Medians, with quartiles in brackets."
    ]
    return Section("Snapshots", rows, [*notes, *([f"Without libvirt: {absent}."] if absent else [])])


def _once(way: Way, number: int) -> None:
    way.of.resume()
    ticks = way.of.ticks
    begin = ticks.first_after(time.perf_counter() + _QUIET_S)
    ticks.first_after(begin + _QUIET_S)
    quiet_s = ticks.longest_s(begin, begin + _QUIET_S)
    begin = time.perf_counter()
    way.take(number)
    total_s = time.perf_counter() - begin
    ticks.first_after(time.perf_counter() + _QUIET_S / 2)
    stall_s = ticks.longest_s(begin, time.perf_counter())
    back_s = 0.0
    way.settle()
    if way.revert is not None:
        begin = time.perf_counter()
        way.revert(number)
        back_s = ticks.first_after(time.perf_counter()) - begin
    way.drop(number)
    way.of.pause()
    if number:  # the first round warms the caches of all
        way.total_s.append(total_s)
        way.stall_s.append(stall_s)
        way.quiet_s.append(quiet_s)
        way.back_s.append(back_s)


def at_work(daemon: Daemon, say: Say) -> Any:
    """A machine called web with the guest at work; its document."""
    say("launching the machine")
    disk = {"name": "data", "size_mib": 1024}
    daemon.launch("web", memory_mib=MEMORY_MIB, user_data=USER_DATA, disks=[disk])
    machine = daemon.ask("GET", "/machines/web/wait", until="configured", wait_s=_PATIENCE_S)
    if machine["stage"] != "configured":
        raise RuntimeError(f"the machine is not configured after {_PATIENCE_S:.0f} s but {machine['stage']}")
    return machine


def _guest(daemon: Daemon, libvirt: Libvirt, session: Session, machine: Any, say: Say) -> Path:
    """The same guest for libvirt, which boots; its console's log."""
    say("starting libvirt's guest")
    argv = bare.arguments_of(machine["status"]["pid"])
    disk = daemon.house.disks / f"{machine['spec']['disks'][0]['disk']}.qcow2"
    seed = daemon.house.machines / machine["id"] / "seed.iso"
    libvirt.define("web", argv, [disk], seed, memory_mib=MEMORY_MIB)
    session("start web")
    return libvirt.folder / "web.log"


def _ours(daemon: Daemon, ticks: Ticks) -> Way:
    snapshots = "/machines/web/snapshots"

    def drop(number: int) -> None:
        daemon.do("DELETE", f"{snapshots}/s{number}")
        patience = time.perf_counter() + _PATIENCE_S
        while len(left := list(daemon.house.disks.iterdir())) > 1:
            if time.perf_counter() > patience:
                raise RuntimeError(f"the layers of the disk are not merged after {_PATIENCE_S:.0f} s: {left}")
            time.sleep(0.01)

    def settle() -> None:
        patience = time.perf_counter() + _PATIENCE_S
        while under_way := daemon.ask("GET", "/operations")["items"]:
            if time.perf_counter() > patience:
                raise RuntimeError(f"the house is not at rest after {_PATIENCE_S:.0f} s: {under_way}")
            time.sleep(_LOOK_S)

    return Way(
        Contestant(
            ticks,
            lambda: daemon.do("POST", "/machines/web/pause"),
            lambda: daemon.do("POST", "/machines/web/resume"),
        ),
        lambda number: daemon.do("POST", snapshots, {"name": f"s{number}"}),
        lambda number: daemon.do("POST", f"{snapshots}/s{number}/revert", {}),
        drop,
        settle,
    )


def _internal(session: Session, guest: Contestant) -> Way:
    return Way(
        guest,
        lambda number: session(f"snapshot-create-as web i{number}"),
        lambda number: session(f"snapshot-revert web i{number}"),
        lambda number: session(f"snapshot-delete web i{number}"),
    )


def _external(session: Session, guest: Contestant, folder: Path) -> Way:
    """libvirt 9 cannot go back to one, nor delete it: its record is dropped, and the file of its memory."""

    def take(number: int) -> None:
        files = f"--memspec file={folder}/e{number}.mem,snapshot=external --diskspec vda,file={folder}/e{number}.qcow2"
        session(f"snapshot-create-as web e{number} {files} --diskspec vdb,snapshot=no")

    def drop(number: int) -> None:
        session("blockcommit web vda --active --pivot --wait")
        session(f"snapshot-delete web e{number} --metadata")
        (folder / f"e{number}.mem").unlink()
        (folder / f"e{number}.qcow2").unlink()

    return Way(guest, take, None, drop)


def _rows(ways: dict[str, Way]) -> list[Row]:
    ours = ways["ours"]
    rows = [
        limited("snapshot, from the request to its answer", ours.total_s, _TOTAL_MS, _beside(ways, "total_s")),
        limited("the guest stands still for it", ours.stall_s, _STALL_MS, _beside(ways, "stall_s")),
        Row("the same without a snapshot", spread(ours.quiet_s), _beside(ways, "quiet_s")),
        limited("revert, to the first tick", ours.back_s, _REVERT_MS),
    ]
    if "internal" in ways:
        theirs = ways["internal"].back_s
        ratio = median_ms(theirs) / median_ms(ours.back_s)
        beside = f"{spread(theirs)}: {ratio:.1f}x"
        what = "revert, beside `snapshot-revert`"
        rows.append(Row(what, spread(ours.back_s), beside, f"≥ {_FASTER:.0f}x faster", ratio >= _FASTER))
    return rows


def _beside(ways: dict[str, Way], name: str) -> str:
    return ", ".join(f"libvirt {kind} {spread(getattr(ways[kind], name))}" for kind in ways if kind != "ours")
