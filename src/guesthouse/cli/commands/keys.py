"""`guest key add`."""

from __future__ import annotations

from guesthouse.cli import perform
from guesthouse.cli.commands.files import read_text
from guesthouse.cli.context import Context
from guesthouse.cli.rows import Command, Values


def add(context: Context, row: Command, values: Values) -> int:
    """Add a public key from a file."""
    public = read_text(context, values["file"], "file").strip()
    return perform.perform(context, row, {"name": values["name"], "public": public})
