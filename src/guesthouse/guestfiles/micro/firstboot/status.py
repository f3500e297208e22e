"""`cloud-init status`: the outcome for those who look for it where cloud-init puts it.

Source: cloud-init's reference of the command line.
"""

from __future__ import annotations

import fcntl
import json

from .boot import LOCK
from .guest import Guest
from .outcome import RESULT, STATUS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

USAGE = "usage: cloud-init status [--wait] [--long] [--format json]"


def main(guest: Guest, arguments: Sequence[str]) -> tuple[int, str]:
    """Exit status (0 done or running, 1 error, 2 wrong usage) and what to print."""
    options = set(arguments[1:])
    if list(arguments[:1]) != ["status"] or options - {
        "--wait",
        "--long",
        "-w",
        "-l",
        "--format",
        "--format=json",
        "json",
    }:
        return 2, USAGE
    if options & {"--wait", "-w"}:
        _wait(guest)
    word, detail, errors = _read(guest)
    failed = 1 if word == "error" else 0
    if options & {"--format", "--format=json"}:
        return failed, json.dumps({"status": word, "detail": detail, "errors": errors}, indent=1)
    if options & {"--long", "-l"}:
        return failed, "\n".join([f"status: {word}", "detail:", *(errors or [detail])])
    return failed, f"status: {word}"


def _wait(guest: Guest) -> None:
    with open(guest.path(LOCK), "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)


def _read(guest: Guest) -> tuple[str, str, list[str]]:
    result: dict[str, Any] = json.loads(guest.read(RESULT) or "{}")
    if "v1" in result:
        errors = result["v1"]["errors"]
        return ("error" if errors else "done"), result["v1"]["datasource"], errors
    status: dict[str, Any] = json.loads(guest.read(STATUS) or "{}")
    if "v1" not in status:
        return "not run", "", []
    return "running", status["v1"]["datasource"], []
