"""The machine that is being configured: its files, its programs, its kernel, its log."""

from __future__ import annotations

import fcntl
import os
import struct
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_NOT_FOUND = 127
_SIGPIPE = 13
_RNDADDENTROPY = 0x40085203
_RNDRESEEDCRNG = 0x5207
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_IFREQ = struct.Struct("16sH22x")
_HARDWARE_CLOCK = "/sys/class/rtc/rtc0/since_epoch"
LOG = "/var/log/cloud-init-output.log"


class Refused(Exception):
    """A part of the configuration is wrong or not known here; the message names it."""


def wait(process: int) -> int:
    """Wait for a program's end: its exit status, 128 + signal when one ended it."""
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return status if status >= 0 else 128 - status


class Guest:
    """Files below `root` (a scratch folder in tests), programs, and the log of all that they say."""

    def __init__(self, root: str = "") -> None:
        self.root = root

    def path(self, path: str) -> str:
        """Where the guest's absolute `path` lies for us."""
        return self.root + path

    def exists(self, path: str) -> bool:
        return os.path.exists(self.path(path))

    def read(self, path: str) -> str:
        """A text file; empty when it is not there."""
        try:
            with open(self.path(path), encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def write(
        self,
        path: str,
        data: bytes,
        permissions: int = 0o644,
        owner: tuple[int, int] | None = None,
        append: bool = False,
    ) -> None:
        """Write or append to a file, making its folder; permissions hold before the first byte is in it."""
        where = self.path(path)
        os.makedirs(os.path.dirname(where), exist_ok=True)
        descriptor = os.open(where, os.O_WRONLY | os.O_CREAT | (os.O_APPEND if append else os.O_TRUNC), permissions)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, permissions)
            if owner is not None:
                os.fchown(descriptor, *owner)
            file.write(data)

    def tell(self, path: str, text: str) -> None:
        """Write to a file of the kernel's, one that is there; a kernel without it is told nothing."""
        try:
            descriptor = os.open(self.path(path), os.O_WRONLY)
        except FileNotFoundError:
            return
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)

    def folder(self, path: str, permissions: int = 0o755, owner: tuple[int, int] | None = None) -> None:
        """Make a folder if it is not there, and give it these permissions."""
        where = self.path(path)
        os.makedirs(where, exist_ok=True)
        os.chmod(where, permissions)
        if owner is not None:
            os.chown(where, *owner)

    def spawn(self, argv: Sequence[str], stdin: int | None = None, output: int | None = None) -> int:
        """Start a program with these file descriptors, /dev/null where there is none: its process id.

        Not the module subprocess: importing it takes as long as all else of a boot's own work.
        """
        null = os.open("/dev/null", os.O_RDWR)
        ends = (null if stdin is None else stdin, null if output is None else output)
        try:
            return os.posix_spawnp(
                argv[0],
                list(argv),
                os.environ,
                file_actions=[(os.POSIX_SPAWN_DUP2, ends[min(number, 1)], number) for number in (0, 1, 2)],
                setsigdef=[_SIGPIPE],
            )
        finally:
            os.close(null)

    def run(self, argv: Sequence[str], stdin: bytes = b"") -> tuple[int, bytes]:
        """Run a program to its end: exit status (128 + signal) and what it said on both streams.

        `stdin` is at most a page, which a pipe holds until it is read.
        """
        (read_in, write_in), (read_out, write_out) = os.pipe(), os.pipe()
        os.write(write_in, stdin)
        os.close(write_in)
        try:
            process = self.spawn(argv, read_in, write_out)
        except OSError as error:
            os.close(read_out)
            return _NOT_FOUND, f"{argv[0]}: {error.strerror}\n".encode()
        finally:
            os.close(read_in)
            os.close(write_out)
        with os.fdopen(read_out, "rb") as output:
            said = output.read()
        return wait(process), said

    def run_logged(self, argv: Sequence[str]) -> tuple[int, str]:
        """Run a program whose output goes to the log as it comes: exit status, and the last line that it said."""
        os.makedirs(os.path.dirname(self.path(LOG)), exist_ok=True)
        with open(self.path(LOG), "a+b") as log:
            begin = log.seek(0, os.SEEK_END)
            try:
                status = wait(self.spawn(argv, output=log.fileno()))
            except OSError as error:
                log.write(f"{argv[0]}: {error.strerror}\n".encode())
                status = _NOT_FOUND
            log.seek(max(begin, log.seek(0, os.SEEK_END) - 4096))
            said = log.read().decode(errors="replace").split("\n")
        return status, next((line.strip() for line in reversed(said) if line.strip()), "")

    def pour_into(self, file: int) -> int:
        """A descriptor, what is written to which a program of its own writes to `file`, however long that takes.

        The program ends when the descriptor is closed and all is written.
        """
        read, write = os.pipe()
        try:
            self.spawn(["cat"], read, file)
        except OSError:
            os.close(write)
            raise
        finally:
            os.close(read)
        return write

    def add_entropy(self, data: bytes, counted_bytes: int) -> None:
        """Mix bytes into the kernel's pool, count so many of them, and make new keys from it (random(4))."""
        pool = os.open("/dev/urandom", os.O_WRONLY)
        fcntl.ioctl(pool, _RNDADDENTROPY, struct.pack("ii", 8 * counted_bytes, len(data)) + data)
        fcntl.ioctl(pool, _RNDRESEEDCRNG)
        os.close(pool)

    def set_clock(self, time_s: float) -> None:
        """Set the clock, in seconds since 1970."""
        time.clock_settime(time.CLOCK_REALTIME, time_s)

    def catch_up(self) -> None:
        """Set the clock by the hardware's: it stood still while we were frozen."""
        told = self.read(_HARDWARE_CLOCK).strip()
        if told:
            # It tells whole seconds; the kernel itself takes the middle of one at a boot.
            self.set_clock(int(told) + 0.5)

    def stand_back(self, back: bool) -> None:
        """Run only when nobody else wants to, or as everybody again (sched(7))."""
        os.sched_setscheduler(0, os.SCHED_IDLE if back else os.SCHED_OTHER, os.sched_param(0))

    def link_up(self, nic: str) -> None:
        """Switch a network interface on (netdevice(7)): a socket instead of a program."""
        import _socket  # the module `socket` would bring much more with it

        socket = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
        name, flags = _IFREQ.unpack(fcntl.ioctl(socket, _SIOCGIFFLAGS, _IFREQ.pack(nic.encode(), 0)))
        fcntl.ioctl(socket, _SIOCSIFFLAGS, _IFREQ.pack(name, flags | _IFF_UP))
        socket.close()

    def set_hostname(self, name: str) -> None:
        """Tell the kernel its name."""
        import _socket  # the module `socket` would bring much more with it

        _socket.sethostname(name)

    def log(self, text: str) -> None:
        """Add a line to the log."""
        self.write(LOG, text.encode() + b"\n", append=True)

    def last_lines(self, count: int) -> str:
        """The end of the log."""
        return "\n".join(self.read(LOG).splitlines()[-count:])
