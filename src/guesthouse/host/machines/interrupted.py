"""A snapshot that a killed daemon had begun: what its QEMU and its guest are to be freed from.

Rules
-----
1. Before anything is done to a running machine that must not stay, a mark in its folder says what (`Mark`).
2. Whoever adopts a machine with a mark ends the migration, lets vCPUs run that ran, and file systems be written to.
   Merges are broken off: they cost nothing but time, and are done again where they are still wanted.
3. A QEMU whose migration was completed has given its disks away and only gets them back by running: a machine that
   stood still is let run and stopped again by two commands sent as one.
"""

from __future__ import annotations

import asyncio
import logging

import msgspec

from guesthouse.host.agent import AgentError
from guesthouse.host.durable import write_whole
from guesthouse.host.machines.folder import Folder
from guesthouse.host.machines.qmp import Monitor, Refused
from guesthouse.host.machines.run import Run
from guesthouse.host.streaming import MERGES, break_off
from guesthouse.model.errors import Conflict
from guesthouse.qemu import migration
from guesthouse.qemu.messages import PAUSE, RESUME, STATUS

_LOG = logging.getLogger(__name__)
_THAW_TIMEOUT_S = 20.0
_STANDS_STILL = frozenset({"paused", "postmigrate", "prelaunch"})


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """``snapshotting.json``: whether the vCPUs ran, and whether the guest was told to freeze its file systems."""

    ran: bool
    frozen: bool = False


def mark(folder: Folder, said: Mark) -> None:
    """Say what is about to be done."""
    write_whole(folder.snapshotting, msgspec.json.encode(said), lasting=False)


def unmark(folder: Folder) -> None:
    """It was done, and undone."""
    folder.snapshotting.unlink(missing_ok=True)


async def recover(run: Run) -> None:
    """Free a machine just adopted from what a killed daemon had begun."""
    await break_off(run.monitor, MERGES)
    try:
        said = msgspec.json.decode(run.folder.snapshotting.read_bytes(), type=Mark)
    except (FileNotFoundError, msgspec.DecodeError):
        return
    await settle(run.monitor, ran=said.ran)
    if said.frozen:
        await thaw(run)
    unmark(run.folder)


async def settle(monitor: Monitor, *, ran: bool) -> None:
    """End a migration that is under way; the vCPUs then run, or stand still, as they did before it."""
    with monitor.listen(migration.EVENT) as next_event:
        if (await monitor.execute(migration.STATE)).get("status") in migration.UNDER_WAY:
            await monitor.execute(migration.CANCEL)
            while (await next_event())["data"]["status"] not in migration.ENDED:
                pass
    await go_on(monitor, ran=ran)


async def go_on(monitor: Monitor, *, ran: bool) -> bool:
    """Let the vCPUs be as they were before a migration that has ended; whether they were told to run again."""
    # QEMU says that a migration has ended a moment before it has, and no event tells when.
    while (runstate := (await monitor.execute(STATUS))["status"]) == "finish-migrate":
        pass
    if ran and runstate in _STANDS_STILL:
        await monitor.execute(RESUME)
        return True
    if not ran and runstate == "postmigrate":
        await asyncio.gather(monitor.execute(RESUME), monitor.execute(PAUSE))
    return False


async def thaw(run: Run) -> None:
    """Have the guest write to its file systems again; an agent that does not answer is waited for, not long."""
    try:
        await run.agent.call("guest-fsfreeze-thaw", timeout_s=_THAW_TIMEOUT_S)
    except (Conflict, AgentError, Refused) as error:
        _LOG.warning("machine %s: its file systems may still be frozen: %s", run.folder.machine, error)
