"""Files that a command is told to read or to write."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
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


def keep(context: Context, pieces: Iterable[bytes], target: str, name: str) -> Path | None:
    """Write pieces to a file, called `name` where `target` is a folder; where it is. ``-`` is standard output.

    It is written beside its place and put there when it is whole; raises `Invalid` where it cannot be.
    """
    if target == "-":
        for piece in pieces:
            context.terminal.write_bytes(piece)
        return None
    here = Path(target)
    if here.is_dir() or target.endswith("/"):
        here /= name
    beside = here.with_name(f".{here.name}.{secrets.token_hex(4)}")
    try:
        with beside.open("xb") as stream:
            for piece in pieces:
                stream.write(piece)
        beside.replace(here)
    except OSError as error:
        raise Invalid(f"{here}: {(error.strerror or str(error)).lower()}", field="target", value=target) from None
    finally:
        beside.unlink(missing_ok=True)
    return here
