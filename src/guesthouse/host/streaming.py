"""Following a job that merges layers, in whatever QEMU has the disk."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from guesthouse.host.machines.qmp import Gone, Monitor, Refused
from guesthouse.ports import Progress
from guesthouse.qemu import streaming
from guesthouse.qemu.messages import Command

MERGES = "merge-"
"""With what the names of jobs begin that merge layers under running machines."""
_LOOK_S = 0.5
_CANCEL_TIMEOUT_S = 30.0


async def follow(monitor: Monitor, job: str, start: Command, subject: str, progress: Progress) -> None:
    """Start a job and wait for its end.

    Raises `NoCapacity` or `Failed` when it could not do its work. Whoever is cancelled here cancels the job.
    """
    with monitor.listen(streaming.EVENT) as next_event:
        await monitor.execute(start)
        try:
            await _until_concluded(monitor, job, next_event, progress)
        except BaseException:
            await _cancel(monitor, job, next_event)
            raise
    ended = streaming.find(job, await monitor.execute(streaming.JOBS))
    await monitor.execute(streaming.dismiss(job))
    if ended is not None and (failure := streaming.failure(ended, subject)) is not None:
        raise failure


async def break_off(monitor: Monitor, prefix: str) -> None:
    """End the jobs whose names begin so, which an earlier daemon had started."""
    with monitor.listen(streaming.EVENT) as next_event:
        for job in await monitor.execute(streaming.JOBS):
            if job["id"].startswith(prefix):
                await _cancel(monitor, job["id"], next_event)


async def _until_concluded(monitor: Monitor, job: str, next_event: Callable[[], Any], progress: Progress) -> None:
    """Look now and then how far it is, and at once when its status changes."""
    while (now := streaming.find(job, await monitor.execute(streaming.JOBS))) is not None:
        if now["status"] == streaming.CONCLUDED:
            return
        progress("merging", streaming.percent(now))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_S):
                while (await next_event())["data"]["id"] != job:
                    pass


async def _cancel(monitor: Monitor, job: str, next_event: Callable[[], Any]) -> None:
    with contextlib.suppress(Gone, Refused, TimeoutError):
        with contextlib.suppress(Refused):  # it has ended
            await monitor.execute(streaming.cancel(job))
        async with asyncio.timeout(_CANCEL_TIMEOUT_S):
            await _until_concluded(monitor, job, next_event, _silent)
        await monitor.execute(streaming.dismiss(job))


def _silent(phase: str, percent: float | None = None) -> None:
    """Nobody wants to know how far a cancelled job is."""
