"""Work under way: who is told how far it is, and where tests may step in."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told by long work how far it is; whoever started the work shows it."""

    def __call__(self, phase: str, percent: float | None = None) -> None:
        """`phase` is a word or two for people ("converting"); `percent` is 0-100, None where unknown."""


class Checkpoint(Protocol):
    """Called before and after every step of every operation: a test may end the daemon there."""

    async def __call__(self, kind: str, step: str, edge: str) -> None: ...
