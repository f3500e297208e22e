"""The `guest` command: reads the command line, runs the command, tells errors, returns the exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from guesthouse.cli.build import Run, root
from guesthouse.cli.exits import BROKEN_PIPE, INTERRUPTED, exit_code
from guesthouse.cli.terminal import Terminal, standard
from guesthouse.model.errors import GuesthouseError, Invalid


def main() -> None:
    """Entry point of the console script."""
    terminal = standard()
    code = run(sys.argv[1:], terminal)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        terminal.close_output()
        code = BROKEN_PIPE
    sys.exit(code)


def run(arguments: Sequence[str], terminal: Terminal) -> int:
    """Run one command line; returns its exit code (see `exits.EXITS`)."""
    try:
        result = root().main(list(arguments), prog_name="guest", standalone_mode=False, obj=Run(terminal, {}))
        return int(result or 0)
    except GuesthouseError as error:
        return _tell(terminal, error, arguments)
    except click.UsageError as error:
        return _tell(terminal, _usage(error), arguments)
    except click.Abort:
        return INTERRUPTED
    except BrokenPipeError:
        terminal.close_output()
        return BROKEN_PIPE


def _tell(terminal: Terminal, error: GuesthouseError, arguments: Sequence[str]) -> int:
    from guesthouse.cli.failures import tell

    ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
    tell(terminal, error, as_json="--json" in ours)
    return exit_code(error)


def _usage(error: click.UsageError) -> Invalid:
    path = error.ctx.command_path if error.ctx else "guest"
    message = error.format_message().rstrip(".")
    return Invalid(message[:1].lower() + message[1:], hint=f"`{path} --help` shows how it is used")
