"""Daemons of tests are born of one process that has read the whole program already: that takes a second of each.

Each is a process of its own, as if it had been started anew: forked of one in which nothing has happened but imports.
``python -m tests.vm.nursery FD`` is that process. What comes over its socket is one birth a message: the arguments and
the environment, with the log and the socket of who asks, who is told the process id, and how it ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parents[2]
_LONGEST = 1 << 17


class Born:
    """A process that the nursery gave birth to, as `asyncio.subprocess.Process` shows one."""

    def __init__(self, pid: int, ending: socket.socket) -> None:
        self.pid = pid
        self._ended = asyncio.ensure_future(_number(ending))

    async def wait(self) -> int:
        """Its exit status when it has ended; that of a signal is negative."""
        return await asyncio.shield(self._ended)

    def send_signal(self, number: int) -> None:
        """Raises `ProcessLookupError` where it has ended."""
        if self._ended.done():
            raise ProcessLookupError(self.pid)
        os.kill(self.pid, number)


async def born(*words: str, env: Mapping[str, str], log: int) -> Born:
    """A daemon of a test's own (`tests.vm.daemon`) with these arguments; what it says goes to the file `log`."""
    here, there = socket.socketpair()
    with there:
        message = json.dumps({"words": words, "env": dict(env)}).encode()
        socket.send_fds(_nursery(os.getpid()), [message], [log, there.fileno()])
    here.setblocking(False)
    return Born(await _number(here, last=False), here)


async def _number(told: socket.socket, *, last: bool = True) -> int:
    """The next number that is told; with the `last` one the socket is closed."""
    try:
        return int.from_bytes(await asyncio.get_running_loop().sock_recv(told, 4), "big", signed=True)
    finally:
        if last:
            told.close()


@functools.cache
def _nursery(pid: int) -> socket.socket:
    """The nursery of the process `pid`, which is this one: a forked one may be on another host. It ends with us."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        argv = (sys.executable, "-m", __name__, str(theirs.fileno()))
        subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),))
    return ours


# --- in the nursery -------------------------------------------------------------------------------------------


def main(asked: socket.socket) -> None:
    """Give birth to whoever is asked for, until nobody can ask any more."""
    import tests.vm.daemon  # noqa: F401 - with it comes the whole program

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, (*fds,), _, _ = socket.recv_fds(asked, _LONGEST, 2)
        if not message:
            return
        if os.fork() == 0:
            asked.close()
            log, teller = fds
            _keep(json.loads(message), log, socket.socket(fileno=teller))
        for fd in fds:
            os.close(fd)


def _keep(birth: Any, log: int, teller: socket.socket) -> NoReturn:
    """Be the parent of one daemon, and tell how it does."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        teller.close()
        _live(birth, log)
    with contextlib.suppress(OSError):  # nobody may want to know any more
        teller.send(pid.to_bytes(4, "big"))
        _, status = os.waitpid(pid, 0)
        teller.send(os.waitstatus_to_exitcode(status).to_bytes(4, "big", signed=True))
    os._exit(0)


def _live(birth: Any, log: int) -> NoReturn:
    from tests.vm import daemon

    status = 1
    try:
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.clear()
        os.environ.update(birth["env"])
        daemon.main(*birth["words"])
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
