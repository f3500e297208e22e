"""What the last commits of this process have written, for those who keep what they have read.

Rules
-----
1. Commits that write records have numbers, one after another, in the database: whoever sees a number has everything
   that was written until then. Its row is written in the very transaction.
2. A commit is noted before it happens, so that nobody sees its number and not what it wrote. One that fails gives its
   number to the next.
3. Commits of other processes are not noted, nor are old ones: then it is not known what was written (None).
"""

from __future__ import annotations

from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from guesthouse.ports import Touched
from guesthouse.store.schema import COMMITS, epoch_now

KEPT = 10_000
"""So many touched records are remembered."""

MOMENT = sa.select(
    sa.func.coalesce(sa.select(COMMITS.c.number).where(COMMITS.c.id == 1).scalar_subquery(), 0), epoch_now()
)
"""The number of the last commit, and the time."""


class Journal:
    """The last commits by their numbers, each with the ids that it touched by table; True for those of new records."""

    def __init__(self) -> None:
        self._commits: dict[int, Touched] = {}
        self._kept = 0

    def note(self, number: int, touched: Touched) -> None:
        """A commit is about to happen."""
        self.forget(number)
        self._commits[number] = touched
        self._kept += _size(touched)
        while self._kept > KEPT:
            self.forget(next(iter(self._commits)))

    def forget(self, number: int) -> None:
        """It did not happen, or is old."""
        self._kept -= _size(self._commits.pop(number, {}))

    def between(self, after: int, until: int) -> Touched | None:
        """All that was touched by the commits after one, until another one; None where that is not known.

        Nobody can go back: that is None too.
        """
        if after > until:
            return None
        found: dict[str, dict[str, bool]] = {}
        for number in range(after + 1, until + 1):
            if (touched := self._commits.get(number)) is None:
                return None
            for table, ids in touched.items():
                there = found.setdefault(table, {})
                for id, is_new in ids.items():
                    if is_new:
                        # Its place is behind all that were there.
                        there.pop(id, None)
                    there[id] = there.get(id, False) or is_new
        return found


def _size(touched: Touched) -> int:
    return sum(len(ids) for ids in touched.values())


_INSERT: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def _next(dialect: str) -> sa.Executable:
    insert = _INSERT[dialect](COMMITS).values(id=1, number=1)
    counted = insert.on_conflict_do_update(index_elements=[COMMITS.c.id], set_={"number": COMMITS.c.number + 1})
    return cast(sa.Executable, counted.returning(COMMITS.c.number))


NEXT = {dialect: _next(dialect) for dialect in _INSERT}
"""Takes the next number, by dialect."""
