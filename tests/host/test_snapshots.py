"""Snapshots of real machines on this box: memory, devices and disks, there and back."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.host.boxes import a_disk, a_host, changed, converge, folder_of, until, wanted
from tests.host.shelves import Shelf
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
from guesthouse.host import identity
from guesthouse.host.frozen.box import Fingerprint
from guesthouse.host.machines import saving
from guesthouse.host.snapshots.folder import SnapshotFolder
from guesthouse.model.errors import Conflict, Failed
from guesthouse.model.house import House
from guesthouse.model.machine import Bus, Deleting, Firmware, Forward, NicSpec, Power, Stage
from guesthouse.qemu.messages import Command

pytestmark = pytest.mark.vm


async def test_a_running_machine_comes_back_as_it_was(shelf: Shelf) -> None:
    one, two = a_disk(32), a_disk(48)
    async with a_timeline(shelf, (one, Bus.VIRTIO), (two, Bus.SCSI)) as line:
        await line.shell("echo before >/run/note")
        await line.write(one, "before")
        await line.write(two, "before too")
        at_most = await count(line)
        snapshot = await line.take()
        seen = (await observe(line)).snapshots[snapshot.id]
        assert 0 < seen.pause_ms < 1000
        assert seen.memory_bytes == folder(line, snapshot).state.stat().st_size > 8 << 20
        await counts(line)
        at_most += await count(line)
        await line.shell("echo after >/run/note")
        await line.write(one, "after")
        await line.write(two, "after too")
        generation = await line.shell("od -An -tx1 -N16 /dev/urandom")
        assert await line.revert(snapshot) == [
            *("give-way", "make-disk", "make-disk", "start", "resume", "remove-layer", "remove-layer")
        ]
        process = await process_of(line)
        assert (process.runstate, process.stage) == ("running", Stage.CONFIGURED)
        assert await line.shell("cat /run/note") == "before\n"
        assert await count(line) < at_most
        assert await line.read(one) == "before"
        assert await line.read(two) == "before too"
        assert await line.shell("od -An -tx1 -N16 /dev/urandom") != generation
        await counts(line)
        assert (await line.guest.banner()).startswith(b"SSH-2.0-")
        assert leftovers(line) == []


async def test_files_belong_to_whom_they_should(shelf: Shelf) -> None:
    disk = a_disk(32)
    async with a_timeline(shelf, (disk, Bus.VIRTIO)) as line:
        snapshot = await line.take()
        number = identity.machine_number(folder_of(shelf.house, line.guest.desired).path)
        (now,) = line.guest.desired.disks
        written, frozen = shelf.house.disks / f"{disk.id}.{now.layer}.qcow2", shelf.house.disks / f"{disk.id}.qcow2"
        assert owner(folder(line, snapshot).path) == (os.geteuid(), os.getegid(), 0o700)
        assert owner(folder(line, snapshot).state) == (os.geteuid(), os.getegid(), 0o600)
        if number is not None:
            assert owner(written) == (number, number, 0o600)
            assert owner(frozen) == (0, number, 0o640)
        await line.revert(snapshot)
        (now,) = line.guest.desired.disks
        if number is not None:
            assert owner(shelf.house.disks / f"{disk.id}.{now.layer}.qcow2") == (number, number, 0o600)
            assert owner(frozen) == (0, number, 0o640)
        await line.power(Power.STOPPED)
        assert {owner(path) for path in shelf.house.disks.glob(f"{disk.id}.*")} == {(os.geteuid(), os.getegid(), 0o600)}


def owner(path: Path) -> tuple[int, int, int]:
    facts = path.stat()
    return facts.st_uid, facts.st_gid, facts.st_mode & 0o777


async def test_a_machine_that_stands_still_is_as_still_afterwards(shelf: Shelf) -> None:
    disk = a_disk(16)
    async with a_timeline(shelf, (disk, Bus.VIRTIO)) as line:
        await line.write(disk, "before")
        await line.power(Power.PAUSED)
        first = await line.take("first")
        assert (await process_of(line)).runstate == "paused"
        # A QEMU that had given its disks away would end here.
        second = await line.take("second")
        (now,) = line.guest.desired.disks
        grown = msgspec.structs.replace(now, size_mib=24)
        assert await line.guest.want(changed(line.guest.desired, disks=(grown,))) == ["grow-disk"]
        await line.power(Power.RUNNING)
        await counts(line)
        await line.write(disk, "after")
        for snapshot in (first, second):
            await line.revert(snapshot)
            assert (await process_of(line)).runstate in ("paused", "prelaunch")
            await line.power(Power.RUNNING)
            await counts(line)
            assert await line.read(disk) == "before"
        await line.revert(first, Power.RUNNING)
        await counts(line)


async def test_a_stopped_machine_has_its_disks_back(shelf: Shelf) -> None:
    disk = a_disk(16)
    async with a_timeline(shelf, (disk, Bus.VIRTIO)) as line:
        await line.write(disk, "before")
        await line.power(Power.STOPPED)
        snapshot = await line.take()
        assert not snapshot.memory
        await line.power(Power.RUNNING)
        await line.guest.until(Stage.CONFIGURED)
        assert await line.read(disk) == "before"
        await line.write(disk, "after")
        assert await line.revert(snapshot) == ["kill", "make-disk", "remove-layer"]
        await line.power(Power.RUNNING)
        await line.guest.until(Stage.CONFIGURED)
        assert await line.read(disk) == "before"
        await line.power(Power.STOPPED)
        # Nobody runs: a storage daemon merges.
        assert await line.delete(snapshot) == ["merge-layer", "remove-layer", "remove-snapshot"]
        assert len(line.layers(disk)) == 1
        await line.power(Power.RUNNING)
        await line.guest.until(Stage.CONFIGURED)
        assert await line.read(disk) == "before"


async def test_a_revert_is_gone_on_from_once(shelf: Shelf) -> None:
    async with a_timeline(shelf) as line:
        boot = await line.shell("cat /proc/sys/kernel/random/boot_id")
        snapshot = await line.take()
        await line.revert(snapshot)
        assert await line.shell("cat /proc/sys/kernel/random/boot_id") == boot
        await line.power(Power.STOPPED)
        await line.power(Power.RUNNING)
        await line.guest.until(Stage.CONFIGURED)
        assert await line.shell("cat /proc/sys/kernel/random/boot_id") != boot
        assert await line.revert(snapshot) == ["give-way", "start", "resume"]
        assert await line.shell("cat /proc/sys/kernel/random/boot_id") == boot


def nic(number: int) -> NicSpec:
    return NicSpec(mac=f"52:54:00:00:02:{number:02x}", forwards=(Forward(guest_port=22),))


async def test_the_old_device_tree_comes_back(shelf: Shelf) -> None:
    one, two = a_disk(16), a_disk(32)
    async with a_timeline(shelf, (one, Bus.VIRTIO), nics=(nic(0), nic(1))) as line:
        # What comes and goes leaves gaps that the state remembers.
        await line.change(nics=(nic(1),))
        await line.change(nics=(nic(1), nic(2)))
        await line.attach(two, Bus.SCSI)
        await line.write(two, "before")
        await line.change(memory_mib=120)
        await until_memory_is(line, 120)
        before = await hardware(line)
        snapshot = await line.take()
        three = a_disk(16)
        await line.attach(three)
        await line.change(nics=(nic(2), nic(3)), name="renamed", memory_mib=128)
        spec = tuple(disk for disk in line.guest.desired.machine.spec.disks if disk.disk != two.id)
        kept = tuple(disk for disk in line.guest.desired.disks if disk.id != two.id)
        away = next(disk for disk in line.guest.desired.disks if disk.id == two.id)
        grown = tuple(msgspec.structs.replace(disk, size_mib=24) if disk.id == one.id else disk for disk in kept)
        desired = changed(line.guest.desired, disks=grown, spec={"disks": spec})
        await line.guest.want(replace(desired, aside=(away,)))
        assert await hardware(line) != before
        assert "give-way" in await line.revert(snapshot)
        assert await hardware(line) == before
        await until_memory_is(line, 120)
        assert await line.read(two) == "before"
        assert (await line.guest.banner()).startswith(b"SSH-2.0-")
        # What has come back is unplugged as anything else is, and a second time too.
        again = await line.take("again")
        await line.change(nics=())
        await line.revert(again)
        assert await hardware(line) == before


async def until_memory_is(line: Timeline, memory_mib: int) -> None:
    """The guest has given up so much memory; no event tells when."""
    async with asyncio.timeout(PATIENCE_S):
        while (await process_of(line)).memory_actual_mib != memory_mib:
            pass


async def hardware(line: Timeline) -> list[Any]:
    """What the guest has on its buses, as QEMU tells it."""
    run = await line.guest.host.runs.find(line.guest.desired.machine.id)
    assert run is not None
    tree = await run.monitor.execute(Command("human-monitor-command", {"command-line": "info qtree"}))
    lines = [line for line in tree.splitlines() if line.strip().startswith(("dev:", "addr", "mac", "serial", "bus:"))]
    (sizes,) = [(await line.shell("cat /proc/partitions"))]
    return [*lines, sizes]


async def test_a_guest_that_writes_faster_than_its_memory_can_be_kept_stands_still_for_it(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saving, "_CONVERGE_TIMEOUT_S", 0.0)
    async with a_timeline(shelf) as line:
        snapshot = await line.take()
        assert (await observe(line)).snapshots[snapshot.id].pause_ms > 0
        await counts(line)
        await line.revert(snapshot)
        await counts(line)


async def test_uefi_variables_of_a_machine_that_was_not_started_since() -> None:
    async with a_host() as (house, host):
        desired = wanted(firmware=Firmware.UEFI, power=Power.PAUSED)
        await converge(host, desired)
        variables = folder_of(house, desired).variables
        whole = variables.stat().st_size
        desired = changed(desired, power=Power.STOPPED, stop_timeout_s=0)
        await converge(host, desired)
        variables.write_bytes(b"before".ljust(whole, b"\0"))
        desired, snapshot = taking(desired)
        await converge(host, desired)
        desired = taken(desired, snapshot)
        variables.write_bytes(b"after".ljust(whole, b"\0"))
        desired = reverting(desired, desired.snapshots[-1])
        await converge(host, desired)
        desired, second = taking(desired, "two")
        await converge(host, desired)
        assert SnapshotFolder(house.snapshots / second.id).variables.read_bytes().startswith(b"before")
        await converge(host, changed(desired, deleting=Deleting.WITH_DISKS))


async def test_uefi_variables_come_back() -> None:
    async with a_host() as (house, host):
        desired = wanted(firmware=Firmware.UEFI, power=Power.PAUSED)
        await converge(host, desired)
        variables = folder_of(house, desired).variables
        variables.write_bytes(b"before".ljust(variables.stat().st_size, b"\0"))
        for memory in (True, False):
            desired, snapshot = taking(desired, memory=memory)
            await converge(host, desired)
            desired = taken(desired, snapshot)
            variables.write_bytes(b"after".ljust(variables.stat().st_size, b"\0"))
            desired = reverting(desired, desired.snapshots[-1])
            await converge(host, desired)
            assert variables.read_bytes().startswith(b"before")
        await converge(host, changed(desired, deleting=Deleting.WITH_DISKS))
        assert list(house.snapshots.iterdir()) == []


_FINAL = "Cloud-init v. 22.4.2 finished at Sun, 22 Nov 2026 15:04:05 +0000. Datasource {}.  Up 9 seconds\n"


def say(house: House, desired: Desired, words: str) -> None:
    """Have the guest say something on its console."""
    with folder_of(house, desired).console_log.open("a") as log:
        log.write(words)


async def test_the_console_of_a_later_life_is_not_looked_at() -> None:
    async with a_host() as (house, host):
        desired = wanted(power=Power.RUNNING, agent=False)
        await converge(host, desired)
        run = await host.runs.find(desired.machine.id)
        assert run is not None
        run.stages.reach(Stage.REACHABLE)
        early, one = taking(desired, "early")
        await converge(host, early)
        late, two = taking(taken(early, one), "late")
        # It has said so when the second one is taken, and will not say it again.
        say(house, desired, _FINAL.format("DataSourceNoCloud"))
        await converge(host, late)
        desired = taken(late, two)
        for snapshot, source in ((desired.snapshots[0], "ec2"), (desired.snapshots[1], "nocloud")):
            desired = reverting(desired, snapshot)
            await converge(host, desired)
            say(house, desired, _FINAL.format("DataSourceEc2"))
            seen = await until(host, desired, lambda seen: bool(seen.process and seen.process.outcome))
            assert seen.process is not None
            assert seen.process.outcome is not None
            assert (seen.process.stage, seen.process.outcome.source) == (Stage.CONFIGURED, source)
        await converge(host, changed(desired, deleting=Deleting.WITH_DISKS))


async def test_the_clock_of_the_guest_is_set(shelf: Shelf) -> None:
    async with a_timeline(shelf) as line:
        await line.shell("date -s @1000000000")
        snapshot = await line.take()
        began = int(time.time())
        await line.revert(snapshot, Power.PAUSED)
        await line.power(Power.RUNNING)
        await line.shell(f"until [ $(date +%s) -ge {began} ]; do :; done")
        assert int(await line.shell("date +%s")) <= time.time()
        # Once; a daemon that comes later leaves it alone.
        run = await line.guest.host.runs.find(line.guest.desired.machine.id)
        assert run is not None
        assert not run.record.late


def taken_by_another_qemu(snapshot: SnapshotFolder) -> None:
    facts = snapshot.read_facts()
    assert facts.saved is not None
    other = Fingerprint(facts.saved.by.accelerator, (1, 0), facts.saved.by.processor)
    saved = msgspec.structs.replace(facts.saved, by=other)
    snapshot.facts.write_bytes(msgspec.json.encode(msgspec.structs.replace(facts, saved=saved)))


def without_its_end(snapshot: SnapshotFolder) -> None:
    os.truncate(snapshot.state, snapshot.state.stat().st_size // 2)


def unreadable(snapshot: SnapshotFolder) -> None:
    snapshot.facts.write_bytes(b"{")


async def test_a_snapshot_that_cannot_be_restored_leaves_the_machine_alone(shelf: Shelf) -> None:
    async with a_timeline(shelf) as line:
        for spoil, kind, said in (
            (taken_by_another_qemu, Conflict, "was taken by .*QEMU 1.0.*; here is .*QEMU"),
            (without_its_end, Failed, "gone or cut off"),
            (unreadable, Failed, "cannot be read"),
        ):
            snapshot = await line.take()
            spoil(folder(line, snapshot))
            before = line.guest.desired
            with pytest.raises(kind, match=said):
                await line.revert(snapshot)
            line.guest.desired = before
            await counts(line)
            await line.delete(snapshot)
