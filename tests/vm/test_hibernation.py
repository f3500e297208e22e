"""Hibernated machines through real daemons: what is in the memory goes on, and the disk is as that knows it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.vm.houses import Daemon, a_daemon, a_furnished_house, guest, left_in

from guesthouse.host.images.built import BuiltImage
from guesthouse.model.house import House

pytestmark = pytest.mark.vm

_RUN = ("exec", "web", "--", "sh", "-c")
# What counts in memory alone, and tells the disk how far it has come: the disk must never be behind what it was told.
_COUNT = """
cat >/run/counts <<'END'
n=0
while :; do
  n=$((n + 1))
  echo $n >/run/now
  printf '%08d' $n | dd of=/dev/vda conv=notrunc,fsync 2>/dev/null
  echo $n >/run/written
done
END
sh /run/counts >/dev/null 2>&1 </dev/null &
"""
_LOOK = "cat /run/written; head -c 8 /dev/vda; echo; cat /run/now"
_GOES_ON = "before=$(cat /run/now); while [ $(cat /run/now) -le $before ]; do sleep 0.1; done"


async def counted(house: House) -> tuple[int, int, int]:
    """What the program knows to be on the disk, what is there, and how far it is."""
    written, on_disk, now = (await guest(house, *_RUN, _LOOK)).split()
    return int(written), int(on_disk), int(now)


async def test_memory_and_disk_go_on_where_they_stood(micro_image: BuiltImage) -> None:
    async with a_furnished_house(micro_image) as house:
        async with a_daemon(house) as daemon:
            await guest(house, "launch", "micro", "-n", "web", "-m", "128M", "--disk", "16M")
            await guest(house, *_RUN, _COUNT)
            await guest(house, *_RUN, "until [ -s /run/written ]; do sleep 0.1; done; echo mine >/run/note")
            before = await counted(house)
            await guest(house, "stop", "web", "--hibernate")
            assert left_in(house)["processes"] == []
            assert await hibernated(daemon)
            assert "hibernated" in await guest(house, "show", "web")
            assert json.loads(await guest(house, "snapshot", "list", "web", "--json"))["items"] == []
        async with a_daemon(house) as daemon:
            assert await hibernated(daemon)
            await guest(house, "start", "web")
            assert not await hibernated(daemon)
            await guest(house, *_RUN, _GOES_ON)
            written, on_disk, now = await counted(house)
            assert before[0] <= written <= on_disk <= now
            assert await guest(house, *_RUN, "cat /run/note") == "mine\n"
            # What was kept goes, and what it held is merged.
            await without_snapshots(daemon, house)
            assert await guest(house, *_RUN, "cat /run/note") == "mine\n"
            await guest(house, "delete", "web", "--yes")
            assert list(house.disks.iterdir()) == []


async def test_without_memory_that_can_be_gone_on_from_it_boots(micro_image: BuiltImage) -> None:
    async with a_furnished_house(micro_image) as house, a_daemon(house) as daemon:
        await guest(house, "launch", "micro", "-n", "web", "-m", "128M", "--disk", "16M")
        await guest(house, *_RUN, "echo one | dd of=/dev/vda conv=sync,fsync; echo mine >/run/note")
        await guest(house, "stop", "web", "--hibernate")
        (snapshot,) = house.snapshots.iterdir()
        cut_off(snapshot)
        operation = await daemon.ended((await daemon.ask("POST", "/machines/web/start", {}))["id"])
        assert operation["state"] == "failed"
        assert "cannot go on from its memory" in operation["error"]["message"]
        assert "--cold" in operation["error"]["hint"]
        assert await hibernated(daemon)
        await guest(house, "start", "web", "--cold")
        await daemon.reach("web", "configured")
        assert (
            await guest(house, *_RUN, "head -c 3 /dev/vda; ls /run/note 2>/dev/null || echo; echo none")
        ).split() == [
            "one",
            "none",
        ]
        await without_snapshots(daemon, house)


def cut_off(snapshot: Path) -> None:
    """Take away a part of what was kept."""
    state = snapshot / "state"
    with state.open("r+b") as file:
        file.truncate(state.stat().st_size // 2)


async def hibernated(daemon: Daemon) -> bool:
    machine: dict[str, Any] = await daemon.ask("GET", "/machines/web")
    return bool(machine["hibernated"])


async def without_snapshots(daemon: Daemon, house: House) -> None:
    """Wait until nothing is left of what was kept."""
    while list(house.snapshots.iterdir()):
        for row in (await daemon.ask("GET", "/operations"))["items"]:
            await daemon.ended(row["id"])
