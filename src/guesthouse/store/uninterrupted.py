"""Calls of a database are not cancelled half-way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Await `work`; cancelled meanwhile, see it through first. It has a time limit of its own.

    A driver that is cancelled gives its connection up. SQLite's goes on in its thread, and keeps the writers'
    lock as long as anything, a kept traceback too, refers to its statement (sqlite.org/c3ref/close.html).
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        raise
