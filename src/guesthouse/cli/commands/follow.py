"""What goes on: `guest logs` and `guest events`, and following them.

Rules
-----
1. To follow, the channel is opened first and what is past is asked for then: nothing falls between the two.
   What both told is shown once.
2. Ctrl-C is the way to end following; it is no error.
3. What a guest wrote is made harmless for a terminal; a program that reads it gets the bytes.
"""

from __future__ import annotations

import codecs
import contextlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

from guesthouse.cli import show
from guesthouse.cli.context import Context
from guesthouse.cli.door import segment
from guesthouse.cli.rows import Command, Values
from guesthouse.cli.terminal import plain_pieces
from guesthouse.model.errors import Invalid

_LOG_BYTES = 1024 * 1024
# How much of the console is looked through for what the log has told already.
_OVERLAP_BYTES = 64 * 1024
# How many events the door tells at once, at most.
_PAGE = 1000


def logs(context: Context, row: Command, values: Values) -> int:
    """Show the end of a machine's console log, and go on with it if told to."""
    if not values.get("follow"):
        log = _log(context, values)
        if context.json:
            context.give({"log": log.decode(errors="replace")}, "")
        else:
            _write(context, [log])
        return 0
    if values.get("qemu"):
        raise Invalid("QEMU's own words cannot be followed", field="qemu", hint="leave --follow or --qemu out")
    from guesthouse.cli.channel import Channel

    with _until_interrupted(), Channel(context.door, f"/machines/{segment(values['machine'])}/console") as channel:
        log = _log(context, values)
        _write(context, _continued(log, channel.messages()))
    return 0


def _log(context: Context, values: Values) -> bytes:
    path = f"/machines/{segment(values['machine'])}/log"
    log = b"".join(context.door.read(path, {"bytes": _LOG_BYTES, **({"qemu": True} if values.get("qemu") else {})}))
    return last_lines(log, values["lines"]) if "lines" in values else log


def last_lines(log: bytes, count: int) -> bytes:
    """The last lines of a log."""
    return b"".join(log.splitlines(keepends=True)[-count:]) if count else b""


def _continued(log: bytes, messages: Iterable[bytes]) -> Iterator[bytes]:
    """The log, then what comes after it; a first message that repeats the log's end is cut."""
    yield log
    rest = iter(messages)
    for first in rest:
        yield first[overlap(log, first) :]
        break
    yield from rest


def overlap(earlier: bytes, later: bytes) -> int:
    """How many bytes at the start of `later` are the end of `earlier`."""
    for length in range(min(len(earlier), len(later), _OVERLAP_BYTES), 0, -1):
        if earlier.endswith(later[:length]):
            return length
    return 0


def _write(context: Context, pieces: Iterable[bytes]) -> None:
    """Write pieces as they come: as lines of JSON, as harmless text, or as they are."""
    terminal = context.terminal
    if context.json:
        for text in _decoded(pieces):
            terminal.out(show.as_json_line({"log": text}))
            terminal.stdout.flush()
        return
    harmless = (text.encode() for text in plain_pieces(_decoded(pieces)))
    for piece in harmless if terminal.stdout.isatty() else pieces:
        terminal.write_bytes(piece)


def _decoded(pieces: Iterable[bytes]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    return (decoder.decode(piece) for piece in pieces)


def events(context: Context, row: Command, values: Values) -> int:
    """List the newest events, or tell each new one."""
    if not values.get("follow"):
        context.give_list(row.columns, _newest(context, values.get("after", 0), values.get("limit", 100)))
        return 0
    from guesthouse.cli.channel import Channel

    after = values["after"] if "after" in values else max((e["number"] for e in _newest(context, 0, 1)), default=0)
    with _until_interrupted(), Channel(context.door, "/events", {"after": after}) as channel:
        for message in channel.messages():
            _give_event(context, row, json.loads(message))
    return 0


def _newest(context: Context, after: int, limit: int) -> list[dict[str, Any]]:
    """The newest events after a number. The door tells the oldest first, so all pages are turned."""
    newest: list[dict[str, Any]] = []
    while True:
        page = context.door.ask("GET", "/events", {"after": after, "limit": _PAGE})["items"]
        newest = [*newest, *page][-limit:] if limit else []
        if len(page) < _PAGE:
            return newest
        after = page[-1]["number"]


def _give_event(context: Context, row: Command, event: dict[str, Any]) -> None:
    if context.json:
        context.terminal.out(show.as_json_line(event))
    else:
        context.terminal.out("  ".join(show.cell(column, event, context.now) for column in row.columns))
    context.terminal.stdout.flush()


@contextlib.contextmanager
def _until_interrupted() -> Iterator[None]:
    """Ctrl-C ends the block quietly."""
    with contextlib.suppress(KeyboardInterrupt):
        yield
