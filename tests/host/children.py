"""Running a piece of a test in a child process that is somebody else, or sees other mounts."""

from __future__ import annotations

import asyncio
import concurrent.futures.thread  # noqa: F401 - asyncio loads it late: nobody may not read it then
import ctypes
import os
import struct
import subprocess
import sys
import traceback
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

NOBODY = 65534
_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 1 << 18
_CAPABILITIES_3, _CAP_NET_ADMIN, _PR_CAPBSET_DROP = 0x20080522, 12, 24  # capset(2), capabilities(7), prctl(2)
_PR_SET_DUMPABLE = 4
_libc = ctypes.CDLL(None, use_errno=True)


def run_as(prepare: Callable[[], None], work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Fork; in the child prepare and then do the work. Its failure is ours, with its traceback."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            prepare()
            asyncio.run(work())
            status = 0
        except BaseException:
            os.write(writing, traceback.format_exc().encode()[-60000:])
        finally:
            sys.stdout.flush()
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    assert status == 0, said


def become_nobody() -> None:
    """Give up root for good; a user who is not root is nobody enough."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)


def become_alone() -> None:
    """Be root of a user namespace with no other user in it, with a network and mounts of its own."""
    user, group = os.geteuid(), os.getegid()
    _check(_libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS | _CLONE_NEWNET))
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        Path(f"/proc/self/{name}").write_text(text)
    mount_small(Path("/run"), "1m")


def mount_small(folder: Path, size: str) -> None:
    """Put a small file system on a folder, for this process and its children alone; it is gone with them."""
    _leave_the_box(_CLONE_NEWNS)
    _check(_libc.mount(b"none", os.fsencode(folder), b"tmpfs", 0, f"size={size}".encode()))


def bind(path: Path, at: Path) -> None:
    """Show what is at a path at another one too, to this process and its children alone."""
    _leave_the_box(_CLONE_NEWNS)
    _check(_libc.mount(os.fsencode(path), os.fsencode(at), None, _MS_BIND | _MS_REC, None))


def take_own_network(resolver: Path, *addresses: str) -> None:
    """Have a network with nothing but a loopback device, which has these addresses too, and an own resolv.conf."""
    _leave_the_box(_CLONE_NEWNS | _CLONE_NEWNET)
    for words in (("link", "set", "lo", "up"), *(("addr", "add", address, "dev", "lo") for address in addresses)):
        subprocess.run(("ip", *words), check=True)
    _check(_libc.mount(os.fsencode(resolver), b"/etc/resolv.conf", None, _MS_BIND, None))


def lose_net_admin() -> None:
    """Give up the capability to change networks, for this process and those it starts."""
    _check(_libc.prctl(_PR_CAPBSET_DROP, _CAP_NET_ADMIN, 0, 0, 0))
    header = struct.pack("=Ii", _CAPABILITIES_3, 0)
    sets = ctypes.create_string_buffer(24)
    _check(_libc.capget(header, sets))
    kept = ~(1 << _CAP_NET_ADMIN) & 0xFFFF_FFFF
    low = (word & kept for word in struct.unpack_from("=3I", sets))
    _check(_libc.capset(header, struct.pack("=3I", *low) + sets.raw[12:]))


def be_dumpable() -> None:
    """Have /proc/self be this user's, as it is after a program was started; who changes users loses that."""
    _check(_libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0))


def lose_everything() -> None:
    """Give up all capabilities that this process has."""
    header = struct.pack("=Ii", _CAPABILITIES_3, 0)
    _check(_libc.capset(header, bytes(24)))


def set_file_user(number: int) -> None:
    """Open files and sockets as this user from now on: the one whom "meta skuid" sees. See setfsuid(2)."""
    _libc.setfsuid(number)


def _leave_the_box(flags: int) -> None:
    """Have these namespaces for oneself; what is mounted from now on is seen by nobody else."""
    _check(_libc.unshare(flags if os.geteuid() == 0 else flags | _CLONE_NEWUSER))
    _check(_libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None))


def _check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
