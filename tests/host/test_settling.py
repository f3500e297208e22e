"""Snapshots whose memory is settled: gone on from at once, shared by all who do, and never lost on the way."""

from __future__ import annotations

import pytest
from tests.host.boxes import a_disk
from tests.host.shelves import Shelf
from tests.host.test_snapshots import a_timeline, counts, leftovers, observe
from tests.host.test_snapshots import process_of as process_of
from tests.host.timelines import Timeline

from guesthouse.model.machine import Bus
from guesthouse.model.resources import Snapshot

pytestmark = pytest.mark.vm


async def settled(line: Timeline, name: str = "one") -> Snapshot:
    """A snapshot of which nothing is left but settled memory."""
    snapshot = await line.take(name, settle=True)
    assert await line.guest.want(line.guest.desired) == ["settle-memory"]
    return snapshot


async def test_memory_comes_back_from_either_form(shelf: Shelf) -> None:
    disk = a_disk(16)
    async with a_timeline(shelf, (disk, Bus.VIRTIO)) as line:
        await line.shell("head -c 8000000 /dev/urandom >/run/noise; echo before >/run/note")
        await line.write(disk, "before")
        digest = await line.shell("sha256sum /run/noise")
        snapshot = await settled(line)
        assert (await observe(line)).snapshots[snapshot.id].memory_bytes > 8 << 20
        for _ in range(2):
            await line.shell("head -c 8000000 /dev/urandom >/run/noise; echo after >/run/note")
            await line.write(disk, "after")
            await line.revert(snapshot)
            assert await line.shell("sha256sum /run/noise; cat /run/note") == f"{digest}before\n"
            assert await line.read(disk) == "before"
            await counts(line)
        assert leftovers(line) == []
