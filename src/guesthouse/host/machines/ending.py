"""Ending a machine: by asking its guest, or without.

Rules
-----
1. The guest is asked twice, through its agent (where one listens) and by the power button: either may be deaf.
2. A guest that has shut down leaves QEMU standing (``-action shutdown=pause``); QEMU is then told to quit, so
   that it writes out what it still holds.
3. A QEMU that does not quit is killed through its pidfd: nobody else can be hit.
4. Every wait is for an event: of QMP, or the end of the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator

from guesthouse.host import identity
from guesthouse.host.agent import AgentError
from guesthouse.host.frozen.memory import memory_of
from guesthouse.host.machines import process
from guesthouse.host.machines.folder import Folder
from guesthouse.host.machines.qmp import Gone, Refused
from guesthouse.host.machines.run import Run
from guesthouse.host.machines.runs import Runs, released
from guesthouse.host.race import first_of
from guesthouse.model.errors import Conflict, TimedOut
from guesthouse.qemu.messages import POWER_DOWN, QUIT, STATUS

_AGENT_TIMEOUT_S = 3.0
_QUIT_TIMEOUT_S = 10.0
_SOCKETS = ("qmp", "console", "agent", "report")


async def shut_down(runs: Runs, folder: Folder, timeout_s: float) -> None:
    """Let the guest shut down, at most `timeout_s` long, then end the process in any case."""
    try:
        run = await runs.find(folder.machine)
        if run is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await _until_shut_down(run)
    except (Gone, TimedOut):
        pass  # it hung up, or does not answer: there is nobody left to ask
    await kill(runs, folder)


async def kill(runs: Runs, folder: Folder) -> None:
    """End the process; returns when it is gone and its sockets with it."""
    try:
        run = await runs.find(folder.machine)
        if run is not None:
            with _outlived(memory_of(run.process.pid)):
                await _quit(run)
    except TimedOut:
        await kill_unheld(folder)
    for name in _SOCKETS:
        folder.socket(name).unlink(missing_ok=True)


@contextlib.contextmanager
def _outlived(memory: Iterable[int]) -> Iterator[None]:
    """Have the memory files of a process outlive it: to free a GiB takes a tenth of a second that it would wait for."""
    held = list(memory)
    try:
        yield
    finally:
        for descriptor in held:
            asyncio.get_running_loop().run_in_executor(None, os.close, descriptor)


async def _until_shut_down(run: Run) -> None:
    with run.monitor.listen("SHUTDOWN") as next_event:
        if (await run.monitor.execute(STATUS))["status"] == "shutdown":
            return
        await first_of(next_event(), run.process.ended.wait(), _ask(run))


async def _ask(run: Run) -> None:
    """Ask the guest to shut down; never returns, for asking is not the end of it."""
    with contextlib.suppress(Refused):
        await run.monitor.execute(POWER_DOWN)
    if run.agent_listens.is_set():
        with contextlib.suppress(Conflict, AgentError):
            # The agent has no time left to answer when it does what it is asked.
            await run.agent.call("guest-shutdown", {"mode": "powerdown"}, _AGENT_TIMEOUT_S)
    await run.process.ended.wait()


async def _quit(run: Run) -> None:
    try:
        async with asyncio.timeout(_QUIT_TIMEOUT_S):
            with contextlib.suppress(Gone):
                await run.monitor.execute(QUIT)
            await run.process.ended.wait()
    except (TimeoutError, TimedOut):
        run.process.kill()
        await run.process.ended.wait()


async def clear(folder: Folder) -> None:
    """End and remove what is left of a QEMU that was no machine; it may be nothing."""
    if folder.path.is_dir():
        await kill_unheld(folder)
        await asyncio.to_thread(shutil.rmtree, folder.path, ignore_errors=True)


async def kill_unheld(folder: Folder) -> None:
    """Kill a QEMU that does not answer, or is not even one yet: whoever has to do with the machine."""
    for found in process.find_all(folder.lock, identity.machine_number(folder.path)):
        found.kill()
        await found.ended.wait()
    await released(folder)
