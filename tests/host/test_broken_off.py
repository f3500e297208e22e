"""Snapshots that a killed daemon or a full disk breaks off: the machine goes on, and nothing is lost or left."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from tests.host.boxes import a_daemon, a_disk, changed, converge, qemus
from tests.host.children import mount_small, run_as
from tests.host.guests import Guest
from tests.host.shelves import Shelf
from tests.host.timelines import (
    Timeline,
    a_timeline,
    count,
    counts,
    leftovers,
    reverting,
    start_counting,
    taken,
    taking,
    tidy,
)

from guesthouse.decide.observed import Desired
from guesthouse.host.local import open_host
from guesthouse.host.machines.snapshotting import SNAPSHOT_POINTS
from guesthouse.host.machines.starting import RESTORE_POINTS
from guesthouse.model.errors import Failed, NoCapacity
from guesthouse.model.machine import Bus, Deleting, Power, Stage
from guesthouse.model.resources import Disk

pytestmark = pytest.mark.vm
# From here on the disks have gone on, and from there the snapshot is whole.
SWITCHED, TAKEN = SNAPSHOT_POINTS.index("switched"), SNAPSHOT_POINTS.index("taken")


@asynccontextmanager
async def left_alone(shelf: Shelf, *disks: tuple[Disk, Bus]) -> AsyncIterator[Desired]:
    """A configured machine in which a program counts, and of which no daemon knows; it is gone at the end."""
    desired = shelf.fork(disks=disks)
    try:
        async with held(shelf, desired) as line:
            await converge(line.guest.host, desired)
            await line.guest.until(Stage.CONFIGURED)
            await start_counting(line)
            for disk, _ in disks:
                await line.write(disk, "before")
            await line.shell("echo before >/run/note")
        yield desired
    finally:
        async with open_host(shelf.house) as host:
            everything = tuple(disk for disk, _ in disks)
            await converge(host, changed(desired, disks=everything, deleting=Deleting.WITH_DISKS))


@asynccontextmanager
async def held(shelf: Shelf, desired: Desired) -> AsyncIterator[Timeline]:
    """The machine in the hands of another daemon."""
    async with open_host(shelf.house) as host:
        yield Timeline(Guest(shelf.house, host, desired))


# One that is there for forks has its memory in no file: `machines.keeping`.
@pytest.mark.parametrize(
    ("point", "passing"), [*((point, False) for point in SNAPSHOT_POINTS), ("waiting", True), ("saved", True)]
)
async def test_a_daemon_killed_while_taking_a_snapshot(shelf: Shelf, point: str, passing: bool) -> None:
    disk = a_disk(16)
    async with left_alone(shelf, (disk, Bus.VIRTIO)) as before:
        desired, snapshot = taking(before, passing=passing)
        (alive,) = qemus(shelf.house)
        async with a_daemon(shelf.house, desired, point, whole=True):
            pass
        async with held(shelf, desired) as line:
            await counts(line)
            if SWITCHED <= SNAPSHOT_POINTS.index(point) < TAKEN:
                with pytest.raises(Failed, match="was interrupted: its disks had gone on"):
                    await line.guest.want(desired)
                # What the engine then wants: the snapshot is not there, what was written stays.
                await line.guest.want(tidy(replace(desired, snapshots=())))
                await counts(line)
            else:
                await line.guest.want(desired)
                line.guest.desired = taken(desired, snapshot)
                await line.write(disk, "after")
                await line.revert(snapshot)
                assert await line.shell("cat /run/note") == "before\n"
                await line.delete(snapshot)
            assert await line.read(disk) == "before"
            assert len(line.layers(disk)) == 1
            assert list(shelf.house.snapshots.iterdir()) == []
            assert leftovers(line) == []
            if SWITCHED <= SNAPSHOT_POINTS.index(point) < TAKEN:
                assert qemus(shelf.house) == [alive]


@pytest.mark.parametrize("point", ["waiting", "switched", "saved"])
async def test_a_paused_machine_is_paused_after_it(shelf: Shelf, point: str) -> None:
    disk = a_disk(16)
    async with left_alone(shelf, (disk, Bus.VIRTIO)) as before:
        async with held(shelf, before) as line:
            await line.power(Power.PAUSED)
            paused = line.guest.desired
        desired, _ = taking(paused)
        async with a_daemon(shelf.house, desired, point, whole=True):
            pass
        async with held(shelf, tidy(replace(desired if point != "waiting" else paused, snapshots=()))) as line:
            observed, _ = await converge(line.guest.host, line.guest.desired)
            assert observed.process is not None
            assert observed.process.runstate == "paused"
            await line.power(Power.RUNNING)
            await counts(line)
            assert await line.read(disk) == "before"


async def test_a_guest_does_not_stay_frozen(shelf: Shelf) -> None:
    disk = a_disk(16)
    async with left_alone(shelf, (disk, Bus.VIRTIO)) as before:
        desired, snapshot = taking(before, memory=False, quiesced=True)
        async with a_daemon(shelf.house, desired, "switched", whole=True):
            pass
        async with held(shelf, desired) as line:
            run = await line.guest.host.runs.find(desired.machine.id)
            assert run is not None
            assert await run.agent.call("guest-fsfreeze-status") == "thawed"
            assert leftovers(line) == []
            # Everything that it needs is there: it is finished.
            assert (await line.guest.want(desired))[0] == "take-snapshot"
            line.guest.desired = taken(desired, snapshot)
            await line.write(disk, "after")
            await line.revert(snapshot)
            await line.guest.until(Stage.CONFIGURED)
            assert await line.read(disk) == "before"


@pytest.mark.parametrize("point", RESTORE_POINTS)
async def test_a_daemon_killed_while_restoring(shelf: Shelf, point: str) -> None:
    disk = a_disk(16)
    async with left_alone(shelf, (disk, Bus.VIRTIO)) as before:
        async with held(shelf, before) as line:
            snapshot = await line.take()
            at_most = await count(line) + 300
            await line.write(disk, "after")
            await line.shell("echo after >/run/note")
            desired = reverting(line.guest.desired, snapshot)
        async with a_daemon(shelf.house, desired, point, whole=True):
            pass
        async with held(shelf, desired) as line:
            observed = await line.guest.host.machines.observe(desired)
            # One that was restored whole goes on; one that was not has never run, and is gone.
            assert (observed.process is not None) == (point in ("finished", "remembered"))
            await line.guest.want(desired)
            assert len(qemus(shelf.house)) == 1
            assert await line.shell("cat /run/note") == "before\n"
            assert await count(line) < at_most
            await counts(line)
            assert await line.read(disk) == "before"
            # It does not come back another time.
            await line.power(Power.STOPPED)
            await line.power(Power.RUNNING)
            await line.guest.until(Stage.CONFIGURED)
            assert await line.shell("ls /run/note 2>/dev/null || echo none") == "none\n"
            assert await line.read(disk) == "before"
            await line.delete(snapshot)


def test_a_full_disk_undoes_a_snapshot_and_the_machine_goes_on(shelf: Shelf) -> None:
    asyncio.run(_open_once(shelf))

    async def fill() -> None:
        disk = a_disk(16)
        async with a_timeline(shelf, (disk, Bus.VIRTIO)) as line:
            snapshot = await line.take()
            observed = await line.guest.host.machines.observe(line.guest.desired)
            needed = observed.snapshots[snapshot.id].memory_bytes
            await line.delete(snapshot)
            await line.write(disk, "before")
            filler = shelf.house.snapshots / "filler"
            before = line.guest.desired
            for left in (0, 8 << 20, needed + (4 << 20)):
                with filler.open("wb") as file:
                    os.posix_fallocate(file.fileno(), 0, (400 << 20) - left)
                with pytest.raises(NoCapacity, match="the disk of this host is full"):
                    await line.take()
                line.guest.desired = before
                filler.unlink()
                await counts(line)
                assert leftovers(line) == []
                assert list(shelf.house.snapshots.iterdir()) == []
                assert len(line.layers(disk)) == 1
            snapshot = await line.take()
            await line.write(disk, "after")
            await line.revert(snapshot)
            assert await line.read(disk) == "before"
            await line.delete(snapshot)

    run_as(lambda: mount_small(shelf.house.snapshots, "400m"), fill)


async def _open_once(shelf: Shelf) -> None:
    async with open_host(shelf.house):
        assert shelf.house.snapshots.is_dir()
