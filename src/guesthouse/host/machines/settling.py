"""Settling a snapshot's memory: from QEMU's stream to a file that everyone who goes on from it shares.

Rules
-----
1. A helper (`helping`) reads the stream into the file `memory`, writes the devices' state to `devices`, and ends.
2. Before the stream goes, a second helper has gone on from the two files.
3. The snapshot's facts say which form holds. Until they are written it is the stream, after that the files; what is
   left of the other one is removed by whoever comes next.
4. Helpers take what processor and disk have to spare.
5. `SETTLE_POINTS` names what lies between the parts; a test ends the daemon at each of them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from guesthouse.decide.observed import Desired
from guesthouse.host import identity
from guesthouse.host.frozen.pool import Frozen, Pool
from guesthouse.host.machines.freezing import freeze
from guesthouse.host.machines.helping import Helpers
from guesthouse.host.machines.process import Rank
from guesthouse.host.machines.restoring import restore, unfold
from guesthouse.host.snapshots.folder import Saved, SnapshotFolder
from guesthouse.host.snapshots.shelf import SnapshotShelf
from guesthouse.model.errors import Failed, NoCapacity
from guesthouse.model.resources import Snapshot
from guesthouse.ports import Progress

SETTLE_POINTS = ("unfolded", "frozen", "proved", "moved", "settled", "streamless")
# What devices take, and the folder: less than that, but for a screen's memory.
_RESERVE_BYTES = 32 << 20


@dataclass(frozen=True)
class Settler:
    """What it takes to settle memory. `reached` is called at every one of `SETTLE_POINTS`."""

    helpers: Helpers
    shelf: SnapshotShelf
    pool: Pool
    reached: Callable[[str], None]

    async def settle(self, snapshot: Snapshot, desired: Desired, progress: Progress) -> None:
        """Settle a snapshot's memory, and have it ready; the stream stays where that cannot be.

        Raises `NoCapacity` on a full disk, `Conflict` or `Failed` where it cannot be restored here.
        """
        folder = self.shelf.folder(snapshot.id)
        if not folder.read_facts().settled:
            saved = folder.read_saved(snapshot.name, await self.helpers.box.fingerprint())
            _check_room(folder, folder.state.stat().st_size + _RESERVE_BYTES)
            with self.shelf.in_making(snapshot) as partial:
                await self._split(snapshot, saved, desired, partial, progress)
                progress("writing")
                await asyncio.to_thread(self.shelf.sync, partial)
                self.shelf.move_memory(partial, snapshot)
            self.pool.drop(snapshot.id)
            self.reached("moved")
            self.shelf.call_settled(snapshot)
            self.reached("settled")
        folder.state.unlink(missing_ok=True)
        self.reached("streamless")
        await self.pool.ahead(snapshot.id, folder.memory)

    async def _split(
        self, snapshot: Snapshot, saved: Saved, desired: Desired, partial: SnapshotFolder, progress: Progress
    ) -> None:
        """Make `memory` and `devices` of the stream, and see that they can be gone on from."""
        folder = self.shelf.folder(snapshot.id)
        try:
            async with self.helpers.helper(
                snapshot, saved, desired, folder.variables, Rank.BACKGROUND, partial.memory
            ) as helper:
                with ExitStack() as stack:
                    stream = _opened(stack, folder.state, os.O_RDONLY)
                    memory = _opened(stack, partial.memory, os.O_RDWR)
                    progress("loading")
                    lit = await unfold(helper.ignition, saved, helper.boot, stream, memory)
                    try:
                        self.reached("unfolded")
                        await freeze(lit, partial.devices)
                    finally:
                        await lit.end()
                    self.reached("frozen")
                    progress("checking")
                    devices = _opened(stack, partial.devices, os.O_RDONLY)
                    await (await restore(helper.ignition, saved, helper.boot, Frozen(devices, memory))).end()
        except Failed:
            # A helper whose memory finds no room in its file is ended by the kernel, and can say nothing.
            _check_room(partial, _RESERVE_BYTES)
            raise
        identity.take_back(partial.memory)
        self.reached("proved")


def _check_room(folder: SnapshotFolder, bytes_more: int) -> None:
    there = os.statvfs(folder.path)
    if there.f_bavail * there.f_frsize < bytes_more:
        raise NoCapacity(
            "the disk of this host is too full to settle the snapshot's memory; it can be reverted to all the same",
            hint="make room; it is tried again after the next revert to it",
        )


def _opened(stack: ExitStack, path: Path, flags: int) -> int:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    stack.callback(os.close, descriptor)
    return descriptor
