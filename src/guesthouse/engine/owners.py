"""One owner task a subject: whatever changes a machine, an image or a disk is done by its owner, in order.

Rules
-----
1. A subject is woken, never called: `wake` may come from anywhere, as often as it likes.
2. While an owner works, further wakes are remembered as one: it looks again before it ends.
3. An owner that works on something interruptible is told of a wake at once (`Wakes.interrupt`).
4. An owner that fails unexpectedly (the database is away, say) says so, ends, and is started again after a while.
   It takes nobody with it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

log = logging.getLogger(__name__)

RETRY_S = 15

Work = Callable[[str, "Wakes"], Awaitable[None]]


class Wakes:
    """The wakes of one subject, as its owner sees them; `news` while something may be wanted that it has not loaded."""

    def __init__(self) -> None:
        self.interrupt = asyncio.Event()
        self.news = False

    def wake(self, *, news: bool) -> None:
        """There may be something new to look at; `news` where it may be something that is wanted."""
        self.news |= news
        self.interrupt.set()

    def load(self) -> None:
        """What is wanted is about to be loaded: whatever was told of it until now is no news."""
        self.news = False

    def take(self) -> bool:
        """Whether it was woken since the last time; forgets it."""
        woken = self.interrupt.is_set()
        self.interrupt.clear()
        return woken

    async def or_done(self, work: asyncio.Future[Any]) -> None:
        """Wait until there is a wake, or the work is done."""
        woken = asyncio.ensure_future(self.interrupt.wait())
        try:
            await asyncio.wait((work, woken), return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()


class Owners:
    """Runs `work(subject, wakes)` in a task of its own while there is something to do for a subject."""

    def __init__(self, tasks: asyncio.TaskGroup, work: Work) -> None:
        self._tasks, self._work = tasks, work
        self._wakes: dict[str, Wakes] = {}
        self._owners: dict[str, asyncio.Task[None]] = {}
        self._closed = False

    def wake(self, subject: str, *, news: bool = True) -> None:
        """There may be something to do for this subject; without `news`, what is wanted is as it was."""
        if self._closed:
            return
        wakes = self._wakes.get(subject)
        if wakes is None:
            wakes = self._wakes[subject] = Wakes()
            self._owners[subject] = self._tasks.create_task(self._own(subject, wakes), name=f"owner {subject}")
        wakes.wake(news=news)

    def close(self) -> None:
        """Start no owner any more and let go of what the running ones do."""
        self._closed = True
        for owner in self._owners.values():
            owner.cancel()

    async def _own(self, subject: str, wakes: Wakes) -> None:
        try:
            while wakes.take():
                await self._work(subject, wakes)
        except Exception:
            log.exception("the owner of %s failed; it tries again in %d s", subject, RETRY_S)
            asyncio.get_running_loop().call_later(RETRY_S, self.wake, subject)
        finally:
            del self._wakes[subject], self._owners[subject]
