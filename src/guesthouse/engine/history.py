"""What has ended is kept for a while, then forgotten; events bound themselves (`store.events`)."""

from __future__ import annotations

import asyncio

from guesthouse.engine.accept.dialect import TAGGABLE
from guesthouse.engine.accept.pieces import REMEMBERED_S, TOKEN
from guesthouse.model.dialect import SHOWN_S, DoorRecord
from guesthouse.ports import Store, Transaction

KEPT_S = 30 * 24 * 3600
_LOOK_EVERY_S = 3600


async def keep_short(store: Store) -> None:
    """Forget what is old, once an hour, without an end."""
    while True:
        await forget_ended(store, KEPT_S)
        await forget_kept(store)
        await asyncio.sleep(_LOOK_EVERY_S)


async def forget_kept(store: Store) -> None:
    """Delete what doors keep of things that went, requests that are remembered no more, and tags of what is gone."""
    async with store.read() as tx:
        now = await tx.now()
        records = [record for record in await tx.door_records.select() if _is_over(record, now)]
        subjects = dict.fromkeys(tag.subject for tag in await tx.tags.select())
        rules = {rule.id for group in await tx.groups.select() for rule in group.rules}
        gone = {subject for subject in subjects if subject not in rules and not await _is_there(tx, subject)}
    if records or gone:
        async with store.write() as tx:
            for record in records:
                await tx.door_records.delete(record.id)
            for subject in gone:
                for tag in await tx.tags.select(subject=subject):
                    await tx.tags.delete(tag.id)


def _is_over(record: DoorRecord, now: float) -> bool:
    if record.kind == TOKEN:
        return record.created_at < now - REMEMBERED_S
    return 0 < record.gone_at < now - SHOWN_S


async def _is_there(tx: Transaction, id: str) -> bool:
    for table in TAGGABLE:
        if await getattr(tx, table).get(id) is not None:
            return True
    return False


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
