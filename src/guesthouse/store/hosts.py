"""What a database does about hosts beside their records: sums over the machines of each, and the renewal of a lease.

The sums are asked for in every transaction that places a machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
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
    return await session.count(_renewal(tuple(sorted(facts))), is_id=host, is_instance=instance, **facts) == 1


@cache
def _renewal(facts: tuple[str, ...]) -> sa.Executable:
    mine = _H.id == sa.bindparam("is_id"), _H.instance == sa.bindparam("is_instance")
    values: dict[str, Any] = {name: sa.bindparam(name, type_=_H[name].type) for name in facts}
    return sa.update(schema.HOSTS.table).where(*mine).values(seen_at=schema.epoch_now(), **values)


async def promised(session: Session) -> dict[str, int]:
    """Memory in MiB of machines that are to run and have not been seen to, by host."""
    return {host: int(mib) for host, mib in await session.rows(_PROMISED)}


async def loads(session: Session) -> dict[str, Load]:
    """What is placed on each host that has machines."""
    return {
        host: Load(machines=int(machines), vcpus=int(vcpus), memory_mib=int(memory_mib))
        for host, machines, vcpus, memory_mib in await session.rows(_LOADS)
    }
