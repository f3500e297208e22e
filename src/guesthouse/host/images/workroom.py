"""A room of its own for programs that handle hostile files.

Rules
-----
1. A workroom is a private folder beside the result, on the same file system. A program in it starts there and
   is given bare file names; what it may read and write is in the room.
2. When we are root, the program is not: an unprivileged user without groups, capabilities or a network, that
   cannot gain any (no_new_privs). The room belongs to that user.
3. Processor time, memory and file size are limited (`processes.Limits`), time by `timeout_s`.
4. The room goes away with everything in it. One that a killed daemon left is unlocked, and `sweep` removes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from guesthouse.host import durable, processes
from guesthouse.model.errors import ChildFailed, Failed, Invalid

_PREFIX = ".workroom-"
_CAP_SYS_ADMIN = 1 << 21
_NOT_FOUND = 127
_ENVIRONMENT = {"MALLOC_ARENA_MAX": "2"}  # else every thread reserves 64 MiB of the limited address space


class User(NamedTuple):
    """Who the programs are when we are root."""

    uid: int
    gid: int


NOBODY = User(65534, 65534)


@dataclass(frozen=True, slots=True)
class Workroom:
    """A private folder, and the way to run programs in it."""

    path: Path
    user: User | None

    async def run(
        self,
        argv: Sequence[str],
        *,
        limits: processes.Limits,
        timeout_s: float,
        on_output: Callable[[str], None] | None = None,
        subject: str = "",
    ) -> bytes:
        """Run a program confined to the room; as `processes.run`, and an error shows `argv` as it is here."""
        try:
            return await processes.run(
                (*_confinement(self.user), *argv),
                cwd=self.path,
                environment=_ENVIRONMENT,
                limits=limits,
                timeout_s=timeout_s,
                on_output=on_output,
                subject=subject,
            )
        except ChildFailed as error:
            if error.status == _NOT_FOUND:
                raise Failed(
                    f"{argv[0]} is not installed on this host",
                    subject=subject,
                    hint="`guest host check` tells which package brings it",
                ) from error
            raise ChildFailed(argv, error.status, "\n".join(error.lines), subject=subject) from error

    def admit(self, name: str) -> None:
        """Let the room's programs read the file `name`, which we made, and nobody write it."""
        path = self.path / name
        if self.user is not None:
            os.chown(path, *self.user, follow_symlinks=False)
        path.chmod(0o400)

    def publish(self, name: str, destination: Path, mode: int) -> None:
        """Take a result out of the room: it becomes ours, durable, and gets its name in one step."""
        path = self.path / name
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise Invalid(f"{name} did not come out as a file: {error.strerror}", field="image") from error
        try:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode) or facts.st_nlink != 1:
                raise Invalid(f"{name} did not come out as a file of its own", field="image")
            os.fchown(descriptor, os.geteuid(), os.getegid())
            os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)
        durable.put_in_place(path, destination)


@contextlib.asynccontextmanager
async def workroom(beside: Path, user: User = NOBODY) -> AsyncIterator[Workroom]:
    """A room in the folder `beside`, which must be ours alone to write; `user` counts when we are root."""
    confined = user if os.geteuid() == 0 else None
    path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=beside))
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if confined is not None:
            os.chown(path, *confined)
        yield Workroom(path, confined)
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


async def sweep(folder: Path) -> int:
    """Remove the rooms that a killed daemon left in `folder`; how many there were."""
    return await asyncio.to_thread(_sweep, folder)


def _sweep(folder: Path) -> int:
    removed = 0
    for path in sorted(folder.glob(f"{_PREFIX}*")):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path)
            removed += 1
        except BlockingIOError:
            continue  # somebody works in it
        finally:
            os.close(descriptor)
    return removed


def _confinement(user: User | None) -> tuple[str, ...]:
    """What goes in front of a program's arguments; both programs are of util-linux, which Debian always has."""
    if user is None:
        return ("setpriv", "--no-new-privs", "--")
    alone = ("unshare", "--net", "--ipc", "--") if _may_unshare() else ()
    ids = (f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups")
    return (*alone, "setpriv", *ids, "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all", "--")


def _may_unshare() -> bool:
    """Whether we are root with CAP_SYS_ADMIN: in a container root may lack it."""
    status = Path("/proc/self/status").read_text()
    effective = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective.split()[1], 16) & _CAP_SYS_ADMIN)
