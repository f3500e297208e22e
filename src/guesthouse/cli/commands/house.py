"""`guest house upgrade`."""

from __future__ import annotations

import importlib

from guesthouse.cli.context import Context
from guesthouse.cli.rows import Command, Values


def upgrade(context: Context, row: Command, values: Values) -> int:
    """Move the house's records to another database, telling of each table."""

    def say(table: str, count: int) -> None:
        if count and not context.quiet and not context.json:
            context.terminal.note(f"{count:>7,} {table}")

    # By name: the composition root stands above this floor.
    app = importlib.import_module("guesthouse.app")
    told = {"records": app.upgrade_house(context.house, values["to"], say)}
    context.confirm(told, row.done.format_map(told))
    return 0
