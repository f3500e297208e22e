"""The way between a ground of one's own and the world: slirp4netns, which speaks there as a program of the user's.

Rules
-----
1. It outlives the daemon, as name servers do. It is found by its socket, and belongs to the process that holds the
   ground: one of another holder is ended.
2. One that ends is started again, and gets its ports again.
3. The host's own loopback is closed to networks. Its ports lead in only where a network was given one.

Source: slirp4netns(1); unix(7), SO_PEERCRED.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import socket
import struct
import subprocess
from pathlib import Path

from guesthouse.formats import slirp
from guesthouse.formats.slirp import Forward
from guesthouse.host.durable import keep_end, read_end
from guesthouse.host.machines.process import PROGRAMS, Process
from guesthouse.host.network_ports import describe_holder
from guesthouse.host.processes import until_closed
from guesthouse.model import machine
from guesthouse.model.errors import ChildFailed, Conflict, Failed, GuesthouseError

_LOG = logging.getLogger(__name__)
_PROGRAM = "slirp4netns"
_MTU = 1500
_ENVIRONMENT = {"LC_ALL": "C.UTF-8", "PATH": PROGRAMS}
_TIMEOUT_S = 60.0
_FIRST_PAUSE_S, _LAST_PAUSE_S = 1.0, 60.0  # before one that ended is started again
_LOG_LIMIT_BYTES, _LOG_KEPT_BYTES = 1 << 20, 64 << 10
_HINT = f"see why {_PROGRAM} does not begin, then start the daemon again"
_CREDENTIALS = struct.Struct("3i")  # struct ucred: process, user, group


class Outlet:
    """The slirp4netns of the ground that the process `holder` holds, with its files in `folder`."""

    def __init__(self, folder: Path, holder: int) -> None:
        self._folder, self._holder = folder, holder
        # No longer than the path of the house's own socket, which was found short enough.
        self._socket, self._log = folder / "out", folder / "out.log"
        self._process: Process | None = None
        self._wanted: frozenset[Forward] = frozenset()
        self._leading = asyncio.Lock()

    async def have(self) -> None:
        """Have it at work; raises `Failed`, with what mends it or with its last words, where it does not begin."""
        if shutil.which(_PROGRAM, path=PROGRAMS) is None:
            hint = f"apt install {_PROGRAM}, then start the daemon again"
            raise Failed(f"{_PROGRAM} is not installed", hint=hint)
        if self._process is None or self._process.ended.is_set():
            self._process = await self._find() or await self._start()

    async def lead(self, wanted: frozenset[Forward]) -> None:
        """Have these ports of the host lead to the ground, and no others; raises `Conflict` for one that is taken."""
        async with self._leading:
            self._wanted = wanted
            await self.have()
            has = slirp.read_forwards(await self._ask(slirp.ask_for_forwards()))
            for forward in has.keys() - wanted:
                await self._ask(slirp.remove_forward(has[forward]))
            for forward in sorted(wanted - has.keys()):
                if fault := slirp.read_fault(await self._ask(slirp.add_forward(forward))):
                    raise _taken(forward, fault)

    async def keep(self) -> None:
        """Start it again whenever it ends, without end."""
        pause_s = _FIRST_PAUSE_S
        while self._process is not None:
            await self._process.ended.wait()
            _LOG.warning("%s ended; networks have no way out until it runs again", _PROGRAM)
            await asyncio.sleep(pause_s)
            try:
                await self.lead(self._wanted)
                pause_s = _FIRST_PAUSE_S
            except (GuesthouseError, OSError) as error:
                _LOG.warning("networks have no way out: %s", error)
                pause_s = min(2 * pause_s, _LAST_PAUSE_S)

    def resolver(self) -> str:
        """A file that names the name server that asks the host's for us."""
        path = self._folder / "resolv.conf"
        text = f"nameserver {slirp.NAME_SERVER}\n"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
        return str(path)

    def shorten_log(self) -> None:
        """Guests may have it complain for ever."""
        keep_end(self._log, _LOG_LIMIT_BYTES, _LOG_KEPT_BYTES)

    def forget(self) -> None:
        """Stop watching it; it lives on."""
        if self._process is not None:
            self._process.forget()
            self._process = None

    async def end(self) -> None:
        """Have it no more."""
        if self._process is not None:
            self._process.kill()
            await self._process.ended.wait()
            self._process = None
        self._socket.unlink(missing_ok=True)

    async def _ask(self, words: bytes) -> bytes:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                reader, writer = await asyncio.open_unix_connection(self._socket)
                try:
                    writer.write(words)
                    writer.write_eof()
                    return await reader.read()
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            raise Failed(f"{_PROGRAM} does not answer: {error}", hint=f"`{self._log}` may say why") from error

    async def _find(self) -> Process | None:
        """One that an earlier daemon has started; whoever answers for another holder is ended."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as asking:
            try:
                asking.connect(str(self._socket))
                told = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
                pid = _CREDENTIALS.unpack(told)[0]
                process = Process(pid, os.pidfd_open(pid))
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ConnectionRefusedError, ProcessLookupError):
                return None
        if str(self._holder).encode() in words:
            return process
        process.kill()
        await process.ended.wait()
        return None

    async def _start(self) -> Process:
        self._socket.unlink(missing_ok=True)
        ours, theirs = os.pipe()
        argv = (
            _PROGRAM, "--configure", f"--mtu={_MTU}", "--disable-host-loopback", "--enable-sandbox", "--enable-seccomp",
            f"--api-socket={self._socket}", f"--ready-fd={theirs}", str(self._holder), slirp.DEVICE,
        )  # fmt: skip
        with os.fdopen(ours, "rb", buffering=0) as ready:
            try:
                process = self._spawn(argv, theirs)
            finally:
                os.close(theirs)
            try:
                if not await until_closed(ready, argv[0], _TIMEOUT_S):
                    await process.ended.wait()
                    said = read_end(self._log, _LOG_KEPT_BYTES).decode(errors="replace")
                    raise ChildFailed(argv, process.status or 0, said, hint=_HINT)
            except BaseException:
                process.kill()
                raise
        return process

    def _spawn(self, argv: tuple[str, ...], ready: int) -> Process:
        self._log.write_bytes(b"")
        with self._log.open("ab") as said:
            child = subprocess.Popen(
                argv, pass_fds=(ready,), stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd="/",
                env=_ENVIRONMENT, start_new_session=True, umask=0o077,
            )  # fmt: skip
        process = Process(child.pid, os.pidfd_open(child.pid))
        child.returncode = 0  # The pidfd waits for it from here on, as for QEMU.
        return process


def _taken(forward: Forward, fault: str) -> Conflict:
    protocol, port = forward
    holder = describe_holder(machine.Forward(guest_port=port, host_port=port, protocol=protocol))
    return Conflict(
        f"port {port}/{protocol} of the host does not lead to the networks{holder or f': {fault}'}",
        field="forwards",
        value=port,
        hint="choose another port; those below 1024 are root's",
    )
