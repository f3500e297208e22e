"""`guest completion`."""

from __future__ import annotations

from guesthouse.cli.complete import SHELLS, script
from guesthouse.cli.context import Context
from guesthouse.cli.perform import Values
from guesthouse.cli.rows import Command
from guesthouse.model.errors import Invalid


def completion(context: Context, row: Command, values: Values) -> int:
    """Print the completion script of a shell."""
    if values["shell"] not in SHELLS:
        raise Invalid(
            f"no completion for {values['shell']!r}", field="shell", value=values["shell"], hint="bash, zsh or fish"
        )
    context.terminal.out(script(values["shell"]))
    return 0
