"""What a database says went wrong, as our kinds of error: one row a cause.

SQLite tells by result code (sqlite.org/rescode.html), PostgreSQL by SQLSTATE (its manual, appendix A), the
system by errno(3). A code matches the first row that has its beginning. What has no row is a fault of ours
and stays what it is.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from guesthouse.model.errors import Conflict, Failed, GuesthouseError, NoCapacity, TimedOut


class Cause(NamedTuple):
    """Codes by their beginning, the kind of error they mean, what to say, and what mends it."""

    codes: tuple[str, ...]
    kind: type[GuesthouseError]
    message: str
    hint: str


_BACKUP = "stop the daemon, keep a copy of the file, and restore the latest backup"

CAUSES = (
    Cause(
        ("SQLITE_CONSTRAINT_FOREIGNKEY", "SQLITE_CONSTRAINT_TRIGGER", "23503", "23001"),
        Conflict,
        "the project is not there, or something still belongs to it",
        "look with `guest project list`; delete what belongs to a project before the project",
    ),
    Cause(
        ("SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY", "23505"),
        Conflict,
        "another record has this value already",
        "look at what there is, then ask again",
    ),
    Cause(
        ("SQLITE_BUSY", "SQLITE_LOCKED", "55P03", "57014"),
        TimedOut,
        "another process kept the database locked",
        "end what holds it: a second daemon on this database, a backup, an open shell",
    ),
    Cause(
        ("SQLITE_FULL", "53100", "ENOSPC", "EDQUOT"),
        NoCapacity,
        "no space is left for the database",
        "free space on its disk; nothing of this change was kept",
    ),
    Cause(
        ("53",),
        NoCapacity,
        "the database server has no connections or memory left",
        "raise max_connections there, or end other clients",
    ),
    Cause(
        ("SQLITE_READONLY", "25006", "EROFS"),
        Failed,
        "the database cannot be written",
        "mount its disk writable and give this user the right to write file and folder",
    ),
    Cause(("SQLITE_CORRUPT", "XX001", "XX002"), Failed, "the database is damaged", _BACKUP),
    Cause(("SQLITE_NOTADB",), Failed, "the file is not a database", _BACKUP),
    Cause(
        ("SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH", "EACCES", "EPERM"),
        Failed,
        "the database cannot be opened",
        "give this user the right to read and write file and folder",
    ),
    Cause(("SQLITE_IOERR",), Failed, "the database's disk fails", "look at the kernel's log; free space if it is full"),
    Cause(("28",), Failed, "the database server refuses the login", "correct user and password in the database's URL"),
    Cause(("3D000",), Failed, "the server has no such database", "create it, or correct its name in the URL"),
    Cause(
        ("57P", "08", "25P03"),
        Failed,
        "the database server ended the connection",
        "look whether it runs; the change was not made unless it had been committed",
    ),
)
_UNREACHABLE = Cause((), Failed, "the database cannot be reached", "look whether it is there and runs, and at its URL")
_LATE = Cause((), TimedOut, "the database did not answer in time", "look whether it runs, and what keeps it busy")


def _code(told: BaseException | None) -> str:
    """A name of SQLite's, a SQLSTATE, the name of an errno, or nothing."""
    if isinstance(told, OSError):
        return errno.errorcode.get(told.errno or 0, "")
    return str(getattr(told, "sqlite_errorname", "") or getattr(told, "sqlstate", "") or "")


def _cause(error: Exception, told: BaseException | None) -> Cause | None:
    code = _code(told)
    for cause in CAUSES:
        if code and code.startswith(cause.codes):
            return cause
    if isinstance(error, TimeoutError | PoolTimeout):
        return _LATE
    lost = isinstance(error, InterfaceError | OperationalError) and (error.connection_invalidated or not code)
    return _UNREACHABLE if lost or isinstance(error, OSError) else None


@contextmanager
def named(database: str) -> Iterator[None]:
    """Around a call of the driver and nothing else: raises its errors as ours, about `database`."""
    try:
        yield
    except (DBAPIError, PoolTimeout, OSError) as error:
        told = error.orig if isinstance(error, DBAPIError) else error
        cause = _cause(error, told)
        if cause is None:
            raise
        words = str(told).strip().splitlines() or [type(told).__name__]
        message = f"{cause.message}: {database} ({words[0]})"
        raise cause.kind(message, subject=f"database {database}", hint=cause.hint) from error
