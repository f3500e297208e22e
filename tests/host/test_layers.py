"""Layers of disks as files, made and merged by the real programs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec
import pytest
from tests.host.boxes import a_disk, a_house, new_id, silent
from tests.host.children import mount_small, run_as

from guesthouse.decide.layers import FIRST, with_layer
from guesthouse.host import identity
from guesthouse.host.disks import DiskFiles, LocalDisks
from guesthouse.model.errors import Failed, NoCapacity
from guesthouse.model.house import House
from guesthouse.model.machine import DiskFormat
from guesthouse.model.resources import Disk, Image


@pytest.fixture
def image(house: House) -> Image:
    """An image of 4 MiB, full of 0x11."""
    image = Image(id=new_id(), project="p", name="base", disk="disk.qcow2", format="qcow2", virtual_mib=4)
    (house.images / image.id).mkdir()
    path = house.images / image.id / "disk.qcow2"
    subprocess.run(("qemu-img", "create", "-q", "-f", "qcow2", path, "4M"), check=True)
    write(path, 0x11, 0, 4)
    return image


def write(path: Path, byte: int, at_mib: int, size_mib: int = 1, format: str = "qcow2") -> None:
    command = f"write -P {byte} {at_mib}M {size_mib}M"
    subprocess.run(("qemu-io", "-f", format, "-c", command, path), check=True, capture_output=True)


def content(path: Path) -> list[int]:
    """The first byte of every MiB that a guest sees, by the names in headers."""
    raw = path.with_name("seen.raw")
    subprocess.run(("qemu-img", "convert", "-O", "raw", path, raw), check=True)
    try:
        return list(raw.read_bytes()[:: 1 << 20])
    finally:
        raw.unlink()


async def grown(files: DiskFiles, disk: Disk, images: tuple[Image, ...] = ()) -> Disk:
    """The disk in three layers, the second one with a MiB of 0x22, the third with one of 0x33."""
    await files.make(disk, images, silent)
    for layer, on, byte in (("a", FIRST, 0x22), ("b", "a", 0x33)):
        disk = msgspec.structs.replace(disk, **with_layer(disk, layer, on))
        await files.make(disk, images, silent)
        write(files.path(disk), byte, 1 if layer == "a" else 2)
    return disk


def wanting(disk: Disk, **layers: str | None) -> Disk:
    return msgspec.structs.replace(disk, layers=layers)


@pytest.mark.parametrize("format", DiskFormat)
async def test_layers_stand_on_each_other(house: House, format: DiskFormat) -> None:
    files = DiskFiles(house)
    disk = await grown(files, a_disk(4, format=format))
    seen = files.see(disk)
    assert seen is not None
    assert (seen.size_mib, seen.layers) == (4, {FIRST: None, "a": FIRST, "b": "a"})
    chain = files.file(disk, ())
    assert [chain.path.name, chain.backing and chain.backing.path.name] == [f"{disk.id}.b.qcow2", f"{disk.id}.a.qcow2"]
    assert content(files.path(disk)) == [0, 0x22, 0x33, 0]
    assert {path.name for path in files.frozen(disk)} == {f"{disk.id}.{format.value}", f"{disk.id}.a.qcow2"}
    told = await LocalDisks(files).describe(disk, None)
    assert [Path(layer).name for layer in told["chain"]] == [
        *(f"{disk.id}.b.qcow2", f"{disk.id}.a.qcow2", f"{disk.id}.{format.value}")
    ]
    await files.grow(disk, 6, ())
    assert content(files.path(disk)) == [0, 0x22, 0x33, 0, 0, 0]
    # A house can be moved: headers name what lies under them relatively.
    moved = house.home / "moved"
    house.disks.rename(moved)
    assert content(moved / files.path(disk).name) == [0, 0x22, 0x33, 0, 0, 0]


async def test_a_layer_takes_in_those_under_it(house: House, image: Image) -> None:
    files = DiskFiles(house)
    disk = await grown(files, a_disk(4, image=image.id), (image,))
    told: list[float | None] = []

    def progress(phase: str, percent: float | None = None) -> None:
        told.append(percent)

    first = files.layers.path(disk, FIRST).read_bytes()
    merged = wanting(disk, a=None, b="a")
    await files.merge(merged, "a", (image,), progress)
    assert files.layers.find(disk) == {FIRST: None, "a": None, "b": "a"}
    assert content(files.path(disk)) == [0x11, 0x22, 0x33, 0x11]
    # What is taken in stays as it was: another branch may stand on it.
    assert files.layers.path(disk, FIRST).read_bytes() == first
    files.remove_layer(disk, FIRST)
    await files.merge(wanting(disk, b=None), "b", (image,), progress)
    files.remove_layer(disk, "a")
    assert content(files.path(disk)) == [0x11, 0x22, 0x33, 0x11]
    assert files.file(disk, (image,)).backing == files.image_file(image)
    said = subprocess.run(("qemu-img", "info", files.path(disk)), check=True, capture_output=True, text=True).stdout
    assert f"backing file: ../images/{image.id}/disk.qcow2" in said
    # What is merged into it is not copied out of the image.
    assert files.path(disk).stat().st_blocks * 512 < 3 << 20


@pytest.mark.parametrize("thin", [True, False])
async def test_a_disk_on_nothing_ends_as_one_layer(house: House, thin: bool) -> None:
    files = DiskFiles(house)
    disk = await grown(files, a_disk(4, thin=thin))
    await files.merge(wanting(disk, b=None), "b", (), silent)
    for layer in (FIRST, "a"):
        files.remove_layer(disk, layer)
    assert content(files.path(disk)) == [0, 0x22, 0x33, 0]
    assert list(house.disks.iterdir()) == [files.path(disk)]


async def test_the_first_layer_of_a_raw_disk_stays(house: House) -> None:
    files = DiskFiles(house)
    disk = await grown(files, a_disk(4, format=DiskFormat.RAW))
    write(files.layers.path(disk, FIRST), 0x44, 3, format="raw")
    await files.merge(msgspec.structs.replace(disk, layers={FIRST: None, "b": FIRST}), "b", (), silent)
    files.remove_layer(disk, "a")
    assert content(files.path(disk)) == [0, 0x22, 0x33, 0x44]


async def test_a_header_leads_to_layers_of_its_disk_alone(house: House) -> None:
    files = DiskFiles(house)
    disk, stranger = await grown(files, a_disk(4)), a_disk(4)
    await files.make(stranger, (), silent)
    path = files.path(disk)
    for name in (str(files.path(stranger)), "/etc/passwd", f"{disk.id}.qcow2.partial", f"{disk.id}..qcow2"):
        subprocess.run(("qemu-img", "rebase", "-u", "-F", "raw", "-b", name, path), check=True)
        assert files.layers.find(disk)["b"] is None
        assert files.file(disk, ()).backing is None


async def test_headers_that_lead_in_a_circle_lead_nowhere(house: House) -> None:
    files = DiskFiles(house)
    disk = await grown(files, a_disk(4))
    for layer, on in ((FIRST, "b"), ("a", "a")):
        name = files.layers.path(disk, on).name
        subprocess.run(
            ("qemu-img", "rebase", "-u", "-F", "qcow2", "-b", name, files.layers.path(disk, layer)), check=True
        )
    found = files.layers.find(disk)
    assert found["a"] is None
    for layer in found:
        met, at = set(), layer
        while at is not None:
            assert at not in met
            met.add(at)
            at = found[at]  # type: ignore[assignment]


async def test_what_does_not_lie_there_is_not_merged(house: House) -> None:
    files = DiskFiles(house)
    disk = await grown(files, a_disk(4))
    with pytest.raises(Failed, match=r"does not lie on"):
        await files.merge(wanting(disk, a="b", b=None), "a", (), silent)


async def test_a_damaged_layer_is_named(house: House) -> None:
    files = DiskFiles(house)
    disk = await grown(files, a_disk(4))
    with files.layers.path(disk, "a").open("r+b") as file:
        file.write(b"gone")
    with pytest.raises(Failed, match="damaged"):
        await files.merge(wanting(disk, b=None), "b", (), silent)
    assert files.layers.find(disk)["b"] == "a"


async def test_removing_a_disk_removes_all_layers(house: House) -> None:
    files = DiskFiles(house)
    disk = await grown(files, a_disk(4))
    files.remove(disk)
    assert list(house.disks.iterdir()) == []


def test_a_merge_for_which_there_is_no_room_leaves_all_as_it_was() -> None:
    with a_house() as house:

        async def fill() -> None:
            identity.open_house(house)
            files = DiskFiles(house)
            disk = await grown(files, a_disk(4))
            (house.home / "filler").write_bytes(bytes(9 << 19))
            with pytest.raises(NoCapacity, match="the disk of this host was full"):
                await files.merge(wanting(disk, b=None), "b", (), silent)
            assert files.layers.find(disk) == {FIRST: None, "a": FIRST, "b": "a"}
            (house.home / "filler").unlink()
            await files.merge(wanting(disk, b=None), "b", (), silent)
            assert content(files.path(disk)) == [0, 0x22, 0x33, 0]

        run_as(lambda: mount_small(house.home, "8m"), fill)
