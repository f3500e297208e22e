"""qemu-img: the arguments, its progress, and what its complaints mean.

Rules
-----
1. It never guesses: an input is a `node`, which names the driver, the file as a plain file, and what is below it
   (nothing, unless we put it there). No name in a header is followed.
2. It never ignores a lock (``-U``): a disk that a machine writes is a conflict.
3. What it says is translated by the table `_MEANINGS`; anything else is shown as it is.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from guesthouse.model.errors import ChildFailed, Conflict, GuesthouseError, Invalid, NoCapacity
from guesthouse.ports import Progress

_PERCENT = re.compile(r"\(([0-9.]+)/100%\)")
_CAN_BE_OVERLAID = {"qcow2", "vmdk"}
CHECK_FOUND_DAMAGE = (1, 2)  # could not be read to its end; read, with errors
CHECK_FOUND_NONE = (3, 63)  # leaked clusters only; no check for this format


class Meaning(NamedTuple):
    """A row: what qemu-img says, the error it becomes, and the words for it."""

    says: re.Pattern[str]
    kind: type[GuesthouseError]
    message: str
    hint: str


_MEANINGS = (
    Meaning(
        re.compile("No space left on device|Disk quota exceeded"),
        NoCapacity,
        "the disk of this host is full",
        "make room and try again; nothing was left behind",
    ),
    Meaning(
        re.compile("File too large"),
        Invalid,
        "it holds more data than is allowed",
        "a small file that unpacks to so much may be meant to fill the host",
    ),
    Meaning(
        re.compile("Failed to get .* lock"),
        Conflict,
        "a running machine holds the disk",
        "stop the machine first",
    ),
    Meaning(
        re.compile("[Tt]runcated|points? after (the )?end of|past the end of|after EOF"),
        Invalid,
        "it is truncated or damaged",
        "download or copy it again",
    ),
)


def node(driver: str, filename: str, below: str | None = None) -> str:
    """A file as QEMU block node, in the ``json:`` form that qemu-img takes for a file name.

    `below` is the node of the layer under it, as this function returned it; without one, a layer that the
    header may name is not opened. See QEMU's docs/system/qemu-block-drivers.rst and qapi/block-core.json.
    """
    parts: dict[str, Any] = {"driver": driver, "file": {"driver": "file", "filename": filename}}
    if below is not None:
        parts["backing"] = json.loads(below.removeprefix("json:"))
    elif driver in _CAN_BE_OVERLAID:
        parts["backing"] = None
    return "json:" + json.dumps(parts)


def on_percent(progress: Progress, phase: str) -> Callable[[str], None]:
    """Reads the progress meter of ``-p`` and tells `progress`."""

    def read(line: str) -> None:
        found = _PERCENT.search(line)
        if found:
            progress(phase, float(found[1]))

    return read


@contextlib.contextmanager
def understood(name: str, doing: str) -> Iterator[None]:
    """Turn a failure of qemu-img into what it means for the image called `name`; `doing` completes "while ..."."""
    try:
        yield
    except ChildFailed as error:
        meant = _meaning(error, name, doing)
        if meant is None:
            raise
        raise meant from error


def _meaning(error: ChildFailed, name: str, doing: str) -> GuesthouseError | None:
    if -error.status in (signal.SIGXCPU, signal.SIGKILL):
        message = f"{name}: {doing} it takes more processor time than is allowed"
        return Invalid(message, subject=name, field="image", hint="it may be made to keep the host busy")
    said = "\n".join(error.lines)
    for row in _MEANINGS:
        if row.says.search(said):
            field = "image" if row.kind is Invalid else ""
            return row.kind(f"{name}: while {doing} it, {row.message}", subject=name, field=field, hint=row.hint)
    return None
