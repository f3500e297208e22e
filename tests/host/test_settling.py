"""Snapshots whose memory is settled: gone on from at once, shared by all who do, and never lost on the way."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.host.boxes import a_daemon, a_disk, a_host, changed, converge, folder_of, qemus, silent, wanted
from tests.host.children import mount_small, run_as
from tests.host.shelves import Shelf
from tests.host.test_broken_off import held, left_alone
from tests.host.test_snapshots import hardware, nic, owner, until_memory_is
from tests.host.timelines import (
    Timeline,
    a_timeline,
    count,
    counts,
    folder,
    leftovers,
    observe,
    process_of,
    reverting,
    taken,
    taking,
)
from tests.patience import PATIENCE_S

from guesthouse.decide.observed import Desired
from guesthouse.decide.steps import SettleMemory, TakeSnapshot
from guesthouse.host import identity
from guesthouse.host.local import LocalHost, open_host
from guesthouse.host.machines import process
from guesthouse.host.machines.folder import Folder
from guesthouse.host.machines.settling import SETTLE_POINTS
from guesthouse.host.snapshots.shelf import SnapshotShelf
from guesthouse.model.errors import NoCapacity
from guesthouse.model.house import House
from guesthouse.model.machine import Bus, Deleting, DiskFormat, Firmware, Power
from guesthouse.model.resources import Snapshot
from guesthouse.qemu.messages import Command

pytestmark = pytest.mark.vm


async def settled(line: Timeline, name: str = "one") -> Snapshot:
    """A snapshot of which nothing is left but settled memory."""
    snapshot = await line.take(name, settle=True)
    assert await line.guest.want(line.guest.desired) == ["settle-memory"]
    assert names(line, snapshot) == {"memory", "devices", "snapshot.json"}
    return snapshot


def names(line: Timeline, snapshot: Snapshot) -> set[str]:
    return {path.name for path in folder(line, snapshot).path.iterdir()}


def settlers(house: House) -> list[Path]:
    """What there is of helpers."""
    return list(house.machines.glob("settling-*"))


async def memory_files(line: Timeline) -> set[tuple[str, str]]:
    """How the machine maps sealed memory: modes and inodes."""
    maps = Path(f"/proc/{(await process_of(line)).pid}/maps").read_text()
    return set(re.findall(r"^\S+ (\S+) \S+ \S+ (\d+) +/memfd:frozen-\S+ \(deleted\)$", maps, re.MULTILINE))


async def test_memory_comes_back_and_is_shared(shelf: Shelf) -> None:
    disk = a_disk(16)
    async with a_timeline(shelf, (disk, Bus.VIRTIO)) as line:
        await line.shell("head -c 16000000 /dev/urandom >/run/noise; echo first >/run/note")
        await line.write(disk, "first")
        digest = await line.shell("sha256sum /run/noise")
        first = await settled(line, "first")
        assert 16 << 20 < (await observe(line)).snapshots[first.id].memory_bytes < 128 << 20
        for path in (folder(line, first).memory, folder(line, first).devices):
            assert owner(path) == (os.geteuid(), os.getegid(), 0o600)
        mapped = []
        for _ in range(2):
            await line.shell("head -c 16000000 /dev/urandom >/run/noise; echo other >/run/note")
            await line.write(disk, "other")
            await line.revert(first)
            assert await line.shell("sha256sum /run/noise; cat /run/note") == f"{digest}first\n"
            assert await line.read(disk) == "first"
            await counts(line)
            mapped.append(await memory_files(line))
        # The same file for both, and what the guest writes goes into pages of its own.
        (one,) = mapped[0]
        assert mapped == [{one}, {one}]
        assert one[0] == "rw-p"
        # Its memory is private now: it is put away, settled, and gone back to all the same.
        await line.shell("echo second >/run/note")
        await line.change(memory_mib=120)
        await until_memory_is(line, 120)
        second = await settled(line, "second")
        for snapshot, note, memory_mib in ((first, "first", 128), (second, "second", 120), (first, "first", 128)):
            await line.revert(snapshot)
            assert await line.shell("sha256sum /run/noise; cat /run/note") == f"{digest}{note}\n"
            await until_memory_is(line, memory_mib)
            await counts(line)
        await line.delete(first)
        await line.revert(second)
        assert await line.shell("cat /run/note") == "second\n"
        assert leftovers(line) == [] == settlers(shelf.house)


async def test_the_old_device_tree_comes_back_from_settled_memory(shelf: Shelf) -> None:
    one, two = a_disk(16), a_disk(32)
    async with a_timeline(shelf, (one, Bus.VIRTIO), nics=(nic(0), nic(1))) as line:
        # What comes and goes leaves gaps that the state remembers.
        await line.change(nics=(nic(1),))
        await line.change(nics=(nic(1), nic(2)))
        await line.attach(two, Bus.SCSI)
        await line.write(two, "before")
        before = await hardware(line)
        snapshot = await settled(line)
        await line.change(nics=(nic(2), nic(3)))
        await line.write(two, "after")
        assert await hardware(line) != before
        await line.revert(snapshot)
        assert await hardware(line) == before
        assert await line.read(two) == "before"
        assert (await line.guest.banner()).startswith(b"SSH-2.0-")


TREES: dict[str, dict[str, Any]] = {
    "BIOS and a screen": {"firmware": Firmware.BIOS, "screen": True, "vcpus": 2},
    "UEFI and every bus": {"firmware": Firmware.UEFI, "screen": True, "nics": (nic(0), nic(1))},
}


@pytest.mark.parametrize("tree", TREES)
async def test_memory_is_the_same_to_the_last_byte(tree: str) -> None:
    disks = {bus: a_disk(16, format=format) for bus, format in zip(Bus, (*DiskFormat, DiskFormat.RAW), strict=True)}
    async with a_host() as (house, host):
        # A generation id is new in memory whenever it is gone on from.
        desired = wanted(power=Power.RUNNING, vmgenid=False, **TREES[tree])
        if "every bus" in tree:
            described = tuple(
                msgspec.structs.replace(attached, bus=bus)
                for bus, disk in disks.items()
                for attached in wanted(disks=(disk,)).machine.spec.disks
            )
            desired = changed(desired, disks=tuple(disks.values()), spec={"disks": described})
        await converge(host, desired)
        if desired.machine.spec.firmware is Firmware.UEFI:
            await until_it_has_begun(house, host, desired)
        desired, snapshot = taking(desired, settle=True)
        await host.machines.perform(TakeSnapshot(snapshot), desired, silent)
        desired = taken(desired, snapshot)
        (snapshot,) = desired.snapshots
        as_stream = replace(desired, snapshots=(msgspec.structs.replace(snapshot, settle=False),))
        desired = reverting(as_stream, snapshot, Power.PAUSED)
        await converge(host, desired)
        expected = await memory_of(house, host, desired)
        desired = reverting(replace(desired, snapshots=(snapshot,)), snapshot, Power.PAUSED)
        await host.machines.perform(SettleMemory(snapshot), desired, silent)
        await converge(host, desired)
        assert await memory_of(house, host, desired) == expected
        await converge(host, changed(desired, deleting=Deleting.WITH_DISKS))
        assert qemus(house) == [] == settlers(house)


async def until_it_has_begun(house: House, host: LocalHost, desired: Desired) -> None:
    """Until the firmware has said something; no event tells when."""
    async with asyncio.timeout(PATIENCE_S):
        while not folder_of(house, desired).console_log.stat().st_size:
            await host.machines.observe(desired)


async def memory_of(house: House, host: LocalHost, desired: Desired) -> bytes:
    """A digest of all of the guest's memory."""
    run = await host.runs.find(desired.machine.id)
    assert run is not None
    # QEMU may make files here, and nowhere else.
    path = Folder(run.folder.path).screen.parent / "memory"
    size = desired.machine.spec.memory_mib << 20
    await run.monitor.execute(Command("pmemsave", {"val": 0, "size": size, "filename": str(path)}))
    return hashlib.sha256(path.read_bytes()).digest()


