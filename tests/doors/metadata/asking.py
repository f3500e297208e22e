"""Asking the dialects and the service: calls without a network, and a register of machines in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from tests.doors.metadata.samples import NOW, SECRET

from guesthouse.doors.metadata.identity import Identity
from guesthouse.doors.metadata.messages import Call, read
from guesthouse.doors.metadata.server import MetadataService, serve
from guesthouse.doors.metadata.tokens import Tokens
from guesthouse.model.metadata import Asked

TOKENS = Tokens(SECRET)
TOKEN, TTL = "X-aws-ec2-metadata-token", "X-aws-ec2-metadata-token-ttl-seconds"
GOOGLE, AZURE = {"Metadata-Flavor": "Google"}, {"Metadata": "true"}


def a_call(
    asked: Asked,
    target: str,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    *,
    now: float = NOW,
    identity: Identity | None = None,
) -> Call:
    """What a dialect is asked."""
    request = read(method, target, ((name.lower(), value) for name, value in (headers or {}).items()))
    assert request is not None
    return Call(request, asked, now, TOKENS, identity)


class Book:
    """Who is where; those who watch are told of every change."""

    def __init__(self) -> None:
        self._machines: dict[tuple[str, str], Asked] = {}
        self._watches: set[asyncio.Event] = set()
        self.looked = 0

    def write(self, network: str, address: str, asked: Asked) -> None:
        """Have a machine there; one that has not that address gets it for that of its first NIC."""
        if asked.nic_at(address) is None:
            nic = msgspec.structs.replace(asked.nics[0], address=address)
            asked = msgspec.structs.replace(asked, nics=(nic, *asked.nics[1:]))
        self._machines[network, address] = asked
        for watch in self._watches:
            watch.set()

    def strike(self, network: str, address: str) -> None:
        """Have nobody there."""
        del self._machines[network, address]

    @property
    def watched(self) -> int:
        """How many watch."""
        return len(self._watches)

    async def who(self, network: str, address: str) -> Asked | None:
        self.looked += 1
        return self._machines.get((network, address))

    async def watch(self, machine: str) -> AsyncIterator[None]:
        hinted = asyncio.Event()
        self._watches.add(hinted)
        try:
            while True:
                yield
                await hinted.wait()
                hinted.clear()
        finally:
            self._watches.discard(hinted)


@asynccontextmanager
async def serving(book: Book, **more: Any) -> AsyncIterator[MetadataService]:
    async with serve(book, SECRET, **more) as service:
        yield service
