"""How `guest` ends: its exit codes, one row each. Stable; docs/cli.md is rendered from them.

Rules
-----
1. Errors of the house carry the exit code of their kind (`model.errors.KINDS`).
2. What only the command line knows has rows of its own, from 20 on.
3. `exec` and `shell` end with the exit status of what ran in the guest.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from guesthouse.model.errors import KINDS, Failed, GuesthouseError


class Exit(NamedTuple):
    """An exit code and what it means."""

    code: int
    meaning: str


CLOUD_INIT_FAILED = 20
NO_DAEMON = 21
INTERRUPTED = 130
BROKEN_PIPE = 141

_MEANINGS = {
    "failed": "it was tried and did not work",
    "invalid": "the command or its values are wrong; nothing has changed",
    "not-found": "no such thing in this project",
    "conflict": "its state, or a name already taken, stands in the way",
    "denied": "not allowed",
    "quota-exceeded": "the project's limit is reached",
    "no-capacity": "the host lacks memory, disk space or a feature",
    "timed-out": "it did not happen in time; it may still happen",
}

EXITS: tuple[Exit, ...] = (
    Exit(0, "done"),
    *(Exit(kind.exit_code, _MEANINGS[code]) for code, kind in KINDS.items()),
    Exit(CLOUD_INIT_FAILED, "the machine runs, but cloud-init failed in it"),
    Exit(NO_DAEMON, "no daemon answers"),
    Exit(INTERRUPTED, "interrupted with Ctrl-C; an operation that was waited for goes on"),
    Exit(BROKEN_PIPE, "whoever read the output went away"),
)


class NoDaemon(Failed):
    """Nobody listens where the house's door should be."""

    exit_code = NO_DAEMON


class CloudInitFailed(Failed):
    """The machine runs; its configuration did not work."""

    exit_code = CLOUD_INIT_FAILED


class Interrupted(Failed):
    """Ctrl-C: says what goes on without us."""

    exit_code = INTERRUPTED


def exit_code(error: GuesthouseError) -> int:
    """The code that a command ends with when this error ends it."""
    own: Any = getattr(error, "exit_code", None)
    return int(own) if own is not None else error.kind.exit_code
