"""A host as an ordinary user finds it: a child of the test that is nobody in particular, with a host of its own."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from tests.host.boxes import a_house
from tests.host.children import be_dumpable, bind, lose_everything, mount_small, run_as, take_own_network

from guesthouse.host.machines.process import find
from guesthouse.host.networks import visits
from guesthouse.host.networks.local import clean
from guesthouse.model.house import House

USER = 12_345
"""A user number that nobody here has."""
ADDRESS = "203.0.113.1"
"""The host's own."""
_TUN = Path("/dev/net/tun")


def _no_more() -> None:
    """Nothing else is to be prepared."""


def as_a_user(
    tmp_path: Path, work: Callable[[], Coroutine[Any, Any, None]], then: Callable[[], None] = _no_more
) -> None:
    """Do the work as an ordinary user; `then` changes more of the child, as root.

    Where the test is root its host is one of the test's own; else it is the box, of which a user can change nothing.
    """

    def prepare() -> None:
        if os.geteuid() != 0:
            return
        resolver = tmp_path / "resolv.conf"
        resolver.write_text("nameserver 203.0.113.100\n")
        resolver.chmod(0o644)
        take_own_network(resolver, f"{ADDRESS}/32")
        mount_small(Path("/run"), "8m")
        _let_everybody_have_taps()
        then()
        _let_everybody_read(tmp_path)
        os.setgroups([])
        os.setresgid(USER, USER, USER)
        os.setresuid(USER, USER, USER)
        be_dumpable()

    run_as(prepare, work)


@asynccontextmanager
async def a_house_of_a_user() -> AsyncIterator[House]:
    """A house whose networks, and all that they stand on, go with the block."""
    with a_house() as house:
        try:
            yield house
        finally:
            await clean(house)


def processes(house: House) -> list[int]:
    """Whatever runs for a house: its QEMUs, name servers, way out, and who holds its namespace."""
    holder = find(house.networks / "holder")
    if holder is not None:
        holder.forget()
    found = [holder.pid] if holder is not None else []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.fsencode(house.home) + b"/" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
    return sorted(found)


def _let_everybody_have_taps() -> None:
    """As udev does."""
    number = _TUN.stat().st_rdev
    mount_small(_TUN.parent, "1m")
    os.mknod(_TUN, stat.S_IFCHR | 0o666, number)
    _TUN.chmod(0o666)


def _let_everybody_read(tmp_path: Path) -> None:
    """Let every user come to this checkout and to the Python that runs it, whatever folders they are in."""
    for path in (Path(__file__).parents[2], Path(sys.prefix), Path(sys.base_prefix)):
        closed = [above for above in path.parents if not above.stat().st_mode & 0o001]
        if closed:
            kept = tmp_path / path.name
            kept.mkdir()
            bind(path, kept)
            mount_small(closed[-1], "1m")
            path.mkdir(parents=True)
            bind(kept, path)


def forbid_namespaces() -> None:
    """Be where nobody may have a user namespace, and have no rights there."""
    visits.leave(visits.NEW_USER)
    Path("/proc/sys/user/max_user_namespaces").write_text("0")
    lose_everything()
