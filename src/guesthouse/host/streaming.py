"""Following a job that merges layers, in whatever QEMU has the disk."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from guesthouse.host.machines.qmp import Gone, Monitor, Refused
from guesthouse.ports import Progress
from guesthouse.qemu import streaming
from guesthouse.qemu.messages import Command

MERGES = "merge-"
"""With what the names of jobs begin that merge layers under running machines."""
_LOOK_S = 0.5
_CANCEL_TIMEOUT_S = 30.0


async def follow(
    monitor: Monitor, job: str, start: Command, subject: str, progress: Progress, flush: Command | None = None
) -> None:
    """Start a job and wait for its end; `flush` is done when all is copied, and when the header has changed.

    Raises `NoCapacity` or `Failed` when it could not do its work. Whoever is cancelled here cancels the job.
    """
    async with _started(monitor, job, start, progress) as next_event:
        if await _is_pending(monitor, job):
            if flush is not None:
                await monitor.execute(flush)
            await monitor.execute(streaming.finalize(job))
            await _until(streaming.CONCLUDED, monitor, job, next_event, progress)
            if flush is not None:
                await monitor.execute(flush)
    await _check(monitor, job, subject)


async def copy(monitor: Monitor, job: str, start: Command, subject: str, progress: Progress) -> None:
    """Start a job and let it copy; the header of its layer stays as it is. Raises as `follow` does."""
    async with _started(monitor, job, start, progress) as next_event:
        if await _is_pending(monitor, job):
            await _cancel(monitor, job, next_event)
            return
    await _check(monitor, job, subject)


async def break_off(monitor: Monitor, prefix: str) -> None:
    """End the jobs whose names begin so, which an earlier daemon had started."""
    with monitor.listen(streaming.EVENT) as next_event:
        for job in await monitor.execute(streaming.JOBS):
            if job["id"].startswith(prefix):
                await _cancel(monitor, job["id"], next_event)


@contextlib.asynccontextmanager
async def _started(monitor: Monitor, job: str, start: Command, progress: Progress) -> AsyncIterator[Callable[[], Any]]:
    """A job that has copied all, or has failed; it is cancelled when the block fails."""
    with monitor.listen(streaming.EVENT) as next_event:
        await monitor.execute(start)
        try:
            await _until(streaming.PENDING, monitor, job, next_event, progress)
            yield next_event
        except BaseException:
            await _cancel(monitor, job, next_event)
            raise


async def _check(monitor: Monitor, job: str, subject: str) -> None:
    """Forget a job that has ended; raises what kept it from doing its work."""
    ended = streaming.find(job, await monitor.execute(streaming.JOBS))
    await monitor.execute(streaming.dismiss(job))
    if ended is not None and (failure := streaming.failure(ended, subject)) is not None:
        raise failure


async def _is_pending(monitor: Monitor, job: str) -> bool:
    now = streaming.find(job, await monitor.execute(streaming.JOBS))
    return now is not None and now["status"] == streaming.PENDING


async def _until(status: str, monitor: Monitor, job: str, next_event: Callable[[], Any], progress: Progress) -> None:
    """Look now and then how far it is, and at once when its status changes; also until it has failed."""
    while (now := streaming.find(job, await monitor.execute(streaming.JOBS))) is not None:
        if now["status"] in (status, streaming.CONCLUDED):
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
            await _until(streaming.CONCLUDED, monitor, job, next_event, _silent)
        await monitor.execute(streaming.dismiss(job))


def _silent(phase: str, percent: float | None = None) -> None:
    """Nobody wants to know how far a cancelled job is."""
