"""Forks of a template: beside a bare fork of the same files, and beside boots of the same image, ours and libvirt's.

Rules
-----
1. Single launches are taken in turns: a fork of ours, a bare fork, a boot of ours, libvirt's start of the same guest.
   The first round warms the caches of all.
2. Running is when QEMU has said that the vCPUs run; a login is when a program that ran by SSH has answered; configured
   is the guest's own report, and with libvirt the line that its last command writes to its console.
3. Private memory is what a guest's QEMU has that is no file's (proc(5), smaps_rollup, `Anonymous`) when it has just
   been configured, before anybody logs in: its own, and what it copied when it wrote. The memory of the template is a
   file.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from bench import bare
from bench.house import GUEST, Daemon, Say, a_daemon, a_furnished_house, environment
from bench.libvirt import Libvirt, a_libvirt, missing
from bench.table import Row, Section, median_ms, spread
from guesthouse.host.frozen.folder import TemplateFolder

ROUNDS = 5
AT_ONCE = 20
_MEMORY_MIB = 128
_MARK = b"all commands have run"
_USER_DATA = f"#cloud-config\nruncmd:\n  - echo {_MARK.decode()} >/dev/ttyS0\n"
_PATIENCE_S, _LOOK_S = 60.0, 0.001
_RATIO, _RUNNING_MS, _LOGIN, _CONFIGURED, _MEMORY = 1.5, 200.0, 10.0, 4.0, 3.0


class Way(NamedTuple):
    """How long one launch took to come so far, in seconds, and what its QEMU then had for itself."""

    running_s: float
    login_s: float
    configured_s: float
    private_mib: float


class Peer(NamedTuple):
    """The same of libvirt's guest."""

    configured_s: float
    private_mib: float


def measure(say: Say) -> Section:
    """Single launches in turns, then many forks at once."""
    absent = missing()
    with ExitStack() as stack:
        house = stack.enter_context(a_furnished_house(say))
        daemon = stack.enter_context(a_daemon(house))
        say("making the template")
        daemon.do("POST", "/templates", {"image": "micro", "memory_mib": _MEMORY_MIB})
        libvirt = None if absent else stack.enter_context(a_libvirt())
        forks, boots, direct, peers = _in_turns(daemon, libvirt, say)
        say(f"{AT_ONCE} forks at once")
        at_once_s = _many(daemon)
    running, login = [way.running_s for way in forks], [way.login_s for way in forks]
    configured = [way.configured_s for way in forks]
    bare_ms = median_ms(direct)
    rows = [
        Row(
            "launch → running, beside a bare fork",
            spread(running),
            f"{spread(direct)}: {median_ms(running) / bare_ms:.2f}x",
            f"≤ {_RATIO}x and ≤ {_RUNNING_MS:.0f} ms",
            median_ms(running) <= min(_RATIO * bare_ms, _RUNNING_MS),
        ),
        _faster("launch → SSH login, beside a boot", login, [way.login_s for way in boots], _LOGIN),
        _faster("launch → configured, beside a boot", configured, [way.configured_s for way in boots], _CONFIGURED),
        _smaller("private memory of a fork", forks, "one that booted", boots),
        Row(
            f"{AT_ONCE} forks at once, until all are configured",
            f"{at_once_s:.1f} s",
            f"{at_once_s / AT_ONCE:.2f} s each",
        ),
    ]
    if peers:
        theirs = [peer.configured_s for peer in peers]
        rows.insert(3, _faster("launch → configured, beside `virsh start`", configured, theirs, _CONFIGURED))
        rows.insert(5, _smaller("the same", forks, "libvirt's guest", peers))
    notes = ["The micro image with 128 MiB. Medians, with quartiles in brackets."]
    return Section("Forks of a template", rows, [*notes, *([f"Without libvirt: {absent}."] if absent else [])])


def _in_turns(
    daemon: Daemon, libvirt: Libvirt | None, say: Say
) -> tuple[list[Way], list[Way], list[float], list[Peer]]:
    forks, boots, direct, peers = [], [], [], []
    for number in range(ROUNDS + 1):
        say(f"launch {number} of {ROUNDS}")
        fork, argv = _launch(daemon, f"fork-{number}", cold=False)
        daemon.do("POST", f"/machines/fork-{number}/stop", {"force": True})
        started = time.perf_counter()
        process = bare.fork(argv, _template(daemon))
        bare_s = time.perf_counter() - started
        bare.end(process)
        boot, _ = _launch(daemon, f"boot-{number}", cold=True)
        peer = _peer(daemon, libvirt, f"boot-{number}") if libvirt else None
        for name in (f"fork-{number}", f"boot-{number}"):
            daemon.do("DELETE", f"/machines/{name}")
        if number:
            forks.append(fork)
            direct.append(bare_s)
            boots.append(boot)
            peers += [peer] if peer else []
    return forks, boots, direct, peers


