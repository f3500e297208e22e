"""`guest host check`."""

from __future__ import annotations

from guesthouse.cli.context import Context
from guesthouse.cli.perform import Values
from guesthouse.cli.rows import Command
from guesthouse.model.errors import KINDS

GOOD = ("ok", "note")


def check(context: Context, row: Command, values: Values) -> int:
    """Show what was found on the host; then, for what is not as it should be, what mends it."""
    findings = context.door.ask("GET", "/host/check")["items"]
    context.give_list(row.columns, findings)
    if not context.json and not context.quiet:
        for finding in findings:
            if finding["fix"]:
                context.terminal.out(f"\n{finding['name']}: {finding['fix']}")
    missing = any(finding["level"] == "missing" for finding in findings)
    return KINDS["no-capacity"].exit_code if missing else 0
