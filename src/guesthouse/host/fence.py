"""The fence around a house's guests: no connection of theirs to this host's own addresses.

On a user-mode network a guest reaches the host as a process of the host does: at 10.0.2.2 it has the host's
loopback, with every service there and the forwarded ports of other machines. Where each machine's QEMU is a user of
its own (`identity`), one nftables rule on these users closes that (`formats.nftables` has the rules).

Rules
-----
1. The fence stands before the first machine starts, and knows no machine: a start costs nothing more.
2. Machines outlive the daemon, and so does their fence. A daemon that ends while none runs takes it down.
3. Other programs may flush all rules of the host, as a restart of nftables.service does. The kernel tells, and the
   fence is put up again.
4. Without nft, or the right to use it, the house opens all the same: the log and `guest host check` say so.

Source: linux/netfilter/nfnetlink.h and nf_tables.h; netlink(7): ENOBUFS says that messages were lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from guesthouse.formats import nftables
from guesthouse.host import identity
from guesthouse.host.machines.folder import Folder
from guesthouse.host.machines.process import is_locked
from guesthouse.host.processes import run
from guesthouse.model.errors import ChildFailed, Failed, GuesthouseError
from guesthouse.model.house import House

_LOG = logging.getLogger(__name__)
_TIMEOUT_S = 60.0  # nft answers in milliseconds, but on a busy box; to give up is to leave guests a way
_NETLINK_NETFILTER = 12
_TABLES_GROUP = 1 << (7 - 1)  # NFNLGRP_NFTABLES
_TABLE_DELETED = 10 << 8 | 2  # NFNL_SUBSYS_NFTABLES, NFT_MSG_DELTABLE
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_MESSAGES_BYTES = 64 * 1024
_OPEN = "guests reach this host's loopback, see `guest host check`: %s"
_FIXES = (
    ("not installed", "apt install nftables"),
    ("not permitted", "give the daemon the capability CAP_NET_ADMIN"),
    ("", "see whether `nft list ruleset` works, and the kernel has nf_tables, nft_reject_inet and nft_ct"),
)


class Fence:
    """The fence of one house."""

    def __init__(self, house: House) -> None:
        self.table = nftables.table_of(house.home.resolve())
        self.stands = False
        """Whether we put it up: then it is kept up, and taken down at the end."""
        self._text = nftables.fence(self.table, identity.MACHINES)

    async def put_up(self) -> None:
        """Have it up, whole, whatever there was; raises `Failed`, with what mends it as hint."""
        if not identity.can_confine():
            mends = "see `confinement`" if os.geteuid() == 0 else "run the daemon as root"
            raise Failed("QEMU runs as the daemon's own user", hint=mends)
        try:
            await _nft(self._text)
        except GuesthouseError as error:
            reason = _reason(error)
            raise Failed(reason, hint=next(fix for part, fix in _FIXES if part in reason)) from error
        self.stands = True

    async def take_down(self) -> None:
        """Have it no longer; there was none is as good. Raises `GuesthouseError`."""
        await _nft(nftables.without(self.table))
        self.stands = False

    async def keep_up(self, removals: socket.socket) -> None:
        """Put it up again whenever somebody removes it, without end; `removals` is of `listen`."""
        while True:
            await _removal(removals)
            try:
                if self.stands and not await self._is_there():
                    await self.put_up()
                    _LOG.warning("the table %s was removed by another program; it is there again", self.table)
            except GuesthouseError as error:
                _LOG.warning("the table %s was removed, guests reach this host's loopback: %s", self.table, error)

    async def _is_there(self) -> bool:
        try:
            await run(["nft", "list", "table", *self.table.split()], timeout_s=_TIMEOUT_S)
        except ChildFailed:
            return False
        return True


@asynccontextmanager
async def fenced(house: House, tasks: asyncio.TaskGroup) -> AsyncIterator[Fence]:
    """The fence of a house, kept up by a task of `tasks`; it outlasts the block as long as machines run."""
    fence = Fence(house)
    removals = listen() if identity.can_confine() else None
    if removals is None:
        yield fence
        return
    with removals:
        try:
            await fence.put_up()
        except GuesthouseError as error:
            _LOG.warning(_OPEN, error)
        keeper = tasks.create_task(fence.keep_up(removals))
        try:
            yield fence
        finally:
            keeper.cancel()
            await asyncio.wait([keeper])
            await _leave(fence, house)


async def _leave(fence: Fence, house: House) -> None:
    if not fence.stands or any(is_locked(Folder(path).lock) for path in house.machines.iterdir()):
        return
    try:
        await fence.take_down()
    except GuesthouseError as error:
        _LOG.warning("the table %s stays: %s", fence.table, error)


def listen() -> socket.socket | None:
    """A socket on which the kernel tells of changed tables; None, and a warning, where we may not change any."""
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    with contextlib.ExitStack() as stack:
        try:
            listener = stack.enter_context(socket.socket(socket.AF_NETLINK, kind, _NETLINK_NETFILTER))
            listener.bind((0, _TABLES_GROUP))
        except OSError as error:
            _LOG.warning(_OPEN, error)
            return None
        stack.pop_all()
    return listener


async def _removal(listener: socket.socket) -> None:
    """Wait until a table is deleted, or may have been."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            data = await loop.sock_recv(listener, _MESSAGES_BYTES)
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                return
            raise
        if _TABLE_DELETED in _kinds(data):
            return


def _kinds(data: bytes) -> set[int]:
    """The types of the netlink messages in a datagram; each begins at a multiple of 4."""
    found, at = set(), 0
    while at + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        found.add(kind)
        at += max(length + 3 & ~3, _HEADER.size)
    return found


def _reason(error: GuesthouseError) -> str:
    """What nft calls an error, without the place in the text and the carets below it."""
    lines = error.lines if isinstance(error, ChildFailed) else ()
    return next((line.rpartition("Error: ")[2] for line in lines if "Error: " in line), str(error))


async def _nft(text: str) -> None:
    await run(["nft", "-f", "-"], stdin=text.encode(), timeout_s=_TIMEOUT_S)
