"""Hints that something was committed, to those who follow.

Rules
-----
1. A hint says "look", nothing else: several commits may be one hint, and a hint may come for nothing.
2. Who watches gets its first hint at once, so that nothing is missed between looking and watching.
3. Commits of this process are hinted in it; those of others come by LISTEN/NOTIFY (PostgreSQL, NOTIFY). That
   line may break, so that followers look by themselves every few seconds too, and open it again.
4. No task runs in the background: who waits keeps the line open.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any
from weakref import WeakSet

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from guesthouse.store.databases import CHANNEL
from guesthouse.store.uninterrupted import uninterrupted


class Bell:
    """Rung on commit; everyone who watches hears it."""

    def __init__(self) -> None:
        self._watches: WeakSet[Watch] = WeakSet()

    def ring(self) -> None:
        """Hint to all who watch."""
        for watch in self._watches:
            watch.hint()

    def watch(self, line: Line | None, poll_s: float | None) -> Watch:
        """Start to watch."""
        watch = Watch(line, poll_s)
        self._watches.add(watch)
        return watch


class Watch:
    """An endless iterator of hints."""

    def __init__(self, line: Line | None, poll_s: float | None) -> None:
        self._hinted = asyncio.Event()
        self._hinted.set()
        self._line = line
        self._poll_s = poll_s

    def hint(self) -> None:
        self._hinted.set()

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> None:
        if self._line:
            await self._line.open()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._poll_s):
                await self._hinted.wait()
        self._hinted.clear()


class Line:
    """The connection to a PostgreSQL server on which commits of other processes are heard."""

    def __init__(self, engine: AsyncEngine, bell: Bell) -> None:
        self._engine = engine
        self._bell = bell
        self._opening = asyncio.Lock()
        self._connection: AsyncConnection | None = None
        self._driver: Any = None

    async def open(self) -> None:
        """Open the line where it is not; where the server cannot be reached, watching goes on by polling."""
        async with self._opening:
            if self._driver is None or self._driver.is_closed():
                await uninterrupted(self._open())

    async def close(self) -> None:
        """Hang up."""
        connection, self._connection, self._driver = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(SQLAlchemyError, OSError):
                await connection.close()

    async def _open(self) -> None:
        await self.close()
        with contextlib.suppress(SQLAlchemyError, OSError):
            self._connection = await self._engine.connect()
            raw: Any = await self._connection.get_raw_connection()
            self._driver = raw.driver_connection
            self._driver.add_termination_listener(lambda _: self._bell.ring())
            await self._driver.add_listener(CHANNEL, lambda *_: self._bell.ring())
            # What was committed while the line was down was not heard.
            self._bell.ring()
