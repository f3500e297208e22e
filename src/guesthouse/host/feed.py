"""Ids of machines in which something happened, for whoever follows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator


class Feed:
    """Tells ids to its followers. An id told twice before it is taken is taken once."""

    def __init__(self) -> None:
        self._followers: set[_Follower] = set()

    def tell(self, machine: str) -> None:
        """Something happened in this machine."""
        for follower in self._followers:
            follower.add(machine)

    def follow(self) -> AsyncIterator[str]:
        """All ids told from this call on."""
        follower = _Follower()
        self._followers.add(follower)
        return self._iterate(follower)

    async def _iterate(self, follower: _Follower) -> AsyncIterator[str]:
        try:
            while True:
                yield await follower.take()
        finally:
            self._followers.discard(follower)


class _Follower:
    def __init__(self) -> None:
        self._waiting: dict[str, None] = {}
        self._more = asyncio.Event()

    def add(self, machine: str) -> None:
        self._waiting[machine] = None
        self._more.set()

    async def take(self) -> str:
        while not self._waiting:
            self._more.clear()
            await self._more.wait()
        machine = next(iter(self._waiting))
        del self._waiting[machine]
        return machine
