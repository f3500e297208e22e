"""The seams by which engine, host, store and cluster meet; each a Protocol of one to four methods."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told by long work how far it is; whoever started the work shows it."""

    def __call__(self, phase: str, percent: float | None = None) -> None:
        """`phase` is a word or two for people ("converting"); `percent` is 0-100, None where unknown."""
