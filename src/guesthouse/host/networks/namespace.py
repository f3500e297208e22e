"""Named network namespaces, and the ground on which they stand: making, entering and ending them.

Rules
-----
1. A namespace has a name, so that it lives without any process in it, and ``ip netns`` shows it.
2. What is done inside is done by somebody who stays there (`visits`), or by a program that is started there.
3. To end one is to take its name away; its links go as soon as nobody has anything open in it. Who wants them gone at
   once deletes them first.
4. The ground is the host, where the daemon has rights on it; else it is one of the user's own (`own`). Whatever is said
   of the host's links, routes, rules and settings is meant of the ground.

Source: ip-netns(8), setns(2), nsfs; /proc/sys/net is that of the reading thread's namespace.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from guesthouse.host.networks import visits
from guesthouse.host.networks.resolver import resolver_file
from guesthouse.host.networks.visits import Result
from guesthouse.host.processes import run

FOLDER = Path("/run/netns")
_SYSCTLS = Path("/proc/sys")
_TIMEOUT_S = 60.0  # milliseconds, but on a busy box


class Ground:
    """Where networks stand: the host itself, by rights that the daemon has."""

    names = FOLDER
    is_own = False
    """Whether it is the user's own, so that the host itself does not reach what is on it."""
    closed = opens = ""
    """Why there is no way between it and the world, and what mends that; empty where there is one."""

    def words(self, net: Path | None = None) -> tuple[str, ...]:
        """What comes before a program that is to run on it, or in the network namespace at `net`."""
        return () if net is None else ("nsenter", f"--net={net}", "--")

    def visit(self, function: Callable[[], Result], net: Path | None = None) -> Result:
        """What `function` returns or raises, called on it, or in the network namespace at `net`; it can be pickled."""
        return function() if net is None else visits.by_thread(lambda: visits.go_into(net), function)

    async def run(self, *argv: str, stdin: str = "", net: Path | None = None) -> str:
        """Run a program on it, or in the network namespace at `net`, see `processes.run`."""
        return (await run((*self.words(net), *argv), stdin=stdin.encode(), timeout_s=_TIMEOUT_S)).decode()

    def resolver(self) -> str:
        """The file that names the name servers that networks can ask; "" where there are none."""
        return resolver_file()

    async def lead(self, forwards: frozenset[tuple[str, int]]) -> None:
        """Have these ports of the host, by protocol and number, lead to the ground, and no others."""

    def has(self, pid: int) -> bool:
        """Whether a process is on it, and not on one that was lost."""
        return True

    def require(self) -> None:
        """Raise `Failed` where it was lost."""

    async def keep(self) -> None:
        """Mend whatever of the ground itself ends, as long as there is any."""

    def shorten_log(self) -> None:
        """Keep the end of what its programs say."""

    def forget(self) -> None:
        """Stop watching it; it lives on."""

    async def end(self) -> None:
        """Have it no more, when no network stands on it."""


HOST = Ground()


class Namespace:
    """A network namespace with a name; it may not be there."""

    def __init__(self, name: str, ground: Ground = HOST) -> None:
        self.name = name
        self.path = ground.names / name
        self._ground = ground

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
        is_known = resident is not None and self._ground.has(resident)
        words = ("attach", self.name, str(resident)) if is_known else ("add", self.name)
        await self._ground.run("ip", "netns", *words)

    async def remove(self) -> None:
        """Have no such name."""
        if self.path.exists():
            await self._ground.run("ip", "netns", "delete", self.name)

    def enter(self, function: Callable[[], Result]) -> Result:
        """What `function`, which can be pickled, returns or raises, called inside by somebody who stays there."""
        return self._ground.visit(function, self.path)

    def words(self) -> tuple[str, ...]:
        """What comes before a program that is to run inside."""
        return self._ground.words(self.path)

    async def run(self, *argv: str, stdin: str = "") -> str:
        """Run a program inside, see `processes.run`."""
        return await self._ground.run(*argv, stdin=stdin, net=self.path)


def apart(function: Callable[[], Result]) -> Result:
    """What `function` returns or raises, called in a new namespace, which ends with what is opened there."""
    if os.geteuid() == 0:
        return visits.by_thread(lambda: visits.leave(visits.NEW_NET), function)
    return visits.by_child(lambda: visits.leave(visits.NEW_USER | visits.NEW_NET), function)


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
