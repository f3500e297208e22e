"""What a real machine's screen shows."""

from __future__ import annotations

import asyncio

import pytest
from tests.host.boxes import a_house, changed, converge, publish, until, wanted

from guesthouse.host.images.built import BuiltImage
from guesthouse.host.local import open_host
from guesthouse.host.machines.qmp import Refused
from guesthouse.model.errors import Conflict
from guesthouse.model.machine import Power, Stage
from guesthouse.qemu.messages import Command

pytestmark = pytest.mark.vm


async def test_a_screen_shows_what_is_on_it(micro_image: BuiltImage) -> None:
    with a_house() as house:
        async with open_host(house) as host:
            still = wanted(image=publish(house, micro_image), power=Power.PAUSED, screen=True)
            await converge(host, still)
            machine = still.machine.id
            # Nothing has run: QEMU itself says so on the screen.
            first, *others = await asyncio.gather(*(host.guests.screenshot(machine) for _ in range(4)))
            assert others == [first] * 3
            run = await host.runs.find(machine)
            assert run is not None
            assert len(await run.monitor.execute(Command("query-fdsets"))) == 1
            assert len(set(first.pixels)) > 1
            running = changed(still, power=Power.RUNNING)
            await converge(host, running)
            await until(host, running, lambda seen: bool(seen.process and seen.process.stage is Stage.CONFIGURED))
            text = await host.guests.screenshot(machine)
            assert ((text.width, text.height), len(set(text.pixels)) > 1) == ((720, 400), True)
            with pytest.raises(Conflict, match="does not run"):
                await host.guests.screenshot("another")


async def test_a_machine_without_a_screen_shows_none() -> None:
    with a_house() as house:
        async with open_host(house) as host:
            blind = wanted(power=Power.PAUSED)
            await converge(host, blind)
            with pytest.raises(Refused, match="screendump"):
                await host.guests.screenshot(blind.machine.id)