async def test_a_daemon_killed_at_every_point_of_it(shelf: Shelf) -> None:
    disk = a_disk(16)
    async with left_alone(shelf, (disk, Bus.VIRTIO)) as desired:
        for point in SETTLE_POINTS:
            async with held(shelf, desired) as line:
                snapshot = await line.take(point, settle=True)
                at_most = await count(line) + 300
                desired = line.guest.desired
            async with a_daemon(shelf.house, desired, point, whole=True) as killed:
                pass
            async with held(shelf, without_settling(desired)) as line:
                # The helper has ended with the daemon, or is ended by the next.
                assert len(qemus(shelf.house)) == 1, (point, killed)
                assert settlers(shelf.house) == [], point
                forms = {"unfolded": "state", "streamless": "memory"}
                assert forms.get(point, "snapshot.json") in names(line, snapshot)
                # Whichever form is there is gone on from, and then it is settled.
                for _ in range(2):
                    await line.shell("echo after >/run/note")
                    await line.write(disk, "after")
                    await line.revert(snapshot)
                    assert await line.shell("cat /run/note") == "before\n", point
                    assert await line.read(disk) == "before", point
                    assert await count(line) < at_most
                    await counts(line)
                    wanted = msgspec.structs.replace(line.guest.desired.snapshots[0], settle=True)
                    await line.guest.want(replace(line.guest.desired, snapshots=(wanted,)))
                    assert names(line, snapshot) == {"memory", "devices", "snapshot.json"}, point
                await line.delete(snapshot)
                assert leftovers(line) == [] == settlers(shelf.house)
                desired = line.guest.desired


