"""Putting a machine's memory and devices into a file, and switching its disks in the same pause.

The guest runs on while its memory is written; it stands still for the last of it, for the devices, and for the disks.

Rules
-----
1. QEMU 7.2 under TCG looks which pages were written and does not tell the vCPUs that it has: to a page that one of them
   has at hand then, it may go on writing unseen. So nothing is at hand when QEMU begins: the vCPUs stand still, which
   has them forget all. And QEMU looks a second time only when they stand still for good: what was written during the
   one pass over the memory, however much it is, is written in the pause.
2. With KVM the processor keeps account, and QEMU passes over what was written again until little is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guesthouse.host.machines.interrupted import go_on, settle
from guesthouse.host.machines.qmp import Gone, Monitor, Refused
from guesthouse.model.errors import Failed, GuesthouseError, NoCapacity
from guesthouse.ports import Progress
from guesthouse.qemu import migration
from guesthouse.qemu.messages import PAUSE, RESUME

# How long the last of the memory may take; with nothing allowed, one pass is all, and the rest is the last of it.
_DOWNTIME_LIMIT_MS, _ONE_PASS = 40, 0
_LOOK_S = 0.25
# A guest that writes faster than its memory can be put away stands still for the rest.
_CONVERGE_TIMEOUT_S = 15.0
_END_TIMEOUT_S = 10 * 60.0
# What devices add to the memory that is left: less than one MiB, but for firmware and screen.
_RESERVE_BYTES = 16 << 20
_NAME = "state"


@dataclass(frozen=True)
class Stood:
    """How long the guest stood still, and what was kept: memory, and with it the devices unless they are beside it."""

    pause_ms: int
    memory_bytes: int
    devices_bytes: int = 0


class Saving:
    """One saving. `switch` does what belongs into the pause; `reached` is told how far it is.

    `exact`: whoever runs the vCPUs sees every write of theirs.
    """

    def __init__(
        self, monitor: Monitor, *, ran: bool, exact: bool, switch: Callable[[], Any], reached: Callable[[str], None]
    ) -> None:
        self._monitor = monitor
        self._ran = ran
        self._exact = exact
        self._switch = switch
        self._reached = reached
        self._stopped_at = self._resumed_at = 0.0

    async def save(self, state: Path, progress: Progress) -> Stood:
        """Write the state to a new file; the vCPUs are then as before. Raises `NoCapacity` when it finds no room."""
        descriptor = os.open(state, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            pause_ms = await self.send(descriptor, progress, lambda bytes_more: _reserve(descriptor, bytes_more))
            # QEMU wrote through the same open file: its position is ours.
            length = os.lseek(descriptor, 0, os.SEEK_CUR)
            os.ftruncate(descriptor, length)
        finally:
            os.close(descriptor)
        return Stood(pause_ms, length)

    async def send(
        self, descriptor: int, progress: Progress, reserve: Callable[[int], None] = lambda bytes_more: None
    ) -> int:
        """Write the state to a descriptor; the vCPUs are then as before. Returns for how many ms they stood still.

        `reserve` makes sure of the room for what is still to come, in bytes.
        """
        with self._monitor.listen(migration.EVENT, "STOP", "RESUME") as next_event:
            try:
                await self._write(descriptor, next_event, progress, reserve)
            except BaseException as error:
                with contextlib.suppress(Gone):
                    await settle(self._monitor, ran=self._ran)
                if isinstance(error, OSError):
                    raise _meant(error) from error
                raise
        pause_s = max(0.0, self._resumed_at - self._stopped_at) if self._ran else 0.0
        return round(pause_s * 1000)

    async def _write(
        self, descriptor: int, next_event: Callable[[], Any], progress: Progress, reserve: Callable[[int], None]
    ) -> None:
        monitor = self._monitor
        await monitor.execute(migration.capabilities(migration.WAITS_BEFORE_END))
        await monitor.execute(migration.parameters(_DOWNTIME_LIMIT_MS if self._exact else _ONE_PASS))
        await monitor.give(descriptor, _NAME)
        await self._begin(next_event)
        await self._until_waiting(next_event, progress)
        self._reached("waiting")
        left = (await monitor.execute(migration.STATE)).get("ram", {}).get("remaining", 0)
        reserve(left + _RESERVE_BYTES)
        await self._switch()
        self._reached("switched")
        await monitor.execute(migration.GO_ON)
        async with asyncio.timeout(_END_TIMEOUT_S):
            while (await self._status(next_event)) not in migration.ENDED:
                pass
        await self._check()
        self._reached("saved")
        if await go_on(monitor, ran=self._ran):
            while not self._resumed_at:
                self._note(await next_event())
        self._reached("resumed")

    async def _begin(self, next_event: Callable[[], Any]) -> None:
        """Have QEMU begin; where it is not exact, while the vCPUs stand still."""
        if self._exact or not self._ran:
            await self._monitor.execute(migration.save(_NAME))
            return
        await self._monitor.execute(PAUSE)
        await self._monitor.execute(migration.save(_NAME))
        while await self._status(next_event) not in (migration.BEGUN, *migration.ENDED):
            pass
        with contextlib.suppress(Refused):  # so little was to be written that it is at its end: this is the pause, then
            await self._monitor.execute(RESUME)
            while not self._resumed_at:
                self._note(await next_event())
            self._stopped_at = self._resumed_at = 0.0  # it is the long pause that counts

    async def _until_waiting(self, next_event: Callable[[], Any], progress: Progress) -> None:
        """Wait until all but the last is written; after a while the guest waits too."""
        loop = asyncio.get_running_loop()
        patience = loop.time() + _CONVERGE_TIMEOUT_S
        while (now := await self._monitor.execute(migration.STATE)).get("status") != migration.WAITS:
            if now.get("status") in migration.ENDED:
                await self._check()
                raise Failed("the memory could not be put away")
            ram = now.get("ram", {})
            if ram.get("total"):
                progress("saving memory", min(99.0, 100.0 * (1 - ram["remaining"] / ram["total"])))
            if loop.time() > patience:
                await self._monitor.execute(PAUSE)
                patience = float("inf")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._status(next_event)

    async def _status(self, next_event: Callable[[], Any]) -> str:
        """The migration's next status; the times at which the vCPUs stopped or went on are kept by the way."""
        while True:
            event = await next_event()
            if event["event"] == migration.EVENT:
                return str(event["data"]["status"])
            self._note(event)

    def _note(self, event: dict[str, Any]) -> None:
        at = event["timestamp"]["seconds"] + event["timestamp"]["microseconds"] / 1e6
        if event["event"] == "STOP":
            self._stopped_at = self._stopped_at or at
        elif event["event"] == "RESUME":
            self._resumed_at = at

    async def _check(self) -> None:
        """Raise what a migration that did not complete means."""
        now = await self._monitor.execute(migration.STATE)
        if now.get("status") != "completed":
            raise failure(str(now.get("error-desc", now.get("status", ""))))


def failure(said: str) -> GuesthouseError:
    """What it means that QEMU could not write the state."""
    if any(words in said for words in ("No space left", "quota exceeded", "File too large")):
        return _full()
    return Failed(f"the memory could not be put away: {said}")


def _full() -> NoCapacity:
    return NoCapacity(
        "the disk of this host is full: the snapshot was not taken, and the machine goes on",
        hint="make room and try again; nothing was left behind",
    )


def _meant(error: OSError) -> GuesthouseError:
    return _full() if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else Failed(str(error))


def _reserve(descriptor: int, bytes_more: int) -> None:
    """Make sure of the room for what is still to come, while going back is easy."""
    at = os.lseek(descriptor, 0, os.SEEK_CUR)
    os.posix_fallocate(descriptor, at, bytes_more)
