"""Work for this host that another daemon has accepted, and news for who waits here.

Rules
-----
1. Only the open operations of this host are looked at, by an index that has nothing else: the cost does not grow with
   the house.
2. An operation wakes its subject when it is first seen, and again when somebody wants it cancelled.
3. A commit's hint says where to look, no more; when none comes the store gives one by itself after a while.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from guesthouse.engine.progress import Changes
from guesthouse.model.errors import GuesthouseError
from guesthouse.ports import Changes as Commits
from guesthouse.ports import Store

log = logging.getLogger(__name__)


@dataclass
class Following:
    """Follows what other daemons of the house commit."""

    store: Store
    commits: Commits
    here: str
    wake: Callable[[str], None]
    bells: Changes
    _known: dict[str, bool] = field(default_factory=dict)

    async def keep(self) -> None:
        """Look after every commit, without an end."""
        async for _ in self.commits.watch():
            try:
                await self.look()
            except GuesthouseError as error:
                log.warning("host.follow: %s", error)

    async def look(self) -> None:
        """Wake the subjects of operations that are new, or are to be cancelled; let those who wait look again."""
        async with self.store.read() as tx:
            found = await tx.operations.scan(host=self.here, ended_at=0.0)
        before, self._known = self._known, {row.id: row.cancel_requested for row in found}
        for row in found:
            if before.get(row.id) != row.cancel_requested:
                self.wake(row.subject)
        self.bells.ring_all()
