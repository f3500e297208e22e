"""`guest host check`, `guest host set` and `guest host clean`."""

from __future__ import annotations

import importlib
import textwrap
from collections.abc import Sequence

from guesthouse.cli import perform, show
from guesthouse.cli.context import Context
from guesthouse.cli.door import segment
from guesthouse.cli.rows import Column, Command, Document, Values
from guesthouse.model.errors import KINDS

_WIDTH = 80
_GAP = "  "
_NONE = "nothing: this house had no networks on this host"


def check(context: Context, row: Command, values: Values) -> int:
    """Show what was found on the host and, for what is not as it should be, what mends it."""
    findings = context.door.ask("GET", "/host/check")["items"]
    if context.json or context.quiet:
        context.give_list(row.columns, findings)
    else:
        context.terminal.out(report(row.columns, findings, context.now))
    missing = any(finding["level"] == "missing" for finding in findings)
    return KINDS["no-capacity"].exit_code if missing else 0


def change(context: Context, row: Command, values: Values) -> int:
    """Change what was named; the door takes all limits, and all labels, at once."""
    said = perform.nested({key: value for key, value in values.items() if key != "host"})
    path = f"/hosts/{segment(values.get('host', 'here'))}"
    if "limits" in said:
        said["limits"] = {**context.door.ask("GET", path)["limits"], **said["limits"]}
    if "labels" in said:
        said["labels"] = dict(said["labels"])
    changed = context.door.ask("PATCH", path, None, said)
    context.confirm(changed, row.done.format_map(changed))
    return 0


def clean(context: Context, row: Command, values: Values) -> int:
    """Remove the networks of a house that has no daemon."""
    perform.confirm(context, row, {**values, "house": context.house.home})
    # By name: the composition root stands above this floor.
    removed = importlib.import_module("guesthouse.app").clean_networks(context.house)
    context.confirm({"removed": removed}, row.done.format(removed=", ".join(removed) or _NONE))
    return 0


def report(columns: Sequence[Column], findings: Sequence[Document], now: show.Now) -> str:
    """A table whose last column is wrapped; below each finding the command that mends it, in one piece."""
    *short, _ = columns
    lines = show.table(short, findings, now).splitlines()
    left = max(map(len, lines)) + len(_GAP)
    shown = [f"{lines[0]:<{left}}{columns[-1].title}"]
    for line, finding in zip(lines[1:], findings, strict=True):
        first, *more = textwrap.wrap(show.cell(columns[-1], finding, now), _WIDTH - left, break_on_hyphens=False)
        shown.append(f"{line:<{left}}{first}")
        shown += [f"{'':{left}}{each}" for each in more]
        shown += [f"{_GAP}to mend it: {finding['fix']}"] if finding.get("fix") else []
    return "\n".join(shown)
