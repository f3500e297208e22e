"""A machine with a guest that runs, and what a test asks of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from tests.host.boxes import converge, until
from tests.patience import PATIENCE_S

from guesthouse.decide.observed import Desired, Observed
from guesthouse.host.local import LocalHost
from guesthouse.model.house import House
from guesthouse.model.machine import Stage
from guesthouse.ports import GuestCommand

_STAGES = tuple(Stage)


@dataclass
class Guest:
    """A machine that runs; `desired` is what the last test wanted of it."""

    house: House
    host: LocalHost
    desired: Desired

    async def want(self, desired: Desired) -> list[str]:
        """Make the machine so; the names of the steps."""
        self.desired = desired
        _, steps = await converge(self.host, desired)
        return steps

    async def until(self, stage: Stage) -> Observed:
        """The machine when its guest is so far, or further: it does not wait for us to look."""
        far_enough = _STAGES[_STAGES.index(stage) :]
        return await until(
            self.host, self.desired, lambda seen: bool(seen.process and seen.process.stage in far_enough)
        )

    async def run(self, *argv: str) -> str:
        """What a program in the guest says."""
        command = GuestCommand(argv, timeout_s=PATIENCE_S)
        result = await self.host.guests.execute(self.desired.machine.id, command)
        assert result.exit_status == 0, result
        return result.stdout.decode()

    async def banner(self) -> bytes:
        """What the guest's SSH server says first, through the port that leads to it."""
        observed = await self.host.machines.observe(self.desired)
        assert observed.process is not None
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", observed.process.ssh_port)
            try:
                return await reader.readline()
            finally:
                writer.close()
