"""Putting away all of a QEMU but its memory, which lies in a file of its own: of a template, of a settled snapshot."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from guesthouse.host.machines.ignition import Lit
from guesthouse.model.errors import Failed
from guesthouse.qemu import migration
from guesthouse.qemu.messages import PAUSE

_SAVE_TIMEOUT_S = 10 * 60.0


async def freeze(lit: Lit, state: Path) -> None:
    """Stop the vCPUs and save all but the memory to a new file; QEMU then ends, its files whole.

    Raises `Failed` when it cannot be saved.
    """
    await lit.monitor.execute(PAUSE)
    await lit.monitor.execute(migration.capabilities(migration.MEMORY_STAYS))
    descriptor = os.open(state, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        await lit.monitor.give(descriptor, "state")
    finally:
        os.close(descriptor)
    with lit.monitor.listen(migration.EVENT) as next_event:
        await lit.monitor.execute(migration.save("state"))
        async with asyncio.timeout(_SAVE_TIMEOUT_S):
            while (status := (await next_event())["data"]["status"]) not in migration.ENDED:
                pass
    if status != "completed":
        raise Failed(f"the guest could not be frozen: {status}")
    await lit.quit()
