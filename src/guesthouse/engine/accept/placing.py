"""Finding the host for a new machine: what is asked for, what the hosts have, and what is placed there already.

All of it is read in the transaction that writes the machine, so that two askers cannot both have the last place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from guesthouse.decide.placement import Candidate, Verdict, Way, Wish, judge, place
from guesthouse.decide.templates import fits
from guesthouse.engine.accept.desk import Desk
from guesthouse.engine.hosts import as_known
from guesthouse.engine.resolve import find_network
from guesthouse.model.hosts import HostRecord, Limits, Load
from guesthouse.model.machine import MachineSpec
from guesthouse.model.resources import Image, Template


class Where(msgspec.Struct, frozen=True, kw_only=True):
    """What an asker says of the place of a machine."""

    host: str = ""
    zone: str = ""
    way: Way = Way.SPREAD


async def placed(
    desk: Desk, spec: MachineSpec, image: Image, ready: Sequence[Template], where: Where, *, start: bool
) -> HostRecord:
    """The host that takes the machine, which may be a fork of a template that is `ready`.

    Raises what `decide.placement.place` does.
    """
    hosts = await as_known(desk.tx, desk.facts, desk.here)
    wish = await _wish(desk, spec, image, where, hosts, start=start)
    return place(wish, await _candidates(desk, spec, image, ready, hosts))


async def explained(
    desk: Desk, spec: MachineSpec, image: Image, ready: Sequence[Template], where: Where, *, start: bool
) -> Sequence[Verdict]:
    """What becomes of each host, the one to take first."""
    hosts = await as_known(desk.tx, desk.facts, desk.here)
    wish = await _wish(desk, spec, image, where, hosts, start=start)
    return judge(wish, await _candidates(desk, spec, image, ready, hosts))


async def _wish(
    desk: Desk, spec: MachineSpec, image: Image, where: Where, hosts: Sequence[HostRecord], *, start: bool
) -> Wish:
    return Wish(
        vcpus=spec.vcpus if start else 0,
        memory_mib=spec.memory_mib if start else 0,
        disk_mib=sum(disk.size_mib for disk in spec.disks if not disk.disk and not disk.thin),
        type=spec.type,
        apart=spec.apart,
        host=where.host,
        zone=where.zone,
        way=where.way,
        # Of one host all is there.
        lies_at=await _lies_at(desk, spec, image) if len(hosts) > 1 else {},
    )


async def _lies_at(desk: Desk, spec: MachineSpec, image: Image) -> dict[str, str]:
    """On which host each thing is that the machine is to have."""
    found = {f"image {image.name}": image.host}
    for disk in spec.disks:
        if disk.disk:
            record = await desk.disk(disk.disk)
            found[f"disk {record.name}"] = record.host
    for nic in spec.nics:
        if nic.network:
            network = await find_network(desk.tx.networks, desk.asker.project, nic.network)
            found[f"network {network.name}"] = network.host
    return {what: host for what, host in found.items() if host}


async def _candidates(
    desk: Desk, spec: MachineSpec, image: Image, ready: Sequence[Template], hosts: Sequence[HostRecord]
) -> list[Candidate]:
    alone = len(hosts) == 1
    loads = {} if alone and hosts[0].limits == Limits() else await desk.tx.loads()
    promised = await desk.tx.promised()
    warm = {template.host for template in ready if fits(template, image, spec)}
    apart = await desk.tx.machines.scan(project=desk.asker.project, apart=spec.apart) if spec.apart else []
    siblings = Counter(machine.host for machine in apart)
    now = 0.0 if alone else await desk.tx.now()
    return [
        Candidate(
            host,
            load=loads.get(host.id, Load()),
            promised_mib=promised.get(host.id, 0),
            away=host.id != desk.here and host.is_away(now),
            warm=host.id in warm,
            siblings=siblings[host.id],
        )
        for host in hosts
    ]
