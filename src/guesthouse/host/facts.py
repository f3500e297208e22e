"""What this box is and can, and what it lacks.

Rules
-----
1. A finding says what was looked at, what was found, and the command that mends it.
2. What is looked at is a row of `CHECKS`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from guesthouse.host import identity
from guesthouse.host.capabilities import Emulator
from guesthouse.host.fence import Fence
from guesthouse.host.kvm import Kvm
from guesthouse.host.machines import process
from guesthouse.host.machines.firmware import find_ovmf
from guesthouse.host.network_ports import is_free
from guesthouse.host.networks.facts import LocalNetworkFacts
from guesthouse.model.errors import GuesthouseError
from guesthouse.model.house import House
from guesthouse.model.sizes import show_bytes
from guesthouse.ports import Capacity, Finding

OK, WARNING, MISSING = "ok", "warning", "missing"
_LITTLE_DISK_MIB, _LITTLE_MEMORY_MIB = 10 * 1024, 1024
_CGROUP_LIMITS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)


_CGROUP_MARKS = {2: Path("/sys/fs/cgroup/cgroup.controllers"), 1: Path("/sys/fs/cgroup/cpu")}


class LocalFacts:
    """Implements `ports.HostFacts`."""

    def __init__(self, house: House, emulator: Emulator, kvm: Kvm, fence: Fence, networks: LocalNetworkFacts) -> None:
        self.house = house
        self.emulator = emulator
        self.kvm = kvm
        self.fence = fence
        self.networks = networks

    async def capacity(self) -> Capacity:
        """What this box has, and what is free of it, within the limits of our control group."""
        memory_mib, free_mib = memory()
        return Capacity(
            cpus=len(os.sched_getaffinity(0)),
            memory_mib=memory_mib,
            memory_free_mib=free_mib,
            disk_free_mib=shutil.disk_usage(self.house.disks).free >> 20,
            accelerator=await self.kvm.accelerator(),
        )

    async def check(self) -> Sequence[Finding]:
        """All findings, in the order of `CHECKS`."""
        return [finding for look in CHECKS for finding in await look(self)]

    async def port_is_free(self, port: int, protocol: str) -> bool:
        """Whether a port of the loopback can be bound now."""
        return is_free(port, protocol)


def memory() -> tuple[int, int]:
    """Memory in MiB: all of it, and what a new machine may take; the smaller of kernel and control group."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    kib = {words[0].rstrip(":"): int(words[1]) for words in lines}
    total, free = kib["MemTotal"] >> 10, kib["MemAvailable"] >> 10
    for limit, used in _CGROUP_LIMITS:
        if limit.exists() and (text := limit.read_text().strip()) != "max":
            limit_mib = int(text) >> 20
            total, free = min(total, limit_mib), min(free, max(0, limit_mib - (int(used.read_text()) >> 20)))
    return total, free


async def _accelerator(facts: LocalFacts) -> list[Finding]:
    verdict = await facts.kvm.verdict()
    if verdict.usable:
        return [Finding("accelerator", OK, "KVM: a test program ran on it")]
    found = f"TCG, which interprets every instruction: {verdict.reason}"
    return [Finding("accelerator", WARNING, found, verdict.fix)]


async def _emulator(facts: LocalFacts) -> list[Finding]:
    try:
        told = await facts.emulator.capabilities()
    except GuesthouseError as error:
        return [Finding("QEMU", MISSING, str(error), error.hint)]
    return [Finding("QEMU", OK, f"{told.release}, machine type {told.machine_type()}")]


@dataclass(frozen=True)
class Program:
    """A program that something needs: what for, its package, and whether machines run without it."""

    name: str
    purpose: str
    package: str
    level: str


PROGRAMS = (
    Program("qemu-img", "makes and converts disks", "qemu-utils", MISSING),
    Program("mmdebstrap", "builds Debian images", "mmdebstrap", WARNING),
    Program("mke2fs", "builds Debian images", "e2fsprogs", WARNING),
    Program("mcopy", "builds Debian images", "mtools", WARNING),
    Program("ssh", "`guest shell`", "openssh-client", WARNING),
)


async def _programs(facts: LocalFacts) -> list[Finding]:
    return [
        Finding(row.name, OK, where)
        if (where := shutil.which(row.name, path=process.PROGRAMS))
        else Finding(row.name, row.level, f"not installed: {row.purpose}", f"apt install {row.package}")
        for row in PROGRAMS
    ]


async def _firmware(facts: LocalFacts) -> list[Finding]:
    if (ovmf := find_ovmf()) is not None:
        return [Finding("UEFI firmware", OK, str(ovmf.code))]
    return [Finding("UEFI firmware", WARNING, "not installed: machines start with BIOS", "apt install ovmf")]


async def _room(facts: LocalFacts) -> list[Finding]:
    disk_mib = shutil.disk_usage(facts.house.disks).free >> 20
    memory_mib, free_mib = memory()
    return [
        _enough(
            "disk space", disk_mib, _LITTLE_DISK_MIB, f"in {facts.house.home}", "make room, or set GUESTHOUSE_HOME"
        ),
        _enough(
            "memory", free_mib, _LITTLE_MEMORY_MIB, f"of {show_bytes(memory_mib << 20)}", "stop what else needs it"
        ),
    ]


def _enough(name: str, free_mib: int, little_mib: int, where: str, fix: str) -> Finding:
    found = f"{show_bytes(free_mib << 20)} free {where}"
    return Finding(name, WARNING, found, fix) if free_mib < little_mib else Finding(name, OK, found)


async def _confinement(facts: LocalFacts) -> list[Finding]:
    if identity.can_confine():
        return [Finding("confinement", OK, "every machine's QEMU runs as a user of its own")]
    if os.geteuid() == 0:
        found = "QEMU runs as root: this user namespace has no user numbers for machines"
        first, count = identity.PROJECTS.start, identity.NETWORKS.stop - identity.PROJECTS.start
        return [Finding("confinement", WARNING, found, f"map {count} user and group ids from {first} on into it")]
    return [Finding("confinement", OK, "QEMU runs as you; a daemon that is root gives each machine its own user")]


async def _loopback(facts: LocalFacts) -> list[Finding]:
    try:
        # Not looked for but put up: what was missing at the daemon's start may be there now.
        await facts.fence.put_up()
    except GuesthouseError as error:
        found = f"guests reach whatever listens on this host's 127.0.0.1, by the address 10.0.2.2: {error}"
        return [Finding("loopback", WARNING, found, error.hint)]
    return [Finding("loopback", OK, f"closed to guests by the nftables table {facts.fence.table}")]


async def _networks(facts: LocalFacts) -> Sequence[Finding]:
    return await facts.networks.check()


async def _control_groups(facts: LocalFacts) -> list[Finding]:
    for version, mark in _CGROUP_MARKS.items():
        if mark.exists():
            return [Finding("control groups", OK, f"version {version}")]
    return [
        Finding("control groups", WARNING, "none: vCPU weights have no effect", "mount -t cgroup2 none /sys/fs/cgroup")
    ]


CHECKS: tuple[Callable[[LocalFacts], Awaitable[Sequence[Finding]]], ...] = (
    _accelerator,
    _emulator,
    _programs,
    _firmware,
    _room,
    _confinement,
    _loopback,
    _networks,
    _control_groups,
)
