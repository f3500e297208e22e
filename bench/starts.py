"""From the accepted request to running vCPUs: beside bare QEMU with the same arguments, and beside libvirt.

Rules
-----
1. Single starts are taken in turns: ours, bare QEMU's, libvirt's, and again. A start ends when QEMU has said that
   the vCPUs run; forcing the machine off again is not counted.
2. From the accepted request on is compared with the command `virsh start`, as its user waits for it, and with a
   `virsh` that stays open; a whole `guest` with a whole `virsh`. Many machines are one `guest start` with their names
   for us, and a loop for libvirt, whose command takes one name.
3. In the row of starts, machines have nothing to boot: their guests would be what is measured on a small box.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from bench import bare
from bench.house import GUEST, Daemon, Say, a_daemon, a_furnished_house, environment
from bench.libvirt import Libvirt, a_libvirt, missing
from bench.table import Row, Section, median_ms, spread

ROUNDS = 15
IN_A_ROW = 30
_LIMIT_RATIO, _LIMIT_MORE_MS = 1.15, 20.0
_FASTER, _FASTER_IN_A_ROW = 4.0, 5.0
_DISK = {"name": "root", "size_mib": 16}


def measure(say: Say) -> Section:
    """Single starts in turns, then many in a row."""
    with ExitStack() as stack:
        house = stack.enter_context(a_furnished_house(say))
        daemon = stack.enter_context(a_daemon(house))
        absent = missing()
        libvirt = None if absent else stack.enter_context(a_libvirt())
        rows = _single(daemon, libvirt, say)
        if libvirt is not None:
            rows += _in_a_row(daemon, libvirt, say)
    notes = ["Medians, with quartiles in brackets. TCG or KVM as `guest host check` finds it, the same on all sides."]
    return Section("Starting machines", rows, [*notes, *([f"Without libvirt: {absent}."] if absent else [])])


def _single(daemon: Daemon, libvirt: Libvirt | None, say: Say) -> list[Row]:
    """One machine, started again and again, each time by somebody else."""
    with ExitStack() as stack:
        argv = _prepare(daemon, libvirt, "one", {})
        contestants: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
            "bare": (lambda: bare.start(argv), bare.end),
            "door": (lambda: daemon.do("POST", "/machines/one/start"), lambda _: _force_off(daemon, "one")),
            "guest": (
                lambda: _guest(daemon, "start", "one"),
                lambda _: _force_off(daemon, "one"),
            ),
        }
        if libvirt is not None:
            session = stack.enter_context(libvirt.session())
            contestants["session"] = (lambda: session("start one"), lambda _: session("destroy one"))
            contestants["virsh"] = (lambda: _virsh(libvirt, "start", "one"), lambda _: session("destroy one"))
        times: dict[str, list[float]] = {name: [] for name in contestants}
        for number in range(ROUNDS + 1):
            say(f"start {number} of {ROUNDS}")
            for name, (start, end) in contestants.items():
                elapsed_s, started = _timed(start)
                end(started)
                if number:  # the first round warms the caches of all
                    times[name].append(elapsed_s)
    return _single_rows(times)


def _single_rows(times: dict[str, list[float]]) -> list[Row]:
    door, direct = median_ms(times["door"]), median_ms(times["bare"])
    rows = [
        Row(
            "accept → running, beside bare QEMU",
            spread(times["door"]),
            f"{spread(times['bare'])}: {door / direct:.2f}x, {door - direct:+.0f} ms",
            f"≤ {_LIMIT_RATIO}x or ≤ {_LIMIT_MORE_MS:.0f} ms more",
            door <= max(_LIMIT_RATIO * direct, direct + _LIMIT_MORE_MS),
        )
    ]
    for what, here, there, target in (
        ("accept → running, beside `virsh start`", "door", "virsh", _FASTER),
        ("accept → running, beside `start` in an open virsh", "door", "session", 0.0),
        ("`guest start` beside `virsh start`, whole processes", "guest", "virsh", 0.0),
    ):
        if there in times:
            ratio = median_ms(times[there]) / median_ms(times[here])
            rows.append(_faster(what, spread(times[here]), spread(times[there]), ratio, target))
    return rows


def _in_a_row(daemon: Daemon, libvirt: Libvirt, say: Say) -> list[Row]:
    """Many machines, all running at the end: one after the other, and as their users would start them."""
    names = [f"row-{number}" for number in range(IN_A_ROW)]
    spec = {"firmware": "bios", "disks": [_DISK]}
    say(f"making {IN_A_ROW} machines, here and there")
    for name in names:
        _prepare(daemon, libvirt, name, spec)
    say(f"{IN_A_ROW} starts in a row, here and there")
    ours = [_timed(partial(daemon.do, "POST", f"/machines/{name}/start"))[0] for name in names]
    for name in names:
        _force_off(daemon, name)
    at_once, _ = _timed(partial(_guest, daemon, "start", *names))
    for name in names:
        _force_off(daemon, name)
    with libvirt.session() as session:
        theirs = [_timed(partial(session, f"start {name}"))[0] for name in names]
        for name in names:
            session(f"destroy {name}")
        loop = [_timed(partial(_virsh, libvirt, "start", name))[0] for name in names]
        for name in names:
            session(f"destroy {name}")
    return [
        _faster(what, f"{here:.1f} s", f"{sum(there):.1f} s", sum(there) / here, target)
        for what, here, there, target in (
            (
                f"one `guest start` of {IN_A_ROW} machines, beside `virsh start` of each",
                at_once,
                loop,
                _FASTER_IN_A_ROW,
            ),
            (f"{IN_A_ROW} starts one after the other, beside an open virsh", sum(ours), theirs, _FASTER_IN_A_ROW),
        )
    ]


def _faster(what: str, here: str, there: str, ratio: float, target: float) -> Row:
    """A row; without a target it tells and judges nothing."""
    if not target:
        return Row(what, here, f"{there}: {ratio:.1f}x", "-", None)
    return Row(what, here, f"{there}: {ratio:.1f}x", f"≥ {target:.0f}x faster", ratio >= target)


def _prepare(daemon: Daemon, libvirt: Libvirt | None, name: str, spec: dict[str, Any]) -> list[str]:
    """Make a machine, start it once to learn its arguments, force it off, and give libvirt the same."""
    machine = daemon.launch(name, **spec)
    argv = bare.arguments_of(machine["status"]["pid"])
    _force_off(daemon, name)
    if libvirt is not None:
        disks = [daemon.house.disks / f"{disk['id']}.{disk['format']}" for disk in machine["disks"]]
        seed = daemon.house.machines / machine["id"] / "seed.iso"
        libvirt.define(name, argv, disks, seed, memory_mib=machine["memory_mib"])
    return argv


def _force_off(daemon: Daemon, name: str) -> None:
    daemon.do("POST", f"/machines/{name}/stop", {"force": True})


def _guest(daemon: Daemon, *words: str) -> None:
    subprocess.run([str(GUEST), *words], env=environment(daemon.house), check=True, capture_output=True)


def _virsh(libvirt: Libvirt, *words: str) -> None:
    subprocess.run([*libvirt.virsh, *words], check=True, capture_output=True)


def _timed(action: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = action()
    return time.perf_counter() - started, result
