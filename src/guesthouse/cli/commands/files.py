"""Files that a command is told to read."""

from __future__ import annotations

from pathlib import Path

from guesthouse.cli.context import Context
from guesthouse.model.errors import Invalid


def read_text(context: Context, written: str, field: str) -> str:
    """The text of a file, or of standard input for ``-``; raises `Invalid` naming what cannot be read."""
    try:
        return read_bytes(context, written, field).decode()
    except UnicodeDecodeError:
        raise Invalid(f"{field} {written} is no text (UTF-8)", field=field, value=written) from None


def read_bytes(context: Context, written: str, field: str) -> bytes:
    """What a file, or standard input for ``-``, holds; raises `Invalid` naming what cannot be read."""
    try:
        return context.terminal.byte_input.read() if written == "-" else Path(written).expanduser().read_bytes()
    except OSError as error:
        raise Invalid(
            f"{field} {written}: {(error.strerror or str(error)).lower()}", field=field, value=written
        ) from None
