"""How errors are told: two lines for people, one JSON document for programs."""

from __future__ import annotations

from guesthouse.cli import show
from guesthouse.cli.exits import exit_code
from guesthouse.cli.terminal import Terminal
from guesthouse.model.errors import GuesthouseError


def tell(terminal: Terminal, error: GuesthouseError, *, as_json: bool) -> None:
    """Tell an error on standard error."""
    if as_json:
        terminal.clear_progress()
        document = {"error": {**error.as_dict(), "exit_code": exit_code(error)}}
        terminal.stderr.write(show.as_json(document) + "\n")
        terminal.stderr.flush()
        return
    terminal.problem("error", error.message)
    if error.hint:
        terminal.problem("hint", error.hint)
