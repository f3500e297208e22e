"""Snapshots through a real daemon: as users ask for them, and when it is killed meanwhile."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from tests.vm.deaths import Scene, checkpoints_of, house_with_bystander
from tests.vm.houses import Daemon, a_daemon, a_furnished_house, guest, left_in

from guesthouse.host.images.built import BuiltImage

pytestmark = pytest.mark.vm

SPEC = {"name": "web", "memory_mib": 128, "disks": [{"name": "own", "size_mib": 16}]}
TAKE = ("POST", "/machines/web/snapshots", {"name": "one"})
GONE = ("DELETE", "/machines/web", None)
_RUN = ("exec", "web", "--", "sh", "-c")


async def test_killed_at_every_step_of_one_that_is_taken(micro_image: BuiltImage) -> None:
    """It is there whole, or it is not there at all; the machine has not ended, and one can be taken after that."""
    async with house_with_bystander(micro_image) as (house, bystander):
        empty = left_in(house)
        scene = Scene((("POST", "/machines", {"spec": SPEC}),), TAKE, booted=True, after=(GONE,))
        async with a_daemon(house) as daemon:
            cells = await checkpoints_of(daemon, scene, {"m": "web"})
        assert ("snapshot.create", "take-snapshot", "before") in cells
        for fatal in cells:
            async with a_daemon(house) as daemon:
                await daemon.do("POST", "/machines", {"spec": SPEC})
                await daemon.reach("web", "configured")
                pid = (await daemon.ask("GET", "/machines/web"))["status"]["pid"]
                daemon.die_at(fatal)
                operation = (await daemon.ask(*TAKE))["id"]
                assert await daemon.died() == -signal.SIGKILL, fatal
            async with a_daemon(house) as daemon:
                document = await daemon.ended(operation)
                assert document["state"] == "done", (fatal, document)
                machine = await daemon.ask("GET", "/machines/web")
                assert (machine["state"], machine["status"]["pid"]) == ("running", pid), fatal
                await daemon.do("POST", "/machines/web/snapshots/one/revert", {})
                await daemon.do(*GONE)
            assert left_in(house) == empty, fatal
            assert left_in(house)["processes"] == [bystander], fatal


@pytest.mark.parametrize("edge", ["before", "after"])
async def test_killed_while_memory_is_settled(micro_image: BuiltImage, edge: str) -> None:
    async with a_furnished_house(micro_image) as house:
        async with a_daemon(house) as daemon:
            await daemon.do("POST", "/machines", {"spec": SPEC})
            await daemon.reach("web", "configured")
            await guest(house, *_RUN, "echo before >/run/note")
            daemon.die_at(("snapshot.settle", "settle-memory", edge))
            await daemon.do(*TAKE)
            assert await daemon.died() == -signal.SIGKILL
        async with a_daemon(house) as daemon:
            await settled(daemon)
            (snapshot,) = house.snapshots.iterdir()
            assert {path.name for path in snapshot.iterdir()} == {"devices", "memory", "snapshot.json"}
            assert len(left_in(house)["machines"]) == len(left_in(house)["processes"]) == 1
            await guest(house, *_RUN, "echo after >/run/note")
            await guest(house, "snapshot", "revert", "web", "one", "--yes")
            assert await guest(house, *_RUN, "cat /run/note") == "before\n"
            await daemon.do(*GONE)
        assert left_in(house)["snapshots"] == left_in(house)["processes"] == []


async def settled(daemon: Daemon) -> None:
    """No settling is under way, and one was done."""
    while not (rows := await settlings(daemon)) or rows[-1]["state"] == "running":
        if rows:
            await daemon.ended(rows[-1]["id"])
    assert rows[-1]["state"] == "done", rows


async def settlings(daemon: Daemon) -> list[dict[str, Any]]:
    found = (await daemon.ask("GET", "/operations?all=true"))["items"]
    return sorted((row for row in found if row["kind"] == "snapshot.settle"), key=lambda row: row["created_at"])


async def test_as_users_ask_for_them(micro_image: BuiltImage) -> None:
    async with a_furnished_house(micro_image) as house, a_daemon(house):
        await guest(house, "launch", "micro", "-n", "web", "-m", "128M", "--disk", "16M")
        await guest(
            house, "exec", "web", "--", "sh", "-c", "echo 1 >/run/memory; echo one | dd of=/dev/vda conv=sync,fsync"
        )
        said = await guest(house, "snapshot", "create", "web", "one", "--description", "as it was")
        assert "not a backup" in said
        await guest(
            house, "exec", "web", "--", "sh", "-c", "echo 2 >/run/memory; echo two | dd of=/dev/vda conv=sync,fsync"
        )
        await guest(house, "snapshot", "create", "web", "two")
        listed = await guest(house, "snapshot", "list", "web")
        assert "one" in listed
        assert "two" in listed
        looks = (*_RUN, "cat /run/memory; head -c 3 /dev/vda")
        for name, memory in (("one", "1"), ("two", "2"), ("one", "1")):
            await guest(house, "snapshot", "revert", "web", name, "--yes")
            assert (await guest(house, *looks)).split() == [memory, name]
        await guest(house, "snapshot", "rename", "web", "two", "second")
        await guest(house, "snapshot", "delete", "web", "one", "--yes")
        assert (await guest(house, *looks)).split() == ["1", "one"]
        await guest(house, "snapshot", "revert", "web", "second", "--yes")
        assert (await guest(house, *looks)).split() == ["2", "two"]
        await guest(house, "delete", "web", "--yes")
        assert list(house.disks.iterdir()) == []
        assert list(house.snapshots.iterdir()) == []
