"""How long operations took, as a Prometheus histogram by project, kind and how they ended.

Rules
-----
1. It is told by the event log: an operation's time runs from its ``KIND.accepted`` to its ``KIND.done``,
   ``.failed`` or ``.cancelled``. What ended before the door opened is not counted, so that a restart counts
   nothing twice.
2. Events are read when somebody asks for metrics, from where the last reading ended.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

from guesthouse.model.resources import ENDED, Event

BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
_BATCH = 1000


@dataclass
class Histogram:
    """Counts by bucket (the last one is of all that took longer) and the sum of all, in seconds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    sum_s: float = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.sum_s += seconds

    def cumulative(self) -> Iterator[tuple[str, float]]:
        """Pairs of upper bound and how many took no longer, as Prometheus has them."""
        total = 0
        for bound, count in zip((*map(str, BUCKETS_S), "+Inf"), self.counts, strict=True):
            total += count
            yield bound, float(total)


class Durations:
    """What was learnt from the events so far."""

    def __init__(self) -> None:
        self.histograms: dict[tuple[str, str, str], Histogram] = {}
        self._after: dict[str, int] = {}
        self._start = 0
        self._begun: dict[str, float] = {}

    def begin(self, number: int) -> None:
        """Count what ends after this event."""
        self._start = number

    async def read(self, project: str, events: Callable[[int, int], Awaitable[Sequence[Event]]]) -> None:
        """Read on in a project's log; `events` gives those after a number, at most so many."""
        while batch := await events(self._after.get(project, self._start), _BATCH):
            self._after[project] = batch[-1].number
            for event in batch:
                self._learn(event)

    def _learn(self, event: Event) -> None:
        operation = event.data.get("operation", "")
        kind, _, word = event.kind.rpartition(".")
        if word == "accepted":
            self._begun[operation] = event.at
        elif word in _ENDINGS and operation in self._begun:
            seconds = max(0.0, event.at - self._begun.pop(operation))
            self.histograms.setdefault((event.project, kind, word), Histogram()).add(seconds)


_ENDINGS = frozenset(state.value for state in ENDED)
