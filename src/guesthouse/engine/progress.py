"""How far running operations are, and who wants to know.

Rules
-----
1. Progress lives in memory only: after a restart the owner reports anew. What must last is in the row.
2. Waiting is for an event: `Changes.wait` returns at the next change of that subject, never by polling.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field

import msgspec

from guesthouse.model.resources import ENDED, Operation, OperationRow
from guesthouse.ports import Progress

EVERYTHING = "*"


def end_of(operation_id: str) -> str:
    """The subject whose bell rings once: when the operation has ended."""
    return f"{operation_id}/end"


class Changes:
    """A bell per subject (an operation's or a machine's id, `end_of` an operation), one per kind of operations that are
    accepted, and one for everything."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    def ring(self, *subjects: str) -> None:
        """Wake all who wait for one of these subjects, or for everything."""
        for subject in (*subjects, EVERYTHING):
            for event in self._waiting.get(subject, ()):
                event.set()

    def ring_all(self) -> None:
        """Wake everyone: what has changed elsewhere may be what they wait for."""
        self.ring(*self._waiting)

    def listen(self, subject: str) -> Listener:
        """Start to listen: what rings from now on is not missed. Use it as a context manager."""
        return Listener(self._waiting, subject)


class Listener:
    """One who waits for a bell; changes between two waits are remembered."""

    def __init__(self, waiting: defaultdict[str, set[asyncio.Event]], subject: str) -> None:
        self._waiting, self._subject, self._event = waiting, subject, asyncio.Event()

    def __enter__(self) -> Listener:
        self._waiting[self._subject].add(self._event)
        return self

    def __exit__(self, *exc: object) -> None:
        listeners = self._waiting[self._subject]
        listeners.discard(self._event)
        if not listeners:
            del self._waiting[self._subject]

    async def wait(self, timeout_s: float) -> bool:
        """True at the next change, False when time is over."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True


class Place(msgspec.Struct, frozen=True):
    """Where a running operation is."""

    step: str = ""
    phase: str = ""
    percent: float | None = None


@dataclass
class Board:
    """The places of running operations, by operation id."""

    changes: Changes
    places: dict[str, Place] = field(default_factory=dict)

    def reporter(self, operation: OperationRow | None, step: str) -> Progress:
        """A `Progress` that writes on the board for this operation; without one it says nothing."""

        def report(phase: str, percent: float | None = None) -> None:
            if operation is not None:
                self.places[operation.id] = Place(step, phase, None if percent is None else round(percent, 1))
                self.changes.ring(operation.id)

        return report

    def forget(self, operation_id: str) -> None:
        """The operation has ended."""
        self.places.pop(operation_id, None)
        self.changes.ring(operation_id, end_of(operation_id))

    def shown(self, operation: Operation) -> Operation:
        """The operation with its place merged in."""
        place = self.places.get(operation.id)
        if place is None or operation.state in ENDED:
            return operation
        return msgspec.structs.replace(operation, step=place.step, phase=place.phase, percent=place.percent)
