"""Disks as files, made by the real qemu-img."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.host.boxes import a_disk, a_house, new_id, silent
from tests.host.children import mount_small, run_as

from guesthouse.host import identity
from guesthouse.host.disks import DiskFiles, LocalDisks
from guesthouse.model.errors import Failed, Invalid, NoCapacity
from guesthouse.model.house import House
from guesthouse.model.machine import DiskFormat
from guesthouse.model.resources import Disk, Image

CONTENT = b"guesthouse" * 1000


@pytest.fixture
def image(house: House) -> Image:
    """An image of 8 MiB that begins with `CONTENT`."""
    image = Image(id=new_id(), project="p", name="base", disk="disk.qcow2", format="qcow2", virtual_mib=8)
    folder = house.images / image.id
    folder.mkdir()
    raw = folder / "disk.raw"
    raw.write_bytes(CONTENT.ljust(8 << 20, b"\0"))
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, folder / "disk.qcow2"], check=True)
    raw.unlink()
    return image


def info(path: Path) -> dict[str, Any]:
    said = subprocess.run(["qemu-img", "info", "--output=json", path], check=True, capture_output=True).stdout
    facts: dict[str, Any] = json.loads(said)
    return facts


def content(path: Path, format: DiskFormat) -> bytes:
    """The first bytes that a guest sees, by qemu-img."""
    raw = path.with_name("seen.raw")
    subprocess.run(["qemu-img", "convert", "-f", format.value, "-O", "raw", path, raw], check=True)
    try:
        return raw.read_bytes()[: len(CONTENT)]
    finally:
        raw.unlink()


def perform(disks: DiskFiles, kind: str, step: str, disk: Disk, **context: Any) -> Any:
    return LocalDisks(disks).perform(kind, step, disk, context, silent)


@pytest.mark.parametrize("format", DiskFormat)
@pytest.mark.parametrize("thin", [True, False])
async def test_an_empty_disk(house: House, format: DiskFormat, thin: bool) -> None:
    files, disk = DiskFiles(house), a_disk(format=format, thin=thin)
    await perform(files, "disk.create", "make", disk)
    path = files.path(disk)
    facts = info(path)
    assert (facts["format"], facts["virtual-size"]) == (format.value, 16 << 20)
    assert (path.stat().st_blocks * 512 >= 16 << 20) == (not thin)
    assert path.stat().st_mode & 0o777 == 0o600
    seen = files.see(disk)
    assert seen is not None
    assert seen.size_mib == 16
    assert list(house.disks.iterdir()) == [path]


@pytest.mark.parametrize("format", DiskFormat)
@pytest.mark.parametrize("thin", [True, False])
async def test_a_disk_on_an_image(house: House, image: Image, format: DiskFormat, thin: bool) -> None:
    files, disk = DiskFiles(house), a_disk(format=format, thin=thin, image=image.id)
    await files.make(disk, (image,), silent)
    path = files.path(disk)
    assert info(path)["virtual-size"] == 16 << 20
    assert content(path, format) == CONTENT
    overlay = format is DiskFormat.QCOW2 and thin
    assert info(path).get("backing-filename") == (f"../images/{image.id}/disk.qcow2" if overlay else None)
    told = await LocalDisks(files).describe(disk, image)
    assert len(told["chain"]) == (2 if overlay else 1)
    assert told["virtual_bytes"] == 16 << 20


async def test_a_disk_that_is_there_stays(house: House) -> None:
    files, disk = DiskFiles(house), a_disk(format=DiskFormat.RAW)
    await files.make(disk, (), silent)
    files.path(disk).write_bytes(b"precious".ljust(16 << 20, b"\0"))
    await files.make(disk, (), silent)
    assert files.path(disk).read_bytes().startswith(b"precious")


async def test_what_a_killed_daemon_had_begun_is_begun_again(house: House) -> None:
    files, disk = DiskFiles(house), a_disk()
    (house.disks / f"{disk.id}.qcow2.partial").write_bytes(b"half")
    await files.make(disk, (), silent)
    assert [path.name for path in house.disks.iterdir()] == [f"{disk.id}.qcow2"]


async def test_a_disk_smaller_than_its_image_is_refused(house: House, image: Image) -> None:
    with pytest.raises(Invalid, match="smaller than image base") as caught:
        await DiskFiles(house).make(a_disk(size_mib=4, image=image.id), (image,), silent)
    assert (caught.value.field, caught.value.value) == ("size_mib", 4)
    assert list(house.disks.iterdir()) == []


async def test_an_image_whose_file_is_gone_is_named(house: House, image: Image) -> None:
    shutil.rmtree(house.images / image.id)
    with pytest.raises(Failed, match="image base is gone"):
        await DiskFiles(house).make(a_disk(image=image.id), (image,), silent)
    assert list(house.disks.iterdir()) == []


@pytest.mark.parametrize("format", DiskFormat)
async def test_growing(house: House, image: Image, format: DiskFormat) -> None:
    files, disk = DiskFiles(house), a_disk(format=format, image=image.id)
    await files.make(disk, (image,), silent)
    for _ in range(2):
        context = {"size_mib": 32, "image": msgspec.to_builtins(image)}
        await perform(files, "disk.resize", "grow", disk, **context)
    assert info(files.path(disk))["virtual-size"] == 32 << 20
    assert content(files.path(disk), format) == CONTENT


async def test_converting_there(house: House, image: Image) -> None:
    files, disk = DiskFiles(house), a_disk(image=image.id)
    await files.make(disk, (image,), silent)
    context = {"format": "raw", "image": msgspec.to_builtins(image)}
    for step in ("convert", "switch", "switch"):
        await perform(files, "disk.convert", step, disk, **context)
    converted = msgspec.structs.replace(disk, format=DiskFormat.RAW, image="")
    assert list(house.disks.iterdir()) == [files.path(converted)]
    assert content(files.path(converted), DiskFormat.RAW) == CONTENT


@pytest.mark.parametrize("steps", [(), ("convert",), ("convert", "switch")])
async def test_converting_and_back(house: House, image: Image, steps: tuple[str, ...]) -> None:
    files, disk = DiskFiles(house), a_disk(image=image.id)
    await files.make(disk, (image,), silent)
    # Where the guest wrote zeroes over the image, zeroes must come back and not the image.
    node = json.dumps({"driver": "qcow2", "file": {"driver": "file", "filename": str(files.path(disk))}})
    subprocess.run(["qemu-io", "-c", "write -P 0 0 64k", f"json:{node}"], check=True, stdout=subprocess.DEVNULL)
    context = {"format": "raw", "image": msgspec.to_builtins(image)}
    for step in (*steps, "undo", "undo"):
        await perform(files, "disk.convert", step, disk, **context)
    assert list(house.disks.iterdir()) == [files.path(disk)]
    assert content(files.path(disk), DiskFormat.QCOW2) == bytes(len(CONTENT))


async def test_removing(house: House) -> None:
    files, disk = DiskFiles(house), a_disk()
    await files.make(disk, (), silent)
    for _ in range(2):
        await perform(files, "disk.delete", "remove", disk)
    assert list(house.disks.iterdir()) == []
    assert files.see(disk) is None


async def test_a_header_that_points_elsewhere_is_refused(house: House) -> None:
    """What a QEMU that was taken over could write: an external data file, which qemu-img would follow."""
    files, disk = DiskFiles(house), a_disk()
    target = house.home / "secret"
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={target}", files.path(disk), "16M"]
    subprocess.run(argv, check=True)
    assert files.see(disk) is not None
    with pytest.raises(Failed, match="names another file for its data"):
        await files.convert(disk, DiskFormat.RAW, (), silent)
    with pytest.raises(Failed, match="names another file for its data"):
        files.file(disk, ())


async def test_a_backing_file_in_a_header_is_not_followed(house: House, image: Image) -> None:
    files, disk = DiskFiles(house), a_disk(size_mib=8)
    below = house.images / image.id / "disk.qcow2"
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", below, "-F", "qcow2", files.path(disk)]
    subprocess.run(argv, check=True)
    await files.convert(disk, DiskFormat.RAW, (), silent)
    assert files.path(msgspec.structs.replace(disk, format=DiskFormat.RAW)).read_bytes()[: len(CONTENT)] == bytes(
        len(CONTENT)
    )


def test_a_full_disk_is_said_and_leaves_nothing() -> None:
    with a_house() as house:

        async def fill() -> None:
            identity.open_house(house)
            for thin, format in ((False, DiskFormat.QCOW2), (False, DiskFormat.RAW)):
                disk = a_disk(size_mib=64, thin=thin, format=format)
                with pytest.raises(NoCapacity, match="the disk of this host is full") as caught:
                    await DiskFiles(house).make(disk, (), silent)
                assert caught.value.hint
                assert list(house.disks.iterdir()) == []

        run_as(lambda: mount_small(house.home, "8m"), fill)
        assert list(house.home.iterdir()) == []


async def test_a_disk_whose_image_is_no_more_is_not_made_empty(house: House) -> None:
    with pytest.raises(Failed, match="the image that disk data is made on is gone"):
        await DiskFiles(house).make(a_disk(image=new_id()), (), silent)
    assert list(house.disks.iterdir()) == []
