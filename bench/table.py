"""What a bench found: rows of a table, for a terminal and for docs/performance.md."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

HEADERS = ("what", "here", "beside it", "target", "met")


@dataclass(frozen=True)
class Row:
    """One line: what was measured, how it came out, what stood beside it, and whether that is good enough."""

    what: str
    here: str
    beside: str = ""
    target: str = ""
    met: bool | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        met = "" if self.met is None else "yes" if self.met else "NO"
        return self.what, self.here, self.beside, self.target, met


@dataclass(frozen=True)
class Section:
    """The rows of one bench, and what a reader should know about them."""

    title: str
    rows: Sequence[Row]
    notes: Sequence[str] = field(default=())


def median_ms(samples_s: Iterable[float]) -> float:
    """The median of times in seconds, in milliseconds."""
    return statistics.median(samples_s) * 1000


def spread(samples_s: Sequence[float]) -> str:
    """A median with its quartiles, in milliseconds: ``112 ms (105-131)``."""
    low, middle, high = statistics.quantiles(samples_s, n=4, method="inclusive")
    return f"{middle * 1000:.0f} ms ({low * 1000:.0f}-{high * 1000:.0f})"


def limited(what: str, samples_s: Sequence[float], limit_ms: float, beside: str = "") -> Row:
    """A row whose median may be so long."""
    return Row(what, spread(samples_s), beside, f"≤ {limit_ms:.0f} ms", median_ms(samples_s) <= limit_ms)


def plain(section: Section) -> str:
    """A section for a terminal."""
    widths = _widths(section.rows)
    lines = [section.title, _line(HEADERS, widths), _line(["-" * width for width in widths], widths)]
    lines += [_line(row.cells, widths) for row in section.rows]
    return "\n".join(lines + [f"  {note}" for note in section.notes])


def markdown(section: Section) -> str:
    """A section for a document."""
    lines = [f"### {section.title}", "", _cells(HEADERS), _cells(["---"] * len(HEADERS))]
    lines += [_cells(row.cells) for row in section.rows]
    return "\n".join([*lines, *(["", *section.notes] if section.notes else [])])


def _widths(rows: Sequence[Row]) -> list[int]:
    return [max(map(len, column)) for column in zip(HEADERS, *(row.cells for row in rows), strict=True)]


def _line(cells: Iterable[str], widths: Iterable[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _cells(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
