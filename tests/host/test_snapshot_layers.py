"""Layers of disks under real machines: what a snapshot holds stays, and what none needs is merged and goes."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from tests.host.boxes import a_disk, changed, new_id, until
from tests.host.shelves import Shelf, configured
from tests.host.timelines import (
    Timeline,
    a_timeline,
    counts,
    leftovers,
    observe,
    process_of,
)

from guesthouse.host.local import open_host
from guesthouse.host.machines.process import PROGRAMS
from guesthouse.model.machine import Bus, DiskFormat, Power, Stage
from guesthouse.model.resources import Disk, Image
from guesthouse.qemu.messages import Command

pytestmark = pytest.mark.vm


def digests(line: Timeline, *disks: Disk) -> dict[str, bytes]:
    """What the files of disks hold, by their names."""
    paths = (path for disk in disks for path in line.guest.house.disks.glob(f"{disk.id}.*"))
    return {path.name: hashlib.sha256(path.read_bytes()).digest() for path in paths}


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
