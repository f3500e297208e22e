"""`guest completion`."""

from __future__ import annotations

from click.shell_completion import get_completion_class

from guesthouse.cli.build import COMPLETE_VARIABLE, root
from guesthouse.cli.complete import SHELLS
from guesthouse.cli.context import Context
from guesthouse.cli.rows import Command, Values
from guesthouse.model.errors import Invalid


def completion(context: Context, row: Command, values: Values) -> int:
    """Print the completion script of a shell."""
    if values["shell"] not in SHELLS:
        raise Invalid(
            f"no completion for {values['shell']!r}", field="shell", value=values["shell"], hint="bash, zsh or fish"
        )
    context.terminal.out(script(values["shell"]))
    return 0


def script(shell: str) -> str:
    """The completion script of a shell: it calls `guest` back, with click's protocol for the shell."""
    kind = get_completion_class(shell)
    assert kind is not None
    return kind(root(), {}, "guest", COMPLETE_VARIABLE).source().strip("\n")
