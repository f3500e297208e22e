"""Keeping the memory of a machine that is being forked: ready to be gone on from the moment the machine goes on itself.

Rules
-----
1. A helper (`helping`) reads what QEMU writes of the machine while that runs on, into a memory file. It writes the
   devices' state to the snapshot's `devices`, and ends; no disk ever has the memory.
2. The memory is sealed then, and all forks map it, copy on write. The pool holds it until the snapshot goes, and so
   does the machine's QEMU, by a descriptor: a daemon that was killed finds it again there.
3. Without both it is gone: a fork that has not begun by then fails.
4. For a while the memory takes up all of its size, zeros too. What the pool has no room for is kept as a stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from guesthouse.decide.observed import Desired
from guesthouse.host.frozen.memory import memory_file, memory_name, memory_of, seal
from guesthouse.host.frozen.pool import Pool
from guesthouse.host.machines.freezing import freeze
from guesthouse.host.machines.helping import Helper, Helpers
from guesthouse.host.machines.ignition import Lit
from guesthouse.host.machines.process import Rank
from guesthouse.host.machines.qmp import Monitor, Refused
from guesthouse.host.machines.restoring import unfold
from guesthouse.host.machines.run import Run
from guesthouse.host.machines.saving import Stood, failure
from guesthouse.host.processes import run as run_program
from guesthouse.host.snapshots.folder import Saved, SnapshotFolder
from guesthouse.model.errors import Failed
from guesthouse.model.resources import Snapshot
from guesthouse.qemu.messages import Command

# SO_SNDBUFFORCE of asm-generic/socket.h, see socket(7): Python has no name for it.
_SNDBUFFORCE, _BUFFER_BYTES = 32, 64 << 20


@dataclass(frozen=True)
class Keeper:
    """What it takes to keep memory for forks."""

    helpers: Helpers
    pool: Pool

    def has_room(self, snapshot: Snapshot, memory_mib: int) -> bool:
        """Whether the memory of a snapshot is to be kept like that."""
        return snapshot.passing and self.pool.has_room(memory_mib << 20)

    async def keep(
        self,
        run: Run,
        snapshot: Snapshot,
        saved: Saved,
        desired: Desired,
        partial: SnapshotFolder,
        send: Callable[[int], Awaitable[int]],
    ) -> Stood:
        """Keep the memory that `send` writes to a descriptor; it returns how long the guest stood still."""
        async with self.helpers.helper(snapshot, saved, desired, run.folder.variables, Rank.HELPER) as helper:
            memory = memory_file(snapshot.id, saved.placed.memory_mib << 20)
            try:
                pause_ms, lit = await _pass_on(helper, saved, memory, send)
                try:
                    await freeze(lit, partial.devices)
                finally:
                    await lit.end()
                await run_program(["fallocate", "--dig-holes", f"/proc/{os.getpid()}/fd/{memory}"])  # pages of zeros
                seal(memory)
                await run.monitor.give(memory, memory_name(snapshot.id))
            except BaseException:
                os.close(memory)
                raise
        self.pool.hold(snapshot.id, memory)
        return Stood(pause_ms, os.fstat(memory).st_blocks * 512, partial.devices.stat().st_size)


async def _pass_on(helper: Helper, saved: Saved, memory: int, send: Callable[[int], Awaitable[int]]) -> tuple[int, Lit]:
    """Have the helper read what is sent; how long the guest stood still, and the helper that has it all.

    The helper alone has the other end: should it end, QEMU is told so and does not wait for it.
    """
    theirs, ours = socket.socketpair()
    with contextlib.suppress(PermissionError):  # without it the guest waits for the helper to read what is last
        ours.setsockopt(socket.SOL_SOCKET, _SNDBUFFORCE, _BUFFER_BYTES)
    with theirs:
        reading = asyncio.ensure_future(
            unfold(helper.ignition, saved, helper.boot, theirs.fileno(), memory, theirs.close)
        )
        try:
            with ours:
                pause_ms = await send(ours.fileno())
            try:
                return pause_ms, await reading
            except Failed as error:
                raise failure(str(error)) from error
        except BaseException:
            reading.cancel()
            await asyncio.wait((reading,))
            if not reading.cancelled() and reading.exception() is None:
                await reading.result().end()
            raise


def find_again(run: Run, snapshot: str) -> int | None:
    """The memory that a machine's QEMU holds for its forks, as a descriptor of our own."""
    return next(memory_of(run.process.pid, snapshot), None)


async def let_go(monitor: Monitor, snapshot: str) -> None:
    """Have a machine's QEMU hold the memory no longer; it may not have held it."""
    with contextlib.suppress(Refused):
        await monitor.execute(Command("closefd", {"fdname": memory_name(snapshot)}))
