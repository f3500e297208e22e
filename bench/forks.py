"""Forks of a template: beside a bare fork of the same files, and beside a boot of the same image.

Rules
-----
1. Single launches are taken in turns: a fork of ours, a bare fork, a boot of ours, and again. The first round warms the
   caches of all.
2. Running is when QEMU has said that the vCPUs run; a login is when a program that ran by SSH has answered; configured
   is the guest's own report.
3. Private memory is what a machine's QEMU has that is no file's (proc(5), smaps_rollup, `Anonymous`) when it has just
   been configured: its own, and what it copied when it wrote. The memory of the template is a file.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

from bench import bare
from bench.house import GUEST, Daemon, Say, a_daemon, a_furnished_house, environment
from bench.table import Row, Section, median_ms, spread
from guesthouse.host.frozen.folder import TemplateFolder

ROUNDS = 5
AT_ONCE = 20
_MEMORY_MIB = 128
_RATIO, _RUNNING_MS, _LOGIN, _CONFIGURED, _MEMORY = 1.5, 200.0, 10.0, 4.0, 3.0


class Way(NamedTuple):
    """How long one launch took to come so far, in seconds, and what its QEMU then had for itself."""

    running_s: float
    login_s: float
    configured_s: float
    private_mib: float


def measure(say: Say) -> Section:
    """Single launches in turns, then many forks at once."""
    with a_furnished_house(say) as house, a_daemon(house) as daemon:
        say("making the template")
        daemon.do("POST", "/templates", {"image": "micro", "memory_mib": _MEMORY_MIB})
        forks, boots, direct = _in_turns(daemon, say)
        say(f"{AT_ONCE} forks at once")
        at_once_s = _many(daemon)
    running, login = [way.running_s for way in forks], [way.login_s for way in forks]
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
        _faster(
            "launch → configured, beside a boot",
            [way.configured_s for way in forks],
            [way.configured_s for way in boots],
            _CONFIGURED,
        ),
        _smaller(forks, boots),
        Row(
            f"{AT_ONCE} forks at once, until all are configured",
            f"{at_once_s:.1f} s",
            f"{at_once_s / AT_ONCE:.2f} s each",
        ),
    ]
    return Section("Forks of a template", rows, ["The micro image with 128 MiB. Medians, with quartiles in brackets."])


def _in_turns(daemon: Daemon, say: Say) -> tuple[list[Way], list[Way], list[float]]:
    forks, boots, direct = [], [], []
    for number in range(ROUNDS + 1):
        say(f"launch {number} of {ROUNDS}")
        fork, argv = _launch(daemon, f"fork-{number}", cold=False)
        daemon.do("POST", f"/machines/fork-{number}/stop", {"force": True})
        started = time.perf_counter()
        process = bare.fork(argv, _template(daemon))
        bare_s = time.perf_counter() - started
        bare.end(process)
        boot, _ = _launch(daemon, f"boot-{number}", cold=True)
        for name in (f"fork-{number}", f"boot-{number}"):
            daemon.do("DELETE", f"/machines/{name}")
        if number:
            forks.append(fork)
            direct.append(bare_s)
            boots.append(boot)
    return forks, boots, direct


def _launch(daemon: Daemon, name: str, *, cold: bool) -> tuple[Way, list[str]]:
    """Launch a machine and log in; its times, and the arguments of its QEMU."""
    spec = {"name": name, "image": "micro", "memory_mib": _MEMORY_MIB}
    started = time.perf_counter()
    operation = daemon.do("POST", "/machines", {"spec": spec, "cold": cold})
    running_s = time.perf_counter() - started
    if ("template" in operation["result"]) is cold:
        raise RuntimeError(f"{name} was {'forked' if cold else 'booted'}: {operation}")
    daemon.ask("GET", f"/machines/{name}/wait", until="reachable", wait_s=60)
    subprocess.run(
        [str(GUEST), "shell", name, "--", "true"], env=environment(daemon.house), check=True, capture_output=True
    )
    login_s = time.perf_counter() - started
    machine = daemon.ask("GET", f"/machines/{name}/wait", until="configured", wait_s=60)
    way = Way(running_s, login_s, time.perf_counter() - started, private_mib(machine["status"]["pid"]))
    return way, bare.arguments_of(machine["status"]["pid"])


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


def _smaller(forks: list[Way], boots: list[Way]) -> Row:
    fork, boot = (sorted(way.private_mib for way in ways)[len(ways) // 2] for ways in (forks, boots))
    beside = f"{boot:.0f} MiB of one that booted: {boot / fork:.1f}x"
    return Row("private memory of a fork", f"{fork:.0f} MiB", beside, f"≤ 1/{_MEMORY:.0f}", boot / fork >= _MEMORY)
