"""`guest screenshot`: what a machine's screen shows, in a file."""

from __future__ import annotations

from guesthouse.cli.commands import files
from guesthouse.cli.context import Context
from guesthouse.cli.door import segment
from guesthouse.cli.rows import Command, Values


def screenshot(context: Context, row: Command, values: Values) -> int:
    """Write the picture to a file, named after the machine where the target is a folder."""
    machine = values["machine"]
    pieces = context.door.read(f"/machines/{segment(machine)}/screenshot")
    if here := files.keep(context, pieces, values["target"], f"{machine}.png"):
        context.confirm({"machine": machine, "file": str(here)}, f"wrote {here}")
    return 0
