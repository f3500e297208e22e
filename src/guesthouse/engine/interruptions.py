"""Ends the machines whose notice of interruption is over.

Rules
-----
1. When that is stands in the machine's record: the next daemon carries out what came due while none ran.
2. Who stopped or deleted a machine meanwhile was first: whether it is due is looked at in the moment of ending it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from guesthouse.engine.intents import Asker, EndInterrupted, Intent
from guesthouse.engine.progress import Changes
from guesthouse.model.errors import GuesthouseError
from guesthouse.model.machine import MachineRow, Power
from guesthouse.model.resources import Role
from guesthouse.ports import Store

_LOG = logging.getLogger(__name__)
_LOOK_AGAIN_S = 60.0
BEGUN = "machine.interrupt"
"""The bell that rings when another one is to be waited for."""


@dataclass(frozen=True)
class Interruptions:
    """Waits for the next one that is due; `accept` is the engine's one way in."""

    store: Store
    accept: Callable[[Asker, Intent], Awaitable[object]]
    changes: Changes
    host: str

    async def keep(self) -> None:
        """Carry out what is due, again and again, without an end."""
        with self.changes.listen(BEGUN) as begun:
            while True:
                await begun.wait(await self.look())

    async def look(self) -> float:
        """Carry out what is due; for how many seconds there is nothing to do."""
        async with self.store.read() as tx:
            now = await tx.now()
            told = [row for row in await tx.machines.scan(host=self.host) if _is_told(row)]
        for row in told:
            if row.interrupted_at <= now:
                await self._end(row)
        return min((row.interrupted_at - now for row in told if row.interrupted_at > now), default=_LOOK_AGAIN_S)

    async def _end(self, row: MachineRow) -> None:
        try:
            await self.accept(Asker(row.project, Role.OPERATOR), EndInterrupted(machine=row.id))
        except GuesthouseError as error:  # looked at again, where it is still due then
            _LOG.info("machine %s is not interrupted now: %s", row.id, error)


def _is_told(row: MachineRow) -> bool:
    return bool(row.interrupted_at) and not row.deleting and row.power is not Power.STOPPED
