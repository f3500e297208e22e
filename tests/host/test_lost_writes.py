"""Memory that a guest writes while it is saved: whoever goes on from it finds all of it, or none."""

from __future__ import annotations

import pytest
from tests.host.shelves import Shelf
from tests.host.timelines import Timeline, a_timeline

from guesthouse.qemu import migration

pytestmark = pytest.mark.vm
# Every page is written in turns, over and over, and must hold what was written in the turn before.
_PAGES = 200
_WORK = f"""

pages, turn = bytearray({_PAGES} << 12), 0
while True:
    turn += 1
    before, now = (turn - 1).to_bytes(8, "little"), turn.to_bytes(8, "little")
    for at in range(0, len(pages), 4096):
        if pages[at : at + 8] != before:
            with open("/run/lost", "a") as file:
                file.write(f"{{turn}}: page {{at >> 12}} has {{int.from_bytes(pages[at : at + 8], 'little')}}\\n")
        pages[at : at + 8] = now
    if turn % 50 == 0:
        with open("/run/turn", "w") as file:
            file.write(str(turn))
"""
_GOES_ON = 'was=$(cat /run/turn); until now=$(cat /run/turn) && [ "$now" ] && [ $now -gt $((was + 100)) ]; do :; done'


async def goes_on(line: Timeline) -> None:
    await line.shell(_GOES_ON)
    assert await line.shell("cat /run/lost 2>/dev/null | head -5 || true") == ""


async def looks(line: Timeline) -> int:
    """How often QEMU has looked which pages were written."""
    run = await line.guest.host.runs.find(line.guest.desired.machine.id)
    assert run is not None
    return int((await run.monitor.execute(migration.STATE))["ram"]["dirty-sync-count"])


async def test_nothing_that_was_written_is_lost(shelf: Shelf) -> None:
    async with a_timeline(shelf) as line:
        await line.shell(f"cat >/run/work.py <<'END'\n{_WORK}\nEND")
        await line.shell(
            "setsid python3 -I -S /run/work.py >/dev/null 2>&1 </dev/null & until cat /run/turn; do :; done"
        )
        for name in ("one", "two", "three"):
            snapshot = await line.take(name)
            assert await looks(line) == 2, "at the begin, and when the vCPUs stand still"
            await goes_on(line)
            await line.revert(snapshot)
            await goes_on(line)