def without_settling(desired: Desired) -> Desired:
    return replace(desired, snapshots=tuple(msgspec.structs.replace(each, settle=False) for each in desired.snapshots))


async def test_it_makes_way_and_nothing_is_left_of_it(shelf: Shelf) -> None:
    async with a_timeline(shelf) as line:
        await line.shell("echo before >/run/note")
        snapshot = await line.take(settle=False)
        await line.shell("echo after >/run/note")
        for phase in ("loading", "checking"):
            helper = await stopped_at(line, snapshot, phase)
            assert helper not in qemus(shelf.house)
            assert names(line, snapshot) == {"state", "snapshot.json"}
            assert leftovers(line) == [] == settlers(shelf.house)
        await line.revert(snapshot)
        assert await line.shell("cat /run/note") == "before\n"


async def stopped_at(line: Timeline, snapshot: Snapshot, last: str) -> int:
    """Cancel the settling of a snapshot as soon as a helper runs in that phase; the helper that there was."""
    house = line.guest.house
    begun = asyncio.Event()

    def progress(phase: str, percent: float | None = None) -> None:
        if phase == last:
            begun.set()

    work = asyncio.create_task(line.guest.host.machines.perform(SettleMemory(snapshot), line.guest.desired, progress))
    await begun.wait()
    # It has begun when it has locked its pidfile; no event tells when.
    while not (folders := settlers(house)) or (helper := process.find(Folder(folders[0]).pidfile)) is None:
        await asyncio.sleep(0)
    confined(house, line.guest.desired, helper.pid)
    helper.forget()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    return helper.pid


def confined(house: House, desired: Desired, helper: int) -> None:
    """It is nobody's user but its own, and takes what the processor has to spare."""
    number = identity.machine_number(settlers(house)[0])
    assert os.getpriority(os.PRIO_PROCESS, helper) == 19
    if number is not None:
        assert number != identity.machine_number(folder_of(house, desired).path)
        status = Path(f"/proc/{helper}/status").read_text()
        assert f"\nUid:\t{number}\t{number}\t{number}\t{number}\n" in status
        assert "\nCapEff:\t0000000000000000\n" in status


def test_a_full_disk_leaves_the_stream(shelf: Shelf) -> None:
    asyncio.run(_open_once(shelf))

    async def fill() -> None:
        async with a_timeline(shelf) as line:
            await line.shell("echo before >/run/note")
            snapshot = await line.take(settle=True)
            filler = shelf.house.snapshots / "filler"
            room = os.statvfs(shelf.house.snapshots)

            def fill_up(left: int) -> None:
                with filler.open("wb") as file:
                    there = os.statvfs(shelf.house.snapshots)
                    os.posix_fallocate(file.fileno(), 0, there.f_bavail * there.f_frsize - left)

            def at_the_last_moment(phase: str, percent: float | None = None) -> None:
                if phase == "loading":
                    fill_up(20 << 20)

            for progress, left in ((silent, 8 << 20), (at_the_last_moment, 0)):
                if left:
                    fill_up(left)
                with pytest.raises(NoCapacity, match="too full to settle"):
                    await line.guest.host.machines.perform(SettleMemory(snapshot), line.guest.desired, progress)
                filler.unlink()
                assert names(line, snapshot) == {"state", "snapshot.json"}
                assert leftovers(line) == [] == settlers(shelf.house)
                assert os.statvfs(shelf.house.snapshots).f_bavail == room.f_bavail
            await line.shell("echo after >/run/note")
            assert (await line.revert(snapshot))[-1] == "settle-memory"
            assert await line.shell("cat /run/note") == "before\n"
            await line.delete(snapshot)

    run_as(lambda: mount_small(shelf.house.snapshots, "400m"), fill)


async def _open_once(shelf: Shelf) -> None:
    async with open_host(shelf.house):
        assert shelf.house.snapshots.is_dir()


async def test_memory_that_cannot_be_kept_ready_stays_a_stream(shelf: Shelf) -> None:
    async with a_timeline(shelf) as line:
        snapshot = await line.take(settle=True)
        assert (await observe(line)).snapshots[snapshot.id].unsettled
        shelf_of_snapshots = SnapshotShelf(shelf.house, settles_bytes=1 << 20)
        assert not shelf_of_snapshots.see([snapshot])[snapshot.id].unsettled
