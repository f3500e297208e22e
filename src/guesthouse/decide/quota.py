"""A project's limits: what is used, and whether more fits.

A limit counts what was asked for, not what runs: a stopped machine keeps its place. `addresses` are NICs, and elastic
addresses.
"""

from __future__ import annotations

from collections.abc import Iterable

from guesthouse.model.errors import QuotaExceeded
from guesthouse.model.machine import MachineRow
from guesthouse.model.resources import Disk, Project, Quota

LIMITS = ("machines", "vcpus", "memory_mib", "disk_mib", "addresses", "networks")


def used(machines: Iterable[MachineRow], disks: Iterable[Disk], *, networks: int = 0, elastics: int = 0) -> Quota:
    """What a project's machines and disks, and so many networks and elastic addresses, take up of its limits."""
    rows = list(machines)
    return Quota(
        machines=len(rows),
        vcpus=sum(row.vcpus for row in rows),
        memory_mib=sum(row.memory_mib for row in rows),
        disk_mib=sum(disk.size_mib for disk in disks),
        addresses=sum(row.nics for row in rows) + elastics,
        networks=networks,
    )


def check_quota(project: Project, taken: Quota, **more: int) -> None:
    """Raise `QuotaExceeded` naming used and limit when `more` (by limit's name) does not fit any more."""
    for name in LIMITS:
        adding, limit = more.get(name, 0), getattr(project.quota, name)
        has = getattr(taken, name)
        if limit is not None and adding > 0 and has + adding > limit:
            raise QuotaExceeded(
                f"project {project.name}: {has} of {limit} {name} used, {adding} more asked for",
                subject=f"project {project.name}",
                field=name,
                value=adding,
                hint=f"delete what is not needed, or ask the operator for a larger quota "
                f"(`guest project set {project.name} --{name.removesuffix('_mib')} N`)",
            )
