"""Ended operations are kept for a while, then forgotten; events bound themselves (`store.events`)."""

from __future__ import annotations

import asyncio

from guesthouse.ports import Store

KEPT_S = 30 * 24 * 3600
_LOOK_EVERY_S = 24 * 3600


async def keep_short(store: Store) -> None:
    """Forget what is old, once a day, without an end."""
    while True:
        await forget_ended(store, KEPT_S)
        await asyncio.sleep(_LOOK_EVERY_S)


async def forget_ended(store: Store, kept_s: float) -> int:
    """Delete operations that ended more than `kept_s` seconds ago, by the database's clock; how many there were."""
    async with store.read() as tx:
        limit = await tx.now() - kept_s
        old = [row.id for row in await tx.operations.scan() if row.ended_at and row.ended_at < limit]
    if old:
        async with store.write() as tx:
            for operation in old:
                await tx.operations.delete(operation)
    return len(old)
