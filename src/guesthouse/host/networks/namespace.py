"""Named network namespaces: making, entering and ending them.

Rules
-----
1. A namespace has a name, so that it lives without any process in it, and ``ip netns`` shows it.
2. What is done inside is done by a thread that ends with it: no other code ever runs there by mistake. A socket or a
   device opened there stays there, whoever uses its descriptor later.
3. To end one is to take its name away; its links go as soon as nobody has anything open in it. Who wants them gone at
   once deletes them first.

Source: ip-netns(8), setns(2), nsfs; /proc/sys/net is that of the reading thread's namespace.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from guesthouse.host.processes import run

Result = TypeVar("Result")
FOLDER = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_SYSCTLS = Path("/proc/sys")
_TIMEOUT_S = 60.0  # milliseconds, but on a busy box
_libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A network namespace with a name; it may not be there."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = FOLDER / name

    def is_there(self) -> bool:
        """Whether it can be entered. A name alone, left by whoever was killed while making it, is none."""
        try:
            return self.path.stat().st_dev == Path("/proc/self/ns/net").stat().st_dev
        except FileNotFoundError:
            return False

    def inode(self) -> int:
        """By which the kernel tells one namespace from another."""
        return self.path.stat().st_ino

    async def make(self, resident: int | None = None) -> None:
        """Have it; there already is as good. Raises `ChildFailed` without the right to.

        With a `resident`, a process that is in it, only the name was lost: it is given again.
        """
        if self.is_there():
            return
        await self.remove()
        words = ("add", self.name) if resident is None else ("attach", self.name, str(resident))
        await run(["ip", "netns", *words], timeout_s=_TIMEOUT_S)

    async def remove(self) -> None:
        """Have no such name."""
        if self.path.exists():
            await run(["ip", "netns", "delete", self.name], timeout_s=_TIMEOUT_S)

    def enter(self, function: Callable[[], Result]) -> Result:
        """What `function` returns or raises, called inside by a thread of its own."""
        return _Visit(self.name, lambda: _go_into(self.path), function).result()

    async def run(self, *argv: str, stdin: str = "") -> str:
        """Run a program inside, see `processes.run`."""
        words = ("nsenter", f"--net={self.path}", "--", *argv)
        return (await run(words, stdin=stdin.encode(), timeout_s=_TIMEOUT_S)).decode()


def apart(function: Callable[[], Result]) -> Result:
    """What `function` returns or raises, called in a new namespace, which ends with what is opened there."""
    return _Visit("nowhere", _leave_all, function).result()


class _Visit(threading.Thread, Generic[Result]):
    """A thread that goes into a namespace and ends there."""

    def __init__(self, name: str, go: Callable[[], None], function: Callable[[], Result]) -> None:
        super().__init__(name=f"in {name}")
        self._go, self._function = go, function
        self._returned: list[Result] = []
        self._raised: BaseException | None = None

    def run(self) -> None:
        try:
            self._go()
            self._returned.append(self._function())
        except BaseException as error:
            self._raised = error

    def result(self) -> Result:
        self.start()
        self.join()
        if self._raised is not None:
            raise self._raised
        return self._returned[0]


def _go_into(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(descriptor, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
    finally:
        os.close(descriptor)


def _leave_all() -> None:
    if _libc.unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def read_sysctl(name: str) -> str | None:
    """A setting of this thread's network (``net/ipv4/ip_forward``); None where the kernel has no such."""
    try:
        return (_SYSCTLS / name).read_text().strip()
    except FileNotFoundError:
        return None


def write_sysctl(name: str, value: str) -> None:
    """Change a setting of this thread's network, if it is another; raises `OSError`."""
    if read_sysctl(name) != value:
        (_SYSCTLS / name).write_text(value)
