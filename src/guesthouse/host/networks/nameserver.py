"""The dnsmasq of a network: its addresses and names, served inside the namespace whether or not a daemon lives.

Rules
-----
1. It outlives the daemon, as QEMU does. A daemon finds it by its command line in its namespace; one with another, or
   in another namespace, is ended and started anew.
2. It is never the host's root: it is started as a user of its own, with the right to change its own network and no
   other; where there are no such users, as root of the user's own namespace with no more rights than that.
3. It serves when its standard error is closed, which it does last of all; what it said until then is the reason
   when it ended instead.
4. A file comes into its folders by one rename, from outside: dnsmasq reads whatever appears in them.
5. A lease of an address that is no longer its holder's would keep the next one from it, and so would the holder that a
   file had before: dnsmasq is then started anew without it.

Source: dnsmasq(8), capabilities(7) on the ambient set, setpriv(1), proc(5).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from guesthouse.formats.dnsmasq import (
    ADDRESSES,
    LEASES,
    LOG,
    NAMES,
    Lease,
    PortFiles,
    addresses_of,
    read_leases,
    without,
)
from guesthouse.host import identity
from guesthouse.host.durable import keep_end
from guesthouse.host.machines.process import PROGRAMS, Process
from guesthouse.host.networks.namespace import Namespace
from guesthouse.host.processes import until_closed
from guesthouse.model.errors import ChildFailed, Failed

_ENVIRONMENT = {"LC_ALL": "C.UTF-8", "PATH": PROGRAMS}
# Without a group to go to it leaves none, which root of a user namespace may not always do (setgroups(2)).
_AS_ROOT = ("--user=root", "--group=")
_RIGHTS = "-all,+net_admin,+net_raw,+net_bind_service"
_START_S, _END_S = 60.0, 5.0
_LOG_LIMIT_BYTES, _LOG_KEPT_BYTES = 1 << 20, 64 << 10


def refuse_where_none_can_run() -> None:
    """Raise `Failed`, with what mends it, where dnsmasq cannot run."""
    if shutil.which("dnsmasq", path=PROGRAMS) is None:
        raise Failed("dnsmasq is not installed on this host", hint="apt install dnsmasq-base")


class NameServer:
    """The dnsmasq of one network, with its files in `folder`; it may not run."""

    def __init__(self, folder: Path, namespace: Namespace, number: int) -> None:
        self._folder = folder
        self._namespace = namespace
        self._user = identity.NETWORKS[number % len(identity.NETWORKS)] if identity.can_confine() else None
        self._files: dict[str, PortFiles] | None = None
        self.process: Process | None = None
        """Known to run, or to have ended."""
        self._argv: tuple[str, ...] = ()

    async def have(self, argv: tuple[str, ...], files: Mapping[str, PortFiles]) -> None:
        """Have it serve these files, with this command line; raises `Failed` with its last words where it does not."""
        argv = argv if self._user is not None else (*argv, *_AS_ROOT)
        self._open_folder()
        lost, rewritten = self._put(files)
        await self._find()
        if self.process is not None and (self._argv != argv or rewritten or self._has_leases(lost)):
            await self.stop()
        if self.process is None:
            self._release(lost)
            await self._start(argv)
        elif lost:
            self.process.send(signal.SIGHUP)

    async def pid(self) -> int | None:
        """The process that serves this folder, in whatever namespace; None when none does."""
        await self._find()
        return self.process.pid if self.process is not None else None

    def runs(self) -> bool:
        """Whether the one that we know of runs."""
        return self.process is not None and not self.process.ended.is_set()

    async def stop(self) -> None:
        """Have none, and no other that was started for this folder."""
        await self._find()
        while self.process is not None:
            await _end(self.process)
            self.process = None
            await self._find()

    def leases(self) -> list[Lease]:
        """The addresses that were asked for, as long as they hold."""
        with contextlib.suppress(FileNotFoundError):
            return read_leases((self._folder / LEASES).read_text())
        return []

    def shorten_log(self) -> None:
        """Guests may have it write for ever."""
        keep_end(self._folder / LOG, _LOG_LIMIT_BYTES, _LOG_KEPT_BYTES)

    def forget(self) -> None:
        """Stop watching it; it lives on."""
        if self.process is not None:
            self.process.forget()
            self.process = None

    def _open_folder(self) -> None:
        owner = os.geteuid() if self._user is None else self._user
        for path in (self._folder, self._folder / ADDRESSES, self._folder / NAMES):
            path.mkdir(parents=True, exist_ok=True)
            self._let_read(path, 0o750)
        for path in (self._folder / LEASES, self._folder / LOG):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            os.chown(path, owner, -1)

    def _let_read(self, path: Path, mode: int) -> None:
        """Let dnsmasq read it, whatever our umask is."""
        path.chmod(mode)
        if self._user is not None:
            os.chown(path, -1, self._user)

    def _put(self, files: Mapping[str, PortFiles]) -> tuple[set[str], bool]:
        """Write what differs. The addresses that are not their holders' any more, and whether one has another holder.

        Of such a file it may read the new text while it still has the old one, and refuses an address that is there
        twice: it has to begin anew.
        """
        before, lost = self._read() if self._files is None else self._files, set[str]()
        for name in before.keys() - files.keys():
            lost |= addresses_of(before[name].addresses)
            for kind in (ADDRESSES, NAMES):
                (self._folder / kind / name).unlink(missing_ok=True)
        changed = {name for name, new in files.items() if before.get(name) != new}
        rewritten = False
        for name in changed:
            if (old := before.get(name)) is not None:
                lost |= addresses_of(old.addresses)
                rewritten |= old.addresses != files[name].addresses
            for kind, text in zip((ADDRESSES, NAMES), files[name], strict=True):
                self._write(kind, name, text)
        self._files = dict(files)
        return lost, rewritten

    def _write(self, kind: str, name: str, text: str) -> None:
        partial = self._folder / f"{name}.partial"
        partial.write_text(text)
        self._let_read(partial, 0o640)
        partial.replace(self._folder / kind / name)

    def _read(self) -> dict[str, PortFiles]:
        """The files as an earlier daemon left them; one without its other half is as good as changed."""
        kinds = [
            {path.name: path.read_text() for path in (self._folder / kind).iterdir()} for kind in (ADDRESSES, NAMES)
        ]
        return {name: PortFiles(*(kind.get(name, "") for kind in kinds)) for name in kinds[0].keys() | kinds[1].keys()}

    def _has_leases(self, addresses: set[str]) -> bool:
        return any(lease.address in addresses for lease in self.leases())

    def _release(self, addresses: set[str]) -> None:
        path = self._folder / LEASES
        path.write_text(without(path.read_text(), addresses))

    async def _find(self) -> None:
        """Know the process that serves this folder, in whatever namespace."""
        if self.runs():
            return
        self.forget()
        inode = self._namespace.inode() if self._namespace.is_there() else -1
        found = await asyncio.to_thread(_search, f"--dhcp-hostsdir={self._folder}/{ADDRESSES}", inode)
        if found is not None:
            self.process = Process(found.pid, found.descriptor)
            self._argv = found.argv if found.inode == inode else ()

    async def _start(self, argv: tuple[str, ...]) -> None:
        ours, theirs = os.pipe()
        with os.fdopen(ours, "rb", buffering=0) as said:
            try:
                process = self._spawn(argv, theirs)
            finally:
                os.close(theirs)
            try:
                words = await until_closed(said, argv[0], _START_S)
                if words:
                    await process.ended.wait()
                    raise ChildFailed(argv, process.status or 0, words)
            except BaseException:
                process.kill()
                raise
        self.process, self._argv = process, argv

    def _spawn(self, argv: tuple[str, ...], errors: int) -> Process:
        child = subprocess.Popen(
            (*self._namespace.words(), *self._become(), *argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            cwd="/",
            env=_ENVIRONMENT,
            start_new_session=True,
            umask=0o077,
        )
        process = Process(child.pid, os.pidfd_open(child.pid))
        child.returncode = 0  # The pidfd waits for it from here on, as for QEMU.
        return process

    def _become(self) -> tuple[str, ...]:
        if self._user is None:
            return ("setpriv", "--no-new-privs", "--inh-caps=-all", f"--bounding-set={_RIGHTS}", "--")
        user = (f"--reuid={self._user}", f"--regid={self._user}", "--clear-groups", "--no-new-privs")
        return ("setpriv", *user, f"--inh-caps={_RIGHTS}", f"--ambient-caps={_RIGHTS}", "--")


async def _end(process: Process) -> None:
    """End it, in order when it can."""
    process.send(signal.SIGTERM)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_END_S):
            await process.ended.wait()
    process.kill()
    await process.ended.wait()


class _Found(NamedTuple):
    """A process: its pid, a pidfd, its words, and the inode of its network namespace."""

    pid: int
    descriptor: int
    argv: tuple[str, ...]
    inode: int


def _search(word: str, inode: int) -> _Found | None:
    """A process with this word in its command line, or a dnsmasq in this namespace."""
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if not _is_sought(path, word, inode):
                continue
            descriptor = os.pidfd_open(int(path.name))
            # Asked again: had the first one ended in between, the pidfd might be of a stranger with its number.
            if _is_sought(path, word, inode):
                return _Found(int(path.name), descriptor, _words(path), _inode(path))
            os.close(descriptor)
    return None


def _is_sought(path: Path, word: str, inode: int) -> bool:
    words = _words(path)
    return word in words or (words[:1] == ("dnsmasq",) and _inode(path) == inode)


def _inode(path: Path) -> int:
    return (path / "ns" / "net").stat().st_ino


def _words(path: Path) -> tuple[str, ...]:
    return tuple((path / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1])
