"""Whether there is room: names, ports, the project's quota, the host's memory and disk space.

Each function raises before anything is written; the transaction makes that hold until the end.
"""

from __future__ import annotations

from itertools import count
from typing import Any

from guesthouse.decide.placement import SPARE_DISK_MIB, lacks_memory
from guesthouse.decide.quota import check_quota as check_project_quota
from guesthouse.decide.types import refuse_too_large
from guesthouse.engine.accept.desk import Desk
from guesthouse.engine.records import used_by
from guesthouse.model.errors import Conflict, NoCapacity, NotFound
from guesthouse.model.hosts import HostRecord
from guesthouse.model.machine import Forward, MachineSpec, NicSpec
from guesthouse.model.names import generate_name
from guesthouse.ports import Capacity, Table

_TRIES = 8


async def refuse_taken_name(desk: Desk, what: str, name: str) -> None:
    """Raise `Conflict` when the project has a machine, or template (`what`), of that name."""
    tables: dict[str, Table[Any, Any]] = {"machine": desk.tx.machines, "template": desk.tx.templates}
    if await tables[what].scan(project=desk.asker.project, name=name):
        raise Conflict(
            f"there is a {what} {name!r} already",
            subject=f"{what} {name}",
            field="name",
            value=name,
            hint="choose another name, or delete that one",
        )


async def free_name(desk: Desk) -> str:
    """A name nobody had to think of, and no machine of the project has; a longer one where short ones are rare."""
    for tries in count():
        name = generate_name(desk.random, 100 * 10 ** (tries // _TRIES))
        if not await desk.tx.machines.scan(project=desk.asker.project, name=name):
            return name
    raise AssertionError("there is always a longer one")


async def refuse_taken_ports(desk: Desk, nics: tuple[NicSpec, ...], mine: tuple[Forward, ...]) -> None:
    """A host port that was asked for must be free on this host, unless this machine has it already."""
    held = {(f.host_port, f.protocol) for f in mine}
    for nic in nics:
        for forward in nic.forwards:
            if not forward.host_port or (forward.host_port, forward.protocol) in held:
                continue
            if desk.host != desk.here:
                continue  # its own daemon refuses it at the start
            if not await desk.facts.port_is_free(forward.host_port, forward.protocol):
                raise Conflict(
                    f"port {forward.host_port}/{forward.protocol} of the host is in use",
                    field="host_port",
                    value=forward.host_port,
                    hint=f"`ss -tulpn sport = :{forward.host_port}` shows by whom; 0 lets the house choose",
                )


async def check_fits(desk: Desk, spec: MachineSpec) -> None:
    """Raise `NoCapacity` where this host cannot have machines of the description's type, however empty it is."""
    if spec.type:
        capacity = await _of_host(desk)
        refuse_too_large(spec, capacity.cpus, capacity.memory_mib)


async def check_quota(desk: Desk, spec: MachineSpec) -> None:
    """Raise `NoCapacity` where the project may not have one more machine of that description."""
    new = [disk for disk in spec.disks if not disk.disk]
    await check_project(
        desk,
        machines=1,
        vcpus=spec.vcpus,
        memory_mib=spec.memory_mib,
        disk_mib=sum(disk.size_mib for disk in new),
        nics=len(spec.nics),
    )


async def check_project(desk: Desk, **more: int) -> None:
    """Raise `QuotaExceeded` where the project has not that much left. What has no limit is not counted."""
    project = await desk.project()
    more["addresses"] = more.pop("nics", 0)
    if any(getattr(project.quota, name) is not None for name, adding in more.items() if adding > 0):
        check_project_quota(project, await used_by(desk.tx, project), **more)


async def check_memory(desk: Desk, memory_mib: int) -> None:
    """Raise `NoCapacity` unless the host has that much memory that nobody has and nobody was promised."""
    if memory_mib <= 0:
        return
    capacity, promised = await _of_host(desk), await desk.tx.promised()
    if lack := lacks_memory(memory_mib, capacity.memory_free_mib, promised.get(desk.host, 0), capacity.memory_mib):
        raise NoCapacity(lack.text, field=lack.field, value=lack.value, hint=lack.hint)


async def check_space(desk: Desk, size_mib: int) -> None:
    """Raise `NoCapacity` unless the disk folder has room for `size_mib` and a little to spare."""
    capacity = await _of_host(desk)
    if size_mib + SPARE_DISK_MIB > capacity.disk_free_mib:
        raise NoCapacity(
            f"not enough disk space on this host: {size_mib + SPARE_DISK_MIB} MiB needed,"
            f" {capacity.disk_free_mib} MiB free",
            field="size_mib",
            value=size_mib,
            hint="make it smaller or thin, or delete disks and images that nobody needs",
        )


async def _of_host(desk: Desk) -> Capacity | HostRecord:
    """What the host has that takes what is made: this one as it is now, another as it said last."""
    if desk.host in ("", desk.here):
        return await desk.facts.capacity()
    host = await desk.tx.hosts.get(desk.host)
    if host is None:
        raise NotFound("the host that it is on has left the house", subject="host", value=desk.host)
    return host
