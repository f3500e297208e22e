"""The `guest` command: reads the command line, runs the command, tells errors, returns the exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from guesthouse.cli.build import COMPLETE_VARIABLE, Run, root
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
    command = root()
    try:
        if instruction := terminal.environment.get(COMPLETE_VARIABLE):
            return _complete(command, instruction)
        with command.make_context("guest", list(arguments), obj=Run(terminal, {})) as context:
            return int(command.invoke(context) or 0)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except GuesthouseError as error:
        return _tell(terminal, error, arguments)
    except click.UsageError as error:
        return _tell(terminal, _usage(error), arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        terminal.close_output()
        return BROKEN_PIPE


def _complete(command: click.Command, instruction: str) -> int:
    """Answer the shell, which asks by way of the environment."""
    from click.shell_completion import shell_complete

    return shell_complete(command, {}, "guest", COMPLETE_VARIABLE, instruction)


def _tell(terminal: Terminal, error: GuesthouseError, arguments: Sequence[str]) -> int:
    from guesthouse.cli.failures import tell

    ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
    tell(terminal, error, as_json="--json" in ours)
    return exit_code(error)


def _usage(error: click.UsageError) -> Invalid:
    path = error.ctx.command_path if error.ctx else "guest"
    message = error.format_message().rstrip(".")
    return Invalid(message[:1].lower() + message[1:], hint=f"`{path} --help` shows how it is used")
