"""From a request and where it came from to its answer: who asks, what everybody is refused, which dialect is meant.

Rules
-----
1. Who is not known where he stands gets 404, whatever he asks: nobody learns who is.
2. What `RULES` say is refused in every dialect, before it looks at the request.
3. An answer passes as few routers as the machine's options say, also that to a request which was refused.
4. What nobody foresaw is logged whole and told as 500 without a word of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NamedTuple, Protocol

from guesthouse.doors.metadata import azure, ec2, gce
from guesthouse.doors.metadata.identity import Identity
from guesthouse.doors.metadata.messages import Answer, Call, Request
from guesthouse.doors.metadata.tokens import Tokens
from guesthouse.model.errors import GuesthouseError
from guesthouse.model.metadata import Asked, Dialect

NAMES = frozenset({"metadata", "metadata.google.internal", "instance-data", "instance-data.ec2.internal"})
"""What the clouds call their service; their programs ask by these names."""

LOOK_S = 10.0
"""How long it may take to find out who asks."""

_log = logging.getLogger(__name__)


class Register(Protocol):
    """Knows the machines."""

    async def who(self, network: str, address: str) -> Asked | None:
        """The machine with a NIC on the network (an id) that has this address, as `ipaddress` writes it."""

    def watch(self, machine: str) -> AsyncIterator[None]:
        """An item at once, then one whenever what `who` says of the machine may be another: a hint to look."""


class Asker(NamedTuple):
    """Where a request comes from. `mark` is the connection's, 0 where the kernel gave it none.

    `pace` is waited for before the machine is looked up once more.
    """

    network: str
    address: str
    mark: int
    pace: Callable[[], Awaitable[None]]


class Reply(NamedTuple):
    """An answer, and how many routers it may pass, less one; 0 leaves that to the host."""

    answer: Answer
    hops: int = 0


class Case(NamedTuple):
    """A request as everybody's rules see it: what is asked, by whom, from which address, in whose words."""

    request: Request
    asked: Asked
    address: str
    dialect: Dialect


class Rule(NamedTuple):
    """What everybody is refused: with which status, what that is for people, and whether a request is such."""

    status: int
    about: str
    breaks: Callable[[Case], bool]


def _has_foreign_name(case: Case) -> bool:
    """A web page can have a name of its own lead here (DNS rebinding); an address or the clouds' names it cannot."""
    host = case.request.host
    if host in NAMES or not host:
        return False
    try:
        ip_address(host)
    except ValueError:
        return True
    return False


RULES = (
    Rule(403, "the service is off for this machine", lambda case: not case.asked.options.enabled),
    Rule(403, "the machine's options leave IPv6 out, and it asks over that",
         lambda case: ":" in case.address and not case.asked.options.ipv6),
    Rule(403, "the machine's options leave this dialect out",
         lambda case: case.dialect not in case.asked.options.dialects),
    Rule(403, "`X-Forwarded-For` tells of a proxy, which would ask for somebody else",
         lambda case: "x-forwarded-for" in case.request.headers),
    Rule(403, f"`Host` is neither an address nor one of {', '.join(sorted(NAMES))}", _has_foreign_name),
)  # fmt: skip


@dataclass(frozen=True)
class Spoken:
    """How a dialect is known, and who answers in it."""

    dialect: Dialect
    is_meant: Callable[[Request], bool]
    answer: Callable[[Call], Answer]
    refusal: Callable[[int, str], Answer]


SPOKEN = (
    Spoken(Dialect.GCE, gce.is_meant, gce.answer, gce.refusal),
    Spoken(Dialect.AZURE, azure.is_meant, azure.answer, azure.refusal),
    Spoken(Dialect.EC2, lambda request: True, ec2.answer, ec2.refusal),
)


class Application:
    """Answers requests; `clock` gives the seconds since the epoch."""

    def __init__(
        self, register: Register, tokens: Tokens, identity: Identity | None, clock: Callable[[], float]
    ) -> None:
        self._register = register
        self._tokens = tokens
        self._identity = identity
        self._clock = clock

    async def answer(self, request: Request, asker: Asker) -> Reply:
        """The answer, at once or when what is waited for has come."""
        try:
            return await self._answer(request, asker)
        except (GuesthouseError, TimeoutError) as error:
            _log.warning("metadata: %r cannot be answered: %s", request.path, error or "nobody says who asks")
            return Reply(Answer(503, b"503 ask again later\n"))
        except Exception:
            _log.exception("metadata: %r %r went wrong in an unforeseen way", request.method, request.path)
            return Reply(Answer(500, b"500 something went wrong\n"))

    async def _answer(self, request: Request, asker: Asker) -> Reply:
        spoken = next(each for each in SPOKEN if each.is_meant(request))
        reply, machine = await self._look(request, asker, spoken)
        wait = gce.wait_of(request.query) if reply.answer.etag else None
        if wait is None or (wait.last_etag and wait.last_etag != reply.answer.etag):
            return reply
        last = reply.answer.etag
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait.timeout_s):
                async for _ in self._register.watch(machine):
                    reply, _ = await self._look(request, asker, spoken, machine)
                    if reply.answer.etag != last:
                        break
                    await asker.pace()
        return reply

    async def _look(self, request: Request, asker: Asker, spoken: Spoken, machine: str = "") -> tuple[Reply, str]:
        """The answer as things are, and the id of the machine that it is for: `machine`, where that is said."""
        asked = await self._who(asker)
        if asked is None or machine not in ("", asked.machine):
            return Reply(spoken.refusal(404, "nobody is known here")), ""
        return self._now(Case(request, asked, asker.address, spoken.dialect), spoken), asked.machine

    async def _who(self, asker: Asker) -> Asked | None:
        """Who asks, where the kernel's word on it is the same."""
        async with asyncio.timeout(LOOK_S):
            asked = await self._register.who(asker.network, asker.address)
        nic = asked.nic_at(asker.address) if asked is not None else None
        return asked if nic is not None and asker.mark in (0, nic.number) else None

    def _now(self, case: Case, spoken: Spoken) -> Reply:
        hops = case.asked.options.hop_limit
        for rule in RULES:
            if rule.breaks(case):
                return Reply(spoken.refusal(rule.status, rule.about), hops)
        call = Call(case.request, case.asked, self._clock(), self._tokens, self._identity)
        return Reply(spoken.answer(call), hops)