def _launch(daemon: Daemon, name: str, *, cold: bool) -> tuple[Way, list[str]]:
    """Launch a machine and log in; its times, and the arguments of its QEMU."""
    spec = {"name": name, "image": "micro", "memory_mib": _MEMORY_MIB, "user_data": _USER_DATA}
    started = time.perf_counter()
    operation = daemon.do("POST", "/machines", {"spec": spec, "cold": cold})
    running_s = time.perf_counter() - started
    if ("template" in operation["result"]) is cold:
        raise RuntimeError(f"{name} was {'forked' if cold else 'booted'}: {operation}")
    machine = daemon.ask("GET", f"/machines/{name}/wait", until="configured", wait_s=60)
    configured_s, pid = time.perf_counter() - started, machine["status"]["pid"]
    mib = private_mib(pid)
    subprocess.run(
        [str(GUEST), "shell", name, "--", "true"], env=environment(daemon.house), check=True, capture_output=True
    )
    return Way(running_s, time.perf_counter() - started, configured_s, mib), bare.arguments_of(pid)


def _peer(daemon: Daemon, libvirt: Libvirt, name: str) -> Peer:
    """Have libvirt start the guest that one of our machines is; it is gone at the end."""
    machine = daemon.machine(name)
    seed = daemon.house.machines / machine["id"] / "seed.iso"
    libvirt.define(name, bare.arguments_of(machine["status"]["pid"]), [], seed, memory_mib=_MEMORY_MIB)
    log = libvirt.folder / f"{name}.log"
    started = time.perf_counter()
    subprocess.run([*libvirt.virsh, "start", name], check=True, capture_output=True)
    while _MARK not in log.read_bytes():
        if time.perf_counter() - started > _PATIENCE_S:
            raise RuntimeError(
                f"libvirt's guest is not configured after {_PATIENCE_S:.0f} s: {log.read_bytes()[-500:]!r}"
            )
        time.sleep(_LOOK_S)
    configured_s = time.perf_counter() - started
    (pid,) = (int(path.read_text()) for path in (libvirt.folder / "run/libvirt/qemu").glob(f"{name}.pid"))
    mib = private_mib(pid)
    for command in ("destroy", "undefine"):
        subprocess.run([*libvirt.virsh, command, name], check=True, capture_output=True)
    return Peer(configured_s, mib)


def _many(daemon: Daemon) -> float:
    """Seconds until so many forks, asked for at once, are all configured."""
    names = [f"many-{number}" for number in range(AT_ONCE)]
    started = time.perf_counter()
    for name in names:
        daemon.ask("POST", "/machines", {"spec": {"name": name, "image": "micro", "memory_mib": _MEMORY_MIB}})
    for name in names:
        seen: dict[str, Any] = {"stage": ""}
        while seen["stage"] != "configured":
            seen = daemon.ask("GET", f"/machines/{name}/wait", until="configured", wait_s=60)
    elapsed_s = time.perf_counter() - started
    for name in names:
        daemon.do("DELETE", f"/machines/{name}")
    return elapsed_s


def _template(daemon: Daemon) -> TemplateFolder:
    (template,) = daemon.ask("GET", "/templates")["items"]
    return TemplateFolder(daemon.house.templates / template["id"])


def private_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:")) / 1024


def _faster(what: str, ours: list[float], beside: list[float], target: float) -> Row:
    ratio = median_ms(beside) / median_ms(ours)
    return Row(what, spread(ours), f"{spread(beside)}: {ratio:.1f}x", f"≥ {target:.0f}x faster", ratio >= target)


def _smaller(what: str, forks: Sequence[Way], whose: str, others: Sequence[Way | Peer]) -> Row:
    fork, other = (statistics.median(each.private_mib for each in ways) for ways in (forks, others))
    beside = f"{other:.0f} MiB of {whose}: {other / fork:.1f}x"
    return Row(what, f"{fork:.0f} MiB", beside, f"≤ 1/{_MEMORY:.0f}", other / fork >= _MEMORY)
