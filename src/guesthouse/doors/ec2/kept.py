"""What this door keeps of things that are not its own: records about them, changed or begun as pieces of a request."""

from __future__ import annotations

from typing import Any

from guesthouse.doors.ec2.rows import DOOR
from guesthouse.engine.door_intents import Forget, Keep, Piece, Rewrite
from guesthouse.engine.stock import Stock
from guesthouse.model.dialect import DoorRecord


def record(stock: Stock, subject: str, kind: str) -> DoorRecord | None:
    """This door's record of that kind about a thing; None where there is none."""
    found = stock.records_of.get(subject, ())
    return next((each for each in found if each.door == DOOR and each.kind == kind), None)


def document(stock: Stock, subject: str, kind: str) -> dict[str, Any]:
    """What such a record says, empty where there is none."""
    found = record(stock, subject, kind)
    return found.document if found else {}


def rewriting(stock: Stock, subject: str, kind: str, parts: dict[str, Any]) -> Piece:
    """Change parts of a record about a thing, or begin one; None takes a part out."""
    if (found := record(stock, subject, kind)) is not None:
        return Piece(intent=Rewrite(record=found.id, parts=parts))
    said = {name: part for name, part in parts.items() if part is not None}
    return Piece(intent=Keep(door=DOOR, kind=kind, subject=subject, document=said))


def forgetting(stock: Stock, subject: str) -> list[Piece]:
    """Forget all that this door keeps of a thing."""
    records = (each for each in stock.records_of.get(subject, ()) if each.door == DOOR)
    return [Piece(intent=Forget(record=each.id)) for each in records]
