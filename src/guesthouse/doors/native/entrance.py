"""Who stands at the door: one entrance for askers on this host, one for askers with a token.

Rules
-----
1. The unix socket is the house's own: its mode keeps others out, and the peer's user, which the kernel tells
   (SO_PEERCRED, unix(7)), must be one that the entrance knows. They are operators of the house.
2. Over TCP a bearer token (RFC 6750) says who asks; it is looked up by its digest and never logged.
3. An address that keeps failing is turned away for the rest of a minute, before its token is looked at.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from starlette.datastructures import Headers
from starlette.types import Scope

from guesthouse.engine.access import Access
from guesthouse.engine.intents import Asker
from guesthouse.model.errors import Denied, Invalid

PROJECT_HEADER = "X-Guesthouse-Project"
DEFAULT_PROJECT = "default"

MAX_FAILURES = 10
WINDOW_S = 60.0
MAX_ADDRESSES = 1024


class Entrance(Protocol):
    """Tells who asks. `local` askers are on this host; `challenge` are the headers of a 401."""

    @property
    def local(self) -> bool: ...
    @property
    def challenge(self) -> Mapping[str, str]: ...

    async def identify(self, scope: Scope) -> Asker:
        """Who sent this request; raises `Denied`, or `NotFound` for a project that is not there."""


class LocalEntrance:
    """For processes of this host under one of `uids`; the header names the project."""

    local = True
    challenge: Mapping[str, str] = {}

    def __init__(self, access: Access, uids: frozenset[int]) -> None:
        self._access = access
        self._uids = uids

    async def identify(self, scope: Scope) -> Asker:
        uid = scope["state"].get("peer_uid")
        if uid not in self._uids:
            raise Denied(
                f"user {uid} is not the house's own", value=uid, hint="ask as the daemon's user, or with a token"
            )
        return await self._access.local(Headers(scope=scope).get(PROJECT_HEADER) or DEFAULT_PROJECT)


class TokenEntrance:
    """For whoever has a token; it decides the project, and the header names one for tokens of the house."""

    local = False
    challenge: Mapping[str, str] = {"WWW-Authenticate": 'Bearer realm="guesthouse"'}

    def __init__(self, access: Access, failures: Failures | None = None) -> None:
        self._access = access
        self._failures = failures or Failures()

    async def identify(self, scope: Scope) -> Asker:
        address = scope["client"][0] if scope.get("client") else ""
        self._failures.check(address)
        headers = Headers(scope=scope)
        scheme, _, secret = headers.get("Authorization", "").partition(" ")
        if not secret:
            raise Denied("a token is needed", hint="send it as `Authorization: Bearer TOKEN`")
        if scheme.lower() != "bearer":
            raise Invalid(
                f"authorization by {scheme!r} is not understood", field="Authorization", hint="use `Bearer TOKEN`"
            )
        try:
            return await self._access.bearer(secret.strip(), headers.get(PROJECT_HEADER, ""))
        except Denied:
            self._failures.add(address)
            raise


class Failures:
    """Counts failed attempts by address, within a window that begins with the first."""

    def __init__(
        self, limit: int = MAX_FAILURES, window_s: float = WINDOW_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = limit
        self._window_s = window_s
        self._clock = clock
        self._seen: dict[str, tuple[float, int]] = {}

    def check(self, address: str) -> None:
        """Raise `Denied` when the address has failed too often."""
        since, count = self._seen.get(address, (0.0, 0))
        left_s = since + self._window_s - self._clock()
        if left_s <= 0:
            self._seen.pop(address, None)
        elif count >= self._limit:
            raise Denied(f"{count} attempts from {address} failed", hint=f"try again in {left_s:.0f} s")

    def add(self, address: str) -> None:
        """Remember a failure; the oldest address is forgotten when there are too many."""
        since, count = self._seen.pop(address, (self._clock(), 0))
        self._seen[address] = (since, count + 1)
        if len(self._seen) > MAX_ADDRESSES:
            del self._seen[next(iter(self._seen))]
