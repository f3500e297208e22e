"""Snapshots of real machines on this box: memory, devices and disks, there and back."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.host.boxes import a_disk, a_host, changed, converge, folder_of, new_id, until, wanted
from tests.host.shelves import Shelf, configured
from tests.host.timelines import Timeline, reverting, taken, taking
from tests.patience import PATIENCE_S

from guesthouse.decide.observed import Desired, Observed, ProcessSeen
from guesthouse.host import identity
from guesthouse.host.frozen.box import Fingerprint
from guesthouse.host.local import open_host
from guesthouse.host.machines import saving
from guesthouse.host.machines.process import PROGRAMS
from guesthouse.host.snapshots.folder import SnapshotFolder
from guesthouse.model.errors import Conflict, Failed
from guesthouse.model.house import House
from guesthouse.model.machine import Bus, Deleting, DiskFormat, Firmware, Forward, NicSpec, Power, Stage
from guesthouse.model.resources import Disk, Image, Snapshot
from guesthouse.qemu.messages import Command

pytestmark = pytest.mark.vm

_COUNT = "i=0; while :; do i=$((i+1)); echo $i >/run/count.new; mv /run/count.new /run/count; sleep 0.02; done"


@asynccontextmanager
async def a_timeline(shelf: Shelf, *disks: tuple[Disk, Bus], **spec: Any) -> AsyncIterator[Timeline]:
    """A configured machine with these disks, in which a program counts."""
    async with open_host(shelf.house) as host, configured(shelf, host, shelf.fork(disks=disks, **spec)) as guest:
        line = Timeline(guest)
        await start_counting(line)
        yield line


async def start_counting(line: Timeline) -> None:
    await line.shell(f"setsid sh -c '{_COUNT}' >/dev/null 2>&1 </dev/null & until cat /run/count; do :; done")


async def observe(line: Timeline) -> Observed:
    return await line.guest.host.machines.observe(line.guest.desired)


async def process_of(line: Timeline) -> ProcessSeen:
    observed = await observe(line)
    assert observed.process is not None
    return observed.process


async def count(line: Timeline) -> int:
    return int(await line.shell("cat /run/count"))


async def counts(line: Timeline) -> None:
    """The program in the guest goes on."""
    before = await count(line)
    await line.shell(f"until [ $(cat /run/count) -gt {before} ]; do :; done")


def folder(line: Timeline, snapshot: Snapshot) -> SnapshotFolder:
    return SnapshotFolder(line.guest.house.snapshots / snapshot.id)


def digests(line: Timeline, *disks: Disk) -> dict[str, bytes]:
    """What the files of disks hold, by their names."""
    paths = (path for disk in disks for path in line.guest.house.disks.glob(f"{disk.id}.*"))
    return {path.name: hashlib.sha256(path.read_bytes()).digest() for path in paths}


def leftovers(line: Timeline) -> list[str]:
    house, machine = line.guest.house, folder_of(line.guest.house, line.guest.desired)
    found = [*house.disks.glob("*.partial"), *house.snapshots.glob(".*"), *machine.path.glob("snapshotting*")]
    return [path.name for path in found]


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


async def test_branches_do_not_touch_each_other(shelf: Shelf) -> None:
    one, two = a_disk(16), a_disk(16)
    async with a_timeline(shelf, (one, Bus.VIRTIO), (two, Bus.SCSI)) as line:

        async def write(words: str, at_mib: int) -> None:
            for disk in (one, two):
                await line.write(disk, f"{words} {disk.id[:4]}", at_mib)
            await line.shell(f"echo {words} >/run/note")

        async def holds(note: str, *words: str) -> None:
            assert await line.shell("cat /run/note") == f"{note}\n"
            for disk in (one, two):
                expected = [f"{word} {disk.id[:4]}" if word else "" for word in words]
                assert [await line.read(disk, at_mib) for at_mib in range(len(words))] == expected

        await write("root", 0)
        root = await line.take("root")
        await write("left", 1)
        left = await line.take("left")
        await write("left-end", 2)
        left_end = await line.take("left-end")
        await line.revert(root)
        await holds("root", "root", "", "")
        await write("right", 1)
        right = await line.take("right")
        await write("right-end", 3)
        right_end = await line.take("right-end")
        # On the running machine: what lies under it is merged while it runs.
        before = digests(line, one, two)
        steps = await line.delete(right)
        assert steps == [*["merge-layer", "remove-layer"] * 2, "remove-snapshot"]
        others = {held.layer for each in (root, left, left_end) for held in each.disks.values()}
        unchanged = [name for name in before if name.split(".")[1] in others or name.count(".") == 1]
        assert len(unchanged) == 6
        after = digests(line, one, two)
        assert {name: before[name] for name in unchanged} == {name: after[name] for name in unchanged}
        await counts(line)
        # And a branch on which nobody runs.
        assert "merge-layer" in await line.delete(left)
        await holds("right-end", "root", "right", "", "right-end")
        await line.revert(left_end)
        await holds("left-end", "root", "left", "left-end", "")
        await line.revert(right_end)
        await holds("right-end", "root", "right", "", "right-end")
        await line.revert(root)
        await holds("root", "root", "", "", "")
        for snapshot in (left_end, right_end, root):
            await line.delete(snapshot)
        assert len(line.layers(one)) == len(line.layers(two)) == 1
        await holds("root", "root", "", "", "")
        # The house is that of all these tests: others may have left theirs.
        there = {path.name for path in shelf.house.snapshots.iterdir()}
        assert there.isdisjoint(each.id for each in (root, left, left_end, right, right_end))
        assert leftovers(line) == []


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


async def test_disks_alone_with_file_systems_at_rest(shelf: Shelf) -> None:
    disk = a_disk(64, format=DiskFormat.RAW)
    path = shelf.house.disks / f"{disk.id}.raw"
    subprocess.run(("mkfs.ext4", "-q", path, "64M"), check=True, env={"PATH": PROGRAMS})
    async with a_timeline(shelf, (disk, Bus.VIRTIO)) as line:
        await line.shell(f"mkdir /run/data; mount {await line.device(disk)} /run/data; echo here >/run/data/note")
        snapshot = await line.take(memory=False, quiesced=True)
        assert (await observe(line)).snapshots[snapshot.id].memory_bytes == 0
        assert (await process_of(line)).layers == {disk.id: line.guest.desired.disks[0].layer}
        await counts(line)
        # Frozen, so written out: whoever mounts this needs no journal.
        said = subprocess.run(
            ("dumpe2fs", "-h", path), check=True, env={"PATH": PROGRAMS}, capture_output=True, text=True
        )
        assert "needs_recovery" not in said.stdout
        # And thawed: it is written to again.
        await line.shell("echo more >/run/data/more; sync")
        assert leftovers(line) == []


async def test_many_layers_stay_few(shelf: Shelf) -> None:
    disk = a_disk(16)
    async with a_timeline(shelf, (disk, Bus.VIRTIO)) as line:
        for number in range(4):
            await line.write(disk, f"number {number}", number)
            snapshot = await line.take(f"s{number}", memory=False)
            if number % 2:
                await line.delete(snapshot)
        assert [await line.read(disk, number) for number in range(4)] == [f"number {n}" for n in range(4)]
        assert len(line.layers(disk)) == 3
        # The disk goes, with all of its layers.
        desired = changed(line.guest.desired, disks=(), spec={"disks": ()})
        assert await line.guest.want(desired) == ["unplug-disk"]
        run = await line.guest.host.runs.find(desired.machine.id)
        assert run is not None
        told = await run.monitor.execute(Command("query-named-block-nodes", {"flat": True}))
        assert not [node for node in told if disk.id in node.get("file", "")]


async def test_what_was_merged_is_there_when_qemu_is_killed(shelf: Shelf) -> None:
    """What QEMU copies by itself it has in memory for a while, but for what it tells that it has written."""
    disk = a_disk(16)
    async with a_timeline(shelf, (disk, Bus.VIRTIO)) as line:
        await line.write(disk, "before", 8)
        snapshot = await line.take(memory=False)
        assert await line.delete(snapshot) == ["merge-layer", "remove-layer", "remove-snapshot"]
        os.kill((await process_of(line)).pid, signal.SIGKILL)
        await until(line.guest.host, line.guest.desired, lambda seen: seen.process is None)
        (layer,) = line.guest.house.disks.glob(f"{disk.id}.*")
        raw = line.guest.house.home / "seen"
        subprocess.run(("qemu-img", "convert", "-O", "raw", layer, raw), check=True)
        assert raw.read_bytes()[8 << 20 :].startswith(b"before ")


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


async def test_a_disk_on_an_image_stays_on_it(shelf: Shelf) -> None:
    image = Image(id=new_id(), project="p", name="data", disk="disk.qcow2", format="qcow2", virtual_mib=16, public=True)
    (shelf.house.images / image.id).mkdir()
    path = shelf.house.images / image.id / "disk.qcow2"
    for argv in (("qemu-img", "create", "-q", "-f", "qcow2"), ("qemu-io", "-c", "write -P 0x41 8M 4k")):
        subprocess.run((*argv, path, *(("16M",) if argv[0] == "qemu-img" else ())), check=True, capture_output=True)
    untouched, disk = path.read_bytes(), a_disk(16, image=image.id)
    async with open_host(shelf.house) as host:
        desired = shelf.fork(disks=((disk, Bus.VIRTIO),))
        async with configured(shelf, host, replace(desired, images=(*desired.images, image))) as guest:
            line = Timeline(guest)
            taken_at = [await line.take(f"s{number}", memory=False) for number in range(3)]
            for number, snapshot in enumerate(taken_at):
                await line.write(disk, f"number {number}", number)
                await line.delete(snapshot)
            assert len(line.layers(disk)) == 1
            assert [await line.read(disk, number) for number in range(3)] == [f"number {n}" for n in range(3)]
            assert await line.read(disk, 8) == "A" * 4096
            (now,) = line.guest.desired.disks
            described = await host.disks.describe(now, image)
            assert [Path(name).name for name in described["chain"]] == [f"{disk.id}.{now.layer}.qcow2", "disk.qcow2"]
            await line.power(Power.STOPPED)
            await line.power(Power.RUNNING)
            await line.guest.until(Stage.CONFIGURED)
            assert await line.read(disk, 1) == "number 1"
    assert path.read_bytes() == untouched


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
