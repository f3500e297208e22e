"""Snapshots of real machines on this box: memory, devices and disks, there and back."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.host.boxes import a_disk
from tests.host.shelves import Shelf, configured
from tests.host.timelines import Timeline

from guesthouse.host.local import open_host
from guesthouse.model.machine import Bus, Stage
from guesthouse.model.resources import Disk

pytestmark = pytest.mark.vm


@asynccontextmanager
async def a_timeline(shelf: Shelf, *disks: tuple[Disk, Bus]) -> AsyncIterator[Timeline]:
    """A configured machine with these disks."""
    async with open_host(shelf.house) as host, configured(shelf, host, shelf.fork(disks=disks)) as guest:
        yield Timeline(guest)


async def test_memory_and_disks_come_back(shelf: Shelf) -> None:
    one, two = a_disk(32), a_disk(48)
    async with a_timeline(shelf, (one, Bus.VIRTIO), (two, Bus.SCSI)) as line:
        await line.shell("echo before >/run/note")
        await line.write(one, "before")
        await line.write(two, "before too")
        snapshot = await line.take()
        assert snapshot.memory
        await line.shell("echo after >/run/note")
        await line.write(one, "after")
        await line.write(two, "after too")
        started = time.monotonic()
        steps = await line.revert(snapshot)
        print("revert", steps, time.monotonic() - started)
        observed = await line.guest.host.machines.observe(line.guest.desired)
        assert observed.process is not None
        assert observed.process.stage is Stage.CONFIGURED
        print(observed.snapshots)
        assert await line.shell("cat /run/note") == "before\n"
        assert await line.read(one) == "before"
        assert await line.read(two) == "before too"
