"""Accepting several things as one: with what a door keeps of each, and only once.

Rules
-----
1. A request with a token is remembered with what it made, in the transaction that makes it. Asked again it is answered
   with the same; another request with that token is refused.
2. What is remembered is forgotten after a day (`engine.history`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from guesthouse.engine.accept import dialect
from guesthouse.engine.accept.desk import Desk
from guesthouse.engine.accept.tenants import NewToken
from guesthouse.engine.door_intents import Keep, Piece, Tagged, Token
from guesthouse.model.dialect import DoorRecord
from guesthouse.model.errors import Conflict
from guesthouse.model.names import is_id
from guesthouse.model.resources import Operation

TOKEN = "token"  # noqa: S105 - a kind of records
REMEMBERED_S = 24 * 3600


class Rehearsed(Exception):
    """Ends a transaction that is not to be kept."""


@dataclass(frozen=True)
class Made:
    """What a piece led to: the id of what it is about, and what was accepted, None where that was before."""

    id: str
    accepted: Any = None


async def accept_piece(desk: Desk, door: str, piece: Piece, accept: Callable[[Desk, Any], Awaitable[Any]]) -> Made:
    """Accept one piece, and keep with it what the door wants to be kept."""
    accepted = await accept(desk, piece.intent)
    made = Made(_about(accepted), accepted)
    if piece.kind:
        await dialect.keep(desk, Keep(door=door, kind=piece.kind, subject=made.id, document=piece.document))
    if piece.tags:
        await dialect.tagged(desk, Tagged(subject=made.id, put=piece.tags))
    for table, tags in piece.beside.items():
        for record in await getattr(desk.tx, table).select(machine=made.id):
            await dialect.tagged(desk, Tagged(subject=record.id, put=tags))
    return made


def _about(accepted: Any) -> str:
    """The id of what was made or changed. A network's operation tells what came to be on it."""
    if not isinstance(accepted, Operation):
        return str(accepted.token.id if isinstance(accepted, NewToken) else accepted.id)
    result = accepted.context.get("result", {})
    return next((text for text in result.values() if is_id(str(text))), accepted.subject)


async def made_before(desk: Desk, door: str, once: Token) -> list[Made]:
    """What this request made when it was asked before, nothing where it was not; raises `Conflict`."""
    for record in await _remembered(desk, door, once):
        if record.document["digest"] != once.digest:
            raise Conflict(
                f"the token {once.name} was used for another request",
                subject=f"token {once.name}",
                field=TOKEN,
                value=once.name,
                hint="take another one for each request",
            )
        return [Made(id) for id in record.document["made"]]
    return []


async def remember(desk: Desk, door: str, once: Token, made: Sequence[Made]) -> None:
    """Remember what a request made."""
    document = {"digest": once.digest, "made": [each.id for each in made]}
    await dialect.keep(desk, Keep(door=door, kind=TOKEN, name=once.name, document=document))


async def _remembered(desk: Desk, door: str, once: Token) -> list[DoorRecord]:
    return await desk.tx.door_records.select(project=desk.asker.project, door=door, kind=TOKEN, name=once.name)
