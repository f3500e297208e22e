"""The inside of running machines: programs, console, files."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

from guesthouse.formats.pictures import Picture
from guesthouse.host import agent
from guesthouse.host.agent import Agent
from guesthouse.host.console import Consoles
from guesthouse.host.durable import read_end
from guesthouse.host.machines.run import Run
from guesthouse.host.machines.runs import Runs
from guesthouse.model.errors import Conflict
from guesthouse.ports import Console, GuestCommand, GuestResult

# How long after a guest's first report its agent may come: seconds on a busy box, which is not known to be one.
_AGENT_COMES_S = 20.0


class LocalGuests:
    """Implements `ports.Guests`."""

    def __init__(self, runs: Runs, consoles: Consoles) -> None:
        self._runs = runs
        self._consoles = consoles

    async def execute(self, machine: str, command: GuestCommand) -> GuestResult:
        """Run a program through the guest agent; raises `Conflict` where none answers."""
        return await agent.execute(await listening_agent(self._runs, machine), command)

    def console(self, machine: str) -> AbstractAsyncContextManager[Console]:
        """Open the serial console; several may look at the same time."""
        return self._consoles.open(self._runs.folder(machine))

    async def log(self, machine: str, last_bytes: int, *, qemu: bool = False) -> bytes:
        """The end of what the machine wrote to its console, over restarts; with `qemu`, of QEMU's own words."""
        folder = self._runs.folder(machine)
        return read_end(folder.qemu_log if qemu else folder.console_log, last_bytes)

    async def screenshot(self, machine: str) -> Picture:
        """What the machine's screen shows now; raises `Conflict` where it does not run."""
        return await (await _running(self._runs, machine)).screen.picture()


class LocalGuestFiles:
    """Implements `ports.GuestFiles`."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    async def read(self, machine: str, path: str) -> AsyncIterator[bytes]:
        """A file's bytes in pieces; raises `NotFound` where there is none."""
        guest = await listening_agent(self._runs, machine)
        async with contextlib.aclosing(agent.read_file(guest, path)) as pieces:
            async for piece in pieces:
                yield piece

    async def write(self, machine: str, path: str, chunks: AsyncIterator[bytes], mode: int | None) -> None:
        """Write a file anew; `mode` are its permission bits, None keeps the guest's default."""
        await agent.write_file(await listening_agent(self._runs, machine), path, chunks, mode)


async def listening_agent(runs: Runs, machine: str) -> Agent:
    """The agent of a machine; raises `Conflict` when nobody listens in the guest.

    That is told at once, but for a guest that reports: its image has an agent, which may come a little later.
    """
    run = await _running(runs, machine)
    if run.stages.reports:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_AGENT_COMES_S):
                await run.agent_listens.wait()
    if not run.agent_listens.is_set():
        raise Conflict(
            "no guest agent listens in the machine",
            subject=f"machine {machine}",
            hint="it comes with the package qemu-guest-agent; `guest console` shows how far the guest is",
        )
    return run.agent


async def _running(runs: Runs, machine: str) -> Run:
    run = await runs.find(machine)
    if run is None:
        raise Conflict("the machine does not run", subject=f"machine {machine}", hint="start it first")
    return run
