"""`guest operation wait`."""

from __future__ import annotations

from guesthouse.cli import wait
from guesthouse.cli.context import Context
from guesthouse.cli.door import segment
from guesthouse.cli.rows import Command, Values


def follow(context: Context, row: Command, values: Values) -> int:
    """Wait until an operation ends; ends as the operation did."""
    operation = context.door.ask("GET", f"/operations/{segment(values['operation'])}")
    ended = wait.operation(context, operation, wait.Deadline(values.get("timeout_s")))
    context.confirm(ended, row.done.format_map(ended))
    return 0
