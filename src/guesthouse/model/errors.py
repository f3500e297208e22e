"""What can go wrong, as eight kinds.

Rules
-----
1. Every error the product raises on purpose is one of these kinds; a kind has one row in `KINDS`.
2. An error tells its *subject* (what it is about: ``machine web``), the *field* and *value* at fault where
   there is one, and a *hint*: what the reader can do now.
3. Doors translate kinds to their dialect by table (HTTP status, exit code, EC2 code); never by text.
4. A failed child process shows its command and its last lines (`ChildFailed`).

    GuesthouseError
    ├── Invalid            the request itself is wrong; nothing has changed
    ├── NotFound           no such thing in this project
    ├── Conflict           it is there, but its state or a name stands in the way
    ├── Denied             not logged in, or the role does not allow it
    ├── QuotaExceeded      the project's limit
    ├── NoCapacity         the host lacks memory, disk or a feature
    ├── Failed             it was tried and did not work
    │   └── ChildFailed    ... in a program that we started
    └── TimedOut           it did not happen in time
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple


class Kind(NamedTuple):
    """One kind of error: its wire code, HTTP status and the exit code of `guest`."""

    code: str
    http_status: int
    exit_code: int


KINDS: dict[str, Kind] = {
    kind.code: kind
    for kind in (
        Kind("failed", 500, 1),
        Kind("invalid", 400, 2),
        Kind("not-found", 404, 3),
        Kind("conflict", 409, 4),
        Kind("denied", 403, 5),
        Kind("quota-exceeded", 403, 6),
        Kind("no-capacity", 507, 7),
        Kind("timed-out", 504, 8),
    )
}


class GuesthouseError(Exception):
    """Base of all errors raised on purpose; carries subject, field, value and hint apart from the message."""

    code: ClassVar[str] = "failed"

    def __init__(
        self, message: str, *, subject: str = "", field: str = "", value: object = None, hint: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.subject = subject
        self.field = field
        self.value = value
        self.hint = hint

    @property
    def kind(self) -> Kind:
        """The row of `KINDS` this error belongs to."""
        return KINDS[self.code]

    def as_dict(self) -> dict[str, str]:
        """The error as it is stored in an operation and sent over the wire; empty parts are left out."""
        parts = {
            "code": self.code,
            "message": self.message,
            "subject": self.subject,
            "field": self.field,
            "value": "" if self.value is None else str(self.value),
            "hint": self.hint,
        }
        return {name: part for name, part in parts.items() if part}

    def __str__(self) -> str:
        return self.message


class Invalid(GuesthouseError):
    """The request is wrong in itself; nothing has changed."""

    code = "invalid"


class NotFound(GuesthouseError):
    """There is no such thing, or not in this project."""

    code = "not-found"


class Conflict(GuesthouseError):
    """The thing is there, but its state, or a name already taken, stands in the way."""

    code = "conflict"


class Denied(GuesthouseError):
    """The asker is unknown, or its role does not allow this."""

    code = "denied"


class QuotaExceeded(GuesthouseError):
    """The project has used up a limit; says used and limit."""

    code = "quota-exceeded"


class NoCapacity(GuesthouseError):
    """This host lacks memory, disk space or a feature."""

    code = "no-capacity"


class Failed(GuesthouseError):
    """It was tried and did not work."""

    code = "failed"


class ChildFailed(Failed):
    """A program that we started ended badly: its command, exit status and last lines."""

    def __init__(self, argv: Sequence[str], status: int, output: str, *, subject: str = "", hint: str = "") -> None:
        lines = [line for line in output.strip().splitlines() if line.strip()][-10:]
        ended = f"exit status {status}" if status >= 0 else f"signal {-status}"
        said = "".join(f"\n  {line}" for line in lines)
        super().__init__(f"{argv[0]} ended with {ended}: {' '.join(argv)}{said}", subject=subject, hint=hint)
        self.argv = tuple(argv)
        self.status = status
        self.lines = tuple(lines)


class TimedOut(GuesthouseError):
    """It did not happen in the time given; what was being waited for may still happen."""

    code = "timed-out"


_CLASSES: dict[str, type[GuesthouseError]] = {
    cls.code: cls for cls in (Failed, Invalid, NotFound, Conflict, Denied, QuotaExceeded, NoCapacity, TimedOut)
}


def from_dict(parts: dict[str, str]) -> GuesthouseError:
    """Rebuild an error from `GuesthouseError.as_dict`; an unknown code becomes `Failed`."""
    cls = _CLASSES.get(parts.get("code", "failed"), Failed)
    return cls(
        parts.get("message", "unknown error"),
        subject=parts.get("subject", ""),
        field=parts.get("field", ""),
        value=parts.get("value"),
        hint=parts.get("hint", ""),
    )
