"""A QEMU process: finding it, starting it, holding it by pidfd.

Source: pidfd_open(2), flock(2), fcntl(2) F_GETLK; QEMU's util/oslib-posix.c, qemu_write_pidfile: it keeps a
POSIX write lock on its pidfile until it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import struct
import subprocess
from collections.abc import Iterable, Sequence
from enum import Enum, auto
from pathlib import Path

from guesthouse.host.identity import Identity
from guesthouse.host.machines.folder import Folder
from guesthouse.model.errors import Failed

_FLOCK = struct.Struct("hhqqi4x")
PROGRAMS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs are looked for, whoever we are: users have no sbin on their PATH."""
# For whom nobody waits, see nice(1) and ionice(1).
_BACKGROUND = ("nice", "-n", "19", "ionice", "-c", "3")
_ENVIRONMENT = {"LC_ALL": "C.UTF-8", "PATH": PROGRAMS}


class Rank(Enum):
    """What a QEMU is to its daemon: a machine outlives it, a helper ends with it, one in the background makes way."""

    MACHINE = auto()
    HELPER = auto()
    BACKGROUND = auto()


class Process:
    """A process that is watched; `ended` is set when it is gone and all its locks with it."""

    def __init__(self, pid: int, descriptor: int) -> None:
        """Take over the pidfd `descriptor` of the process `pid`."""
        self.pid = pid
        self.ended = asyncio.Event()
        self.status: int | None = None
        """Exit status, or minus the signal; None as long as it runs, or when it is not our child."""
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(descriptor, self._end)

    def kill(self) -> None:
        """Send SIGKILL; a process that is gone already needs none."""
        self.send(signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        """Send a signal; a process that is gone already gets none."""
        if not self.ended.is_set():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, number)

    def forget(self) -> None:
        """Stop watching; the process lives on."""
        if not self.ended.is_set():
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)

    def _end(self) -> None:
        with contextlib.suppress(ChildProcessError):
            ended = os.waitid(os.P_PIDFD, self._descriptor, os.WEXITED)
            if ended is not None:
                self.status = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        self.forget()
        self.ended.set()


def take_lock(path: Path) -> int | None:
    """Lock a machine's `run.lock`: a descriptor to hand to QEMU, None when there is a QEMU."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_locked(path: Path) -> bool:
    """Whether a QEMU of this machine lives or is being started."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # A shared lock, so that two who only look do not take each other for a QEMU.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def find(pidfile: Path) -> Process | None:
    """The process that holds the lock of a pidfile, None when none does."""
    pid = _lock_holder(pidfile)
    if pid is None:
        return None
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    # Asked again: had the first one ended in between, the pidfd might be of a stranger with its number.
    if _lock_holder(pidfile) != pid:
        os.close(descriptor)
        return None
    return Process(pid, descriptor)


def find_all(lock: Path, number: int | None) -> list[Process]:
    """Every process that has a machine's lock open or runs as its user, by looking at all that there are.

    Slow, and needed only for a QEMU that is not yet born or no longer plays by the rules.
    """
    return [found for path in Path("/proc").glob("[0-9]*") if (found := _related(path, lock, number)) is not None]


def _related(path: Path, lock: Path, number: int | None) -> Process | None:
    with contextlib.suppress(OSError):  # it ended meanwhile, or is not ours to look into
        pid = int(path.name)
        if pid == os.getpid() or not _is_related(path, lock, number):
            return None
        descriptor = os.pidfd_open(pid)
        # Asked again, as in `find`.
        if _is_related(path, lock, number):
            return Process(pid, descriptor)
        os.close(descriptor)
    return None


def _is_related(path: Path, lock: Path, number: int | None) -> bool:
    if number is not None and f"\nUid:\t{number}\t" in (path / "status").read_text():
        return True
    wanted = lock.stat()
    return any(_is_file(descriptor, wanted) for descriptor in (path / "fd").iterdir())


def _is_file(descriptor: Path, wanted: os.stat_result) -> bool:
    try:
        return os.path.samestat(descriptor.stat(), wanted)
    except FileNotFoundError:  # closed meanwhile, or of a kind that has no file
        return False


def _lock_holder(pidfile: Path) -> int | None:
    try:
        descriptor = os.open(pidfile, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    finally:
        os.close(descriptor)
    return None if kind == fcntl.F_UNLCK else pid


def spawn(argv: Sequence[str], *, keep: Iterable[int], log: Path, identity: Identity, rank: Rank) -> Process:
    """Start QEMU in a session of its own; it inherits the descriptors `keep` and writes to `log`.

    Raises `Failed` when the program is not there.
    """
    if shutil.which(argv[0], path=PROGRAMS) is None:
        raise Failed(f"{argv[0]} is not installed on this host", hint="apt install qemu-system-x86")
    with log.open("ab") as output:
        child = subprocess.Popen(
            (*_become(identity, rank), *argv),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=tuple(keep),
            cwd="/",
            env=_ENVIRONMENT,
            start_new_session=True,
            umask=0o077,
        )
    process = Process(child.pid, os.pidfd_open(child.pid))
    child.returncode = 0  # The pidfd waits for it from here on; Popen must not, nor mourn it when we leave first.
    return process


def _become(identity: Identity, rank: Rank) -> tuple[str, ...]:
    """The words before a command that is to run as somebody else, and never as more; see setpriv(1).

    Popen could change the user by itself, but then copies the daemon's page tables for it (fork in place of vfork).
    """
    words: tuple[str, ...] = ()
    if identity.uid is not None:
        groups = f"--groups={','.join(map(str, identity.groups))}" if identity.groups else "--clear-groups"
        user = (f"--reuid={identity.uid}", f"--regid={identity.gid}", groups)
        words = (*user, "--inh-caps=-all", "--no-new-privs")
    if rank is not Rank.MACHINE:
        first = _BACKGROUND if rank is Rank.BACKGROUND else ()
        return (*first, "setpriv", *words, "--pdeathsig=KILL", "--")
    return ("setpriv", *words, "--") if words else ()


def prepare_files(folder: Folder) -> None:
    """Make the files that QEMU writes by name, and the folder of its screen: it needs no right to make any."""
    for path in (folder.pidfile, folder.console_log, folder.qemu_log):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    folder.screen.parent.mkdir(mode=0o700, exist_ok=True)
