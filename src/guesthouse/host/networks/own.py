"""A ground of one's own: where the networks of a daemon stand that has no rights on its host.

Rules
-----
1. It is a user namespace, in which the user is root, with a network and with mounts. Networks stand there as they do
   on a host: same links, rules and name servers.
2. One process holds it, which does nothing else, so that it outlives the daemon. It is known by its lock on a file,
   and has that when all is made: one that was cut off half-way has left nothing.
3. The daemon never goes in, and has no more rights than before; so have its machines. Programs are started inside,
   code of ours runs there in a fork of the daemon that ends with it (`visits.Envoy`).
4. One user number is enough, the user's own: nobody has to give him more (/etc/subuid).
5. It goes with its last network, when the daemon ends, or with `guest host clean`.

Source: user_namespaces(7), mount_namespaces(7), nsenter(1); ip-netns(8): names are below /var/run/netns.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import fcntl
import logging
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from guesthouse.host.machines.process import PROGRAMS, Process, find
from guesthouse.host.networks import visits
from guesthouse.host.networks.namespace import FOLDER, Ground, read_sysctl
from guesthouse.host.networks.outlet import Outlet
from guesthouse.host.networks.visits import NEW_MOUNTS, NEW_NET, NEW_USER, Envoy, Result
from guesthouse.model.errors import Failed, NoCapacity
from guesthouse.model.house import House

_LOG = logging.getLogger(__name__)
_LOST = "the process that holds this user's networks was killed"
_HOLDER = ("sleep", "infinity")
_ENVIRONMENT = {"LC_ALL": "C.UTF-8", "PATH": PROGRAMS}
_NET_ADMIN, _SYS_ADMIN = 12, 21  # linux/capability.h
_BIND, _RECURSIVE, _SLAVE = 0x1000, 0x4000, 1 << 19  # MS_BIND, MS_REC, MS_SLAVE of linux/mount.h
_libc = ctypes.CDLL(None, use_errno=True)


class Own(Ground):
    """The ground that the process `holder` holds; it has a way out, or `closed` says why not."""

    is_own = True

    def __init__(self, holder: Process) -> None:
        self.holder = holder
        self.outlet: Outlet | None = None
        self._at = Path(f"/proc/{holder.pid}")
        self.names = self._at / "root" / FOLDER.relative_to("/")
        self._envoy = Envoy(self._go)

    def words(self, net: Path | None = None) -> tuple[str, ...]:
        spaces = (f"--user={self._at}/ns/user", f"--mount={self._at}/ns/mnt", f"--net={net or self._at / 'ns' / 'net'}")
        return ("nsenter", "--preserve-credentials", *spaces, "--")

    def visit(self, function: Callable[[], Result], net: Path | None = None) -> Result:
        return self._envoy.ask(function, net)

    def _go(self) -> None:
        visits.go_into(self._at / "ns" / "user", NEW_USER)
        visits.go_into(self._at / "ns" / "net")

    def resolver(self) -> str:
        return self.outlet.resolver() if self.outlet is not None else ""

    async def lead(self, forwards: frozenset[tuple[str, int]]) -> None:
        if self.outlet is not None:
            await self.outlet.lead(forwards)
        elif forwards:
            reason = f"no port of the host can lead to the networks: {self.closed}"
            raise NoCapacity(reason, field="forwards", hint=self.opens)

    def has(self, pid: int) -> bool:
        spaces = (self._at / "ns" / "user", Path(f"/proc/{pid}/ns/user"))
        with contextlib.suppress(FileNotFoundError):  # it ended meanwhile
            return os.path.samestat(*(path.stat() for path in spaces))
        return False

    def require(self) -> None:
        if self.holder.ended.is_set():
            raise Failed(_LOST, hint="start the daemon again: it makes the networks anew")

    async def keep(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            keeper = tasks.create_task(self.outlet.keep()) if self.outlet is not None else None
            await self.holder.ended.wait()
            _LOG.error("%s: machines reach nobody over them until daemon and machines are started again", _LOST)
            if keeper is not None:
                keeper.cancel()

    def shorten_log(self) -> None:
        if self.outlet is not None:
            self.outlet.shorten_log()

    def forget(self) -> None:
        self._envoy.end()
        self.holder.forget()
        if self.outlet is not None:
            self.outlet.forget()

    async def end(self) -> None:
        self._envoy.end()
        if self.outlet is not None:
            await self.outlet.end()
        self.holder.kill()
        await self.holder.ended.wait()


async def open_own(house: House) -> Own:
    """The ground of a house, as it is, or made; raises `Failed`, with what mends it, where there can be none.

    Whoever calls holds the house's lock, and has made the folder of its networks.
    """
    lock = house.networks / "holder"
    holder = find(lock) or _hold(lock, house.networks / "run")
    own, outlet = Own(holder), Outlet(house.networks, holder.pid)
    try:
        await own.run("ip", "link", "set", "lo", "up")
        try:
            await outlet.have()
            own.outlet = outlet
        except Failed as error:
            own.closed, own.opens = str(error), error.hint
    except BaseException:
        own.forget()
        raise
    return own


def has_rights() -> bool:
    """Whether this process is root, or may all that networks on the host itself need."""
    if os.geteuid() == 0:
        return True
    status = Path("/proc/self/status").read_text()
    effective = int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), 16)
    return all(effective >> number & 1 for number in (_NET_ADMIN, _SYS_ADMIN))


class Bar(NamedTuple):
    """A setting that keeps users from having namespaces: its name and value, what it does, what lifts it."""

    name: str
    value: str
    reason: str
    fix: str


BARS = (
    Bar(
        "kernel/unprivileged_userns_clone",
        "0",
        "this kernel lets root alone make user namespaces",
        "sysctl kernel.unprivileged_userns_clone=1, then start the daemon again",
    ),
    Bar(
        "user/max_user_namespaces",
        "0",
        "this host allows no user namespaces",
        "sysctl user.max_user_namespaces=10000, then start the daemon again",
    ),
    Bar(
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "AppArmor takes the rights from user namespaces of programs without a profile",
        "sysctl kernel.apparmor_restrict_unprivileged_userns=0, then start the daemon again",
    ),
)
"""Looked at only after it was tried: the first that is set is the reason."""


def why_not(number: int, read: Callable[[str], str | None] = read_sysctl) -> Failed:
    """The reason why a user could not have namespaces; `number` is the errno, `read` reads settings of the kernel."""
    for bar in BARS:
        if read(bar.name) == bar.value:
            return Failed(bar.reason, hint=bar.fix)
    reason = os.strerror(number) if number else "the trial ended without a word"
    hint = "run the daemon as root; in a container, let it make user namespaces"
    return Failed(f"this user can have no user namespace: {reason}", hint=hint)


def _hold(lock: Path, scratch: Path) -> Process:
    """Make a ground, and the process that holds it."""
    scratch.mkdir(mode=0o700, exist_ok=True)
    user, group = os.geteuid(), os.getegid()
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    ours, theirs = os.pipe()

    def become_holder() -> None:
        try:
            _isolate(user, group)
            _have_names(scratch)
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.write(theirs, str(error.errno).encode())
            raise

    with os.fdopen(ours, "rb") as told:
        try:
            child = subprocess.Popen(
                _HOLDER, preexec_fn=become_holder, pass_fds=(descriptor,), stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", env=_ENVIRONMENT, start_new_session=True,
            )  # fmt: skip
        except subprocess.SubprocessError as error:
            os.close(theirs)
            raise why_not(int(told.read() or 0)) from error
        finally:
            os.close(descriptor)
        os.close(theirs)
    process = Process(child.pid, os.pidfd_open(child.pid))
    child.returncode = 0  # The pidfd waits for it from here on, as for QEMU.
    return process


def _isolate(user: int, group: int) -> None:
    """Be root of a user namespace of this user's own, with a network and with mounts."""
    visits.leave(NEW_USER | NEW_MOUNTS | NEW_NET)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        Path(f"/proc/self/{name}").write_text(text)
    # What the host mounts later is to be seen here; what is mounted here, never there.
    _mount("none", Path("/"), flags=_RECURSIVE | _SLAVE)


def _have_names(scratch: Path) -> None:
    """Have a folder for names of namespaces. Where there is none to put it on, /run becomes one of our own."""
    if FOLDER.is_dir():
        _mount("none", FOLDER, "tmpfs")
        return
    _mount("none", scratch, "tmpfs")
    for entry in os.scandir(FOLDER.parent):
        with contextlib.suppress(PermissionError, FileNotFoundError):  # what is not for us, or just went
            _show(Path(entry.path), scratch / entry.name)
    (scratch / FOLDER.name).mkdir()
    _mount(str(scratch), FOLDER.parent, flags=_BIND | _RECURSIVE)


def _show(path: Path, at: Path) -> None:
    """Have what is at a path at another one too."""
    if path.is_symlink():
        at.symlink_to(path.readlink())
        return
    if path.is_dir():
        at.mkdir()
    else:
        at.touch()
    _mount(str(path), at, flags=_BIND | _RECURSIVE)


def _mount(source: str, target: Path, kind: str = "none", *, flags: int = 0) -> None:
    if _libc.mount(os.fsencode(source), os.fsencode(target), os.fsencode(kind), flags, None):
        number = ctypes.get_errno()
        raise OSError(number or errno.EINVAL, os.strerror(number), str(target))
