"""docs/ec2.md: what the EC2 door understands, made from its table and the shapes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from guesthouse.doors.ec2.dialects import Service, input_paths
from guesthouse.doors.ec2.rows import Row

_GENERIC = frozenset({"DryRun", "Filter", "Filters", "MaxResults", "NextToken"})


def reference(head: str, groups: Mapping[str, tuple[Row, ...]], service: Service) -> str:
    """The whole page, in Markdown: `head`, a table of the operations, then each of them."""
    parts = [head.rstrip(), "", "## Operations", ""]
    for title, rows in groups.items():
        parts += [f"### {title}", "", "| operation | what it does |", "|---|---|"]
        parts += [f"| [{row.action}](#{row.action.lower()}) | {row.about} |" for row in rows]
        parts.append("")
    parts += ["## Each operation", ""]
    for rows in groups.values():
        for row in rows:
            parts += _operation(row, service)
    return "\n".join(parts)


def _operation(row: Row, service: Service) -> Iterator[str]:
    paths = input_paths(service.shapes, row.action)
    understood = [path for path in paths if service.understands(row, path)]
    refused = [path for path in paths if path not in understood and path not in row.harmless]
    yield from (f"### {row.action}", "", f"{row.about}.", "")
    shown = [path for path in understood if path.partition(".")[0] not in _GENERIC]
    yield from _words("Understood", shown)
    yield from _words("Only with this value", [f"{path}={_said(value)}" for path, value in row.harmless.items()])
    yield from _words("Refused by name", refused)
    if row.listing is not None:
        yield from _filters(row, service)


def _filters(row: Row, service: Service) -> Iterator[str]:
    documented = service.shapes.operations[row.action].filters
    if not documented:
        return
    ways = service.ways(row.action)
    yield from ("Filters, and where they look:", "")
    yield from ("| filter | looks at |", "|---|---|")
    for name in documented:
        way = ways.get(name)
        told = "nothing: refused" if way is None else way if isinstance(way, str) else (way.__doc__ or "").rstrip(".")
        yield f"| {name} | {told} |"
    yield ""


def _words(title: str, words: Iterable[str]) -> Iterator[str]:
    if said := ", ".join(words):
        yield from (f"{title}: {said}.", "")


def _said(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
