"""`guest serve`: the one command that is no client; it runs the daemon in this process."""

from __future__ import annotations

import importlib

from guesthouse.cli.context import Context
from guesthouse.cli.perform import Values
from guesthouse.cli.rows import Command


def serve(context: Context, row: Command, values: Values) -> int:
    """Run the daemon of the house that the environment means, until it is told to stop."""
    # By name: the composition root stands above this floor, and no other command should pay for it.
    app = importlib.import_module("guesthouse.app")
    app.serve(context.house, values)
    return 0
