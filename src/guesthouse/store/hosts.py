"""What a database does about hosts beside their records: sums over the machines of each, and the renewal of a lease.

The sums are asked for in every transaction that places a machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from guesthouse.model.hosts import Load
from guesthouse.model.machine import Power
from guesthouse.store import schema
from guesthouse.store.records import Session

_M = schema.MACHINES.table.c
_RUNS = _M.power != Power.STOPPED.value


def _sum(column: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    return sa.func.coalesce(sa.func.sum(sa.case((_RUNS, column), else_=0)), 0)


_H = schema.HOSTS.table.c
_PROMISED = sa.select(_M.host, sa.func.sum(_M.memory_mib)).where(sa.text(schema.PROMISED)).group_by(_M.host)
_LOADS = sa.select(_M.host, sa.func.count(), _sum(_M.vcpus), _sum(_M.memory_mib)).group_by(_M.host)


async def renew(session: Session, host: str, instance: str, facts: Mapping[str, object]) -> bool:
    """Note what a host has, at the database's time; False where another daemon is that host now."""
    mine = sa.update(schema.HOSTS.table).where(_H.id == host, _H.instance == instance)
    return (await session.execute(mine.values(seen_at=schema.epoch_now(), **facts))).rowcount == 1


async def promised(session: Session) -> dict[str, int]:
    """Memory in MiB of machines that are to run and have not been seen to, by host."""
    found: Sequence[Any] = (await session.execute(_PROMISED)).all()
    return {host: int(mib) for host, mib in found}


async def loads(session: Session) -> dict[str, Load]:
    """What is placed on each host that has machines."""
    found: Sequence[Any] = (await session.execute(_LOADS)).all()
    return {
        host: Load(machines=int(machines), vcpus=int(vcpus), memory_mib=int(memory_mib))
        for host, machines, vcpus, memory_mib in found
    }
