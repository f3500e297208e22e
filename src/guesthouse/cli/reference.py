"""docs/cli.md, rendered from the table: ``python -m guesthouse.cli.reference > docs/cli.md``."""

from __future__ import annotations

from guesthouse.cli import helptext
from guesthouse.cli.exits import EXITS
from guesthouse.cli.table import COMMANDS, SECTIONS

_ENVIRONMENT = (
    ("GUESTHOUSE_HOME", "the folder of the house; houses in different folders know nothing of each other"),
    ("GUESTHOUSE_PROJECT", "the project to work in; `--project` goes first"),
    ("GUESTHOUSE_URL", "a house on another box, like `https://host:8443`; `--url` goes first"),
    ("GUESTHOUSE_TOKEN", "the token for it, made there by `guest token create`"),
    ("GUESTHOUSE_CA", "the authority of its certificate; `--ca` goes first"),
    ("GUESTHOUSE_FINGERPRINT", "the SHA-256 of its certificate; `--fingerprint` goes first"),
    ("NO_COLOR", "no colour, even on a terminal"),
)

_HEAD = """\
# The `guest` command

*Rendered from the table in `src/guesthouse/cli/table/` by `python -m guesthouse.cli.reference`; do not edit.*

`guest` is a client of the native door (docs/api.md) and nothing else. Results go to standard output; progress, errors
and hints to standard error. With `--json` a result is one JSON document (one a line where it follows), and so is an
error: `{"error": {"code", "message", "hint", "exit_code", …}}`.

While it waits, `guest` shows phase, percent and elapsed time. Ctrl-C ends the waiting, never the work: it says how to
follow the operation, and how to cancel it."""


def render() -> str:
    """The whole document."""
    parts = [_HEAD, "## Commands", _block(helptext.of_all())]
    for section in SECTIONS:
        parts.append(f"## {section}")
        for name, row in COMMANDS.items():
            if row.section == section:
                parts += [f"### guest {name}", _block(helptext.of_command(row))]
    parts += [
        "## Exit codes",
        "They are stable.",
        _table("code", "meaning", [(str(e.code), e.meaning) for e in EXITS]),
    ]
    parts.append("`guest exec` and `guest shell` end with the exit status of what ran in the machine.")
    parts += ["## Environment", _table("variable", "meaning", [(f"`{name}`", text) for name, text in _ENVIRONMENT])]
    return "\n\n".join(parts) + "\n"


def _block(text: str) -> str:
    return f"```text\n{text}\n```"


def _table(first: str, second: str, rows: list[tuple[str, str]]) -> str:
    return "\n".join([f"| {first} | {second} |", "|---|---|", *(f"| {left} | {right} |" for left, right in rows)])


if __name__ == "__main__":
    print(render(), end="")
