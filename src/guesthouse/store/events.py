"""The log of events: `ports.EventLog` on a database.

An event's number is given under the writers' lock, so numbers grow in the order of commits: who has read up to
a number has missed nothing before it. Numbers may have gaps. The newest `KEPT` events are kept; older ones go
`_PRUNED_EVERY` at a time, in the transaction of the event that pushes them out.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
import sqlalchemy as sa

from guesthouse.model.resources import Event
from guesthouse.store.records import Session, encode
from guesthouse.store.schema import EVENTS, epoch_now

KEPT = 10_000
_PRUNED_EVERY = 100


class SqlEventLog:
    """What happened, in order."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def append(self, event: Event) -> None:
        """Add an event; its number and time are the database's."""
        names = (name for name in event.__struct_fields__ if name not in ("number", "at"))
        values = {name: encode(Event, name, getattr(event, name)) for name in names}
        number: int = await self._session.value(_append(), **values)
        if number % _PRUNED_EVERY == 0:
            await self._session.count(_prune(), oldest=number - KEPT)

    async def after(self, number: int, project: str | None, limit: int) -> list[Event]:
        """Events with a higher number, in order; of one project, or of all where it is None."""
        values = {"after": number, "count": limit} | ({} if project is None else {"project": project})
        return await self._session.read(Event, _after(project is not None), **values)

    async def last(self) -> int:
        """The highest number given so far that is kept, 0 where there is none."""
        return int(await self._session.value(_last()) or 0)


@cache
def _last() -> sa.Executable:
    return sa.select(sa.func.max(EVENTS.c.number))


@cache
def _append() -> sa.Executable:
    names = [column.name for column in EVENTS.c if column.name not in ("number", "at")]
    values: dict[str, Any] = {name: sa.bindparam(name, type_=EVENTS.c[name].type) for name in names}
    return sa.insert(EVENTS).values(**values, at=epoch_now()).returning(EVENTS.c.number)


@cache
def _prune() -> sa.Executable:
    return sa.delete(EVENTS).where(EVENTS.c.number <= sa.bindparam("oldest"))


@cache
def _after(of_project: bool) -> sa.Executable:
    columns = [EVENTS.c[field.name] for field in msgspec.structs.fields(Event)]
    statement = sa.select(*columns).where(EVENTS.c.number > sa.bindparam("after"))
    if of_project:
        statement = statement.where(EVENTS.c.project == sa.bindparam("project"))
    return statement.order_by(EVENTS.c.number).limit(sa.bindparam("count"))
