"""The end of the door, told to those who wait inside.

Rules
-----
1. Whoever may wait long (a long poll, a program in a guest, a transfer) waits within `Closing.ends`.
2. When the door closes they are interrupted with `Closed` and answer at once; nobody polls for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Closed(Exception):
    """The door closes; what was waited for may still happen."""


class Closing:
    """Knows everybody who waits, and interrupts them when the door closes."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Timeout] = set()
        self._closed = False

    @asynccontextmanager
    async def ends(self) -> AsyncIterator[None]:
        """Interrupt the block with `Closed` when the door closes, or at its first wait if it is closed already."""
        scope = asyncio.timeout(0 if self._closed else None)
        try:
            async with scope:
                self._waiting.add(scope)
                yield
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise Closed from error
        finally:
            self._waiting.discard(scope)

    def close(self) -> None:
        """Interrupt all who wait, and whoever comes later."""
        self._closed = True
        now = asyncio.get_running_loop().time()
        for scope in self._waiting:
            scope.reschedule(now)
