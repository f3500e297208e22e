"""Import and export with the real qemu-img: every format in and out, and hostile files that touch nothing."""

from __future__ import annotations

import asyncio
import bz2
import functools
import gzip
import hashlib
import lzma
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.diskimages import MADE, VIRTUAL_BYTES, Told, content, holds_content, info, noise, qemu_img

from guesthouse.formats.checksum import Checksum
from guesthouse.host.images.imports import DiskFacts, ImportLimits, import_disk
from guesthouse.model.errors import (
    Failed,
    GuesthouseError,
    Invalid,
    NoCapacity,
    NotFound,
    TimedOut,
)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A folder as the store has it: ours alone."""
    folder = tmp_path / "store"
    folder.mkdir(mode=0o700)
    return folder


async def take(source: Path, store: Path, progress: Told | None = None, **options: object) -> DiskFacts:
    return await import_disk(source, store / "disk.qcow2", progress=progress or Told(), **options)  # type: ignore[arg-type]


async def refused(source: Path, store: Path, **options: object) -> GuesthouseError:
    """The import fails and leaves nothing behind."""
    with pytest.raises(GuesthouseError) as caught:
        await take(source, store, **options)
    assert list(store.iterdir()) == []
    return caught.value


@pytest.mark.parametrize("name", MADE)
async def test_every_format_becomes_a_qcow2_of_ours(disk_images: dict[str, Path], store: Path, name: str) -> None:
    told = Told()
    facts = await take(disk_images[name], store, told)
    assert (facts.source_format, facts.virtual_bytes, facts.compression) == (MADE[name].format, VIRTUAL_BYTES, "")
    assert holds_content(facts.path)
    assert info(facts.path, "qcow2")["format"] == "qcow2"
    status = facts.path.stat()
    assert (status.st_uid, status.st_mode & 0o7777) == (os.geteuid(), 0o600)
    assert 0 < facts.stored_bytes < VIRTUAL_BYTES
    assert [path.name for path in store.iterdir()] == ["disk.qcow2"]
    assert told.phases()[-2:] == ["checking", "converting"]
    percents = [percent for phase, percent in told.reports if phase == "converting" and percent is not None]
    assert percents == sorted(percents)
    assert percents[-1] == 100


def zstd(data: bytes) -> bytes:
    return subprocess.run(("zstd", "-q", "-c"), input=data, capture_output=True, check=True).stdout


PACK: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": (".gz", gzip.compress),
    "xz": (".xz", lzma.compress),
    "bzip2": (".bz2", bz2.compress),
    "zstd": (".zst", zstd),
}


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("name", ["v3.qcow2", "disk.raw", "fixed.vhd"])
async def test_compressed_files_are_unpacked(
    disk_images: dict[str, Path], store: Path, tmp_path: Path, name: str, packing: str
) -> None:
    suffix, pack = PACK[packing]
    source = tmp_path / (name + suffix)
    source.write_bytes(pack(disk_images[name].read_bytes()))
    told = Told()
    facts = await take(
        source, store, told, checksum=Checksum("sha256", hashlib.sha256(source.read_bytes()).hexdigest())
    )
    assert (facts.source_format, facts.compression) == (MADE[name].format, packing)
    assert "unpacking" in told.phases()
    assert holds_content(facts.path)


@pytest.mark.parametrize("packing", PACK)
async def test_a_bomb_is_stopped(store: Path, tmp_path: Path, packing: str) -> None:
    bomb = tmp_path / "bomb"
    bomb.write_bytes(PACK[packing][1](bytes(200 << 20)))
    error = await refused(bomb, store, declared_format="raw", limits=ImportLimits(stored_bytes=20 << 20))
    assert error.message == f"bomb unpacks to more than {20 << 20} bytes"
    assert isinstance(error, Invalid)


@pytest.mark.parametrize("packing", PACK)
async def test_a_compressed_file_that_ends_early_is_refused(
    disk_images: dict[str, Path], store: Path, tmp_path: Path, packing: str
) -> None:
    source = tmp_path / "cut"
    source.write_bytes(PACK[packing][1](os.urandom(1 << 20))[:-100])
    error = await refused(source, store)
    assert "cut is " in error.message
    assert "truncated" in error.message


async def test_compressed_twice_is_refused(store: Path, tmp_path: Path) -> None:
    source = tmp_path / "twice.gz"
    source.write_bytes(gzip.compress(gzip.compress(content())))
    assert "compressed twice" in (await refused(source, store)).message


async def test_a_wrong_checksum_shows_both_and_uses_nothing(disk_images: dict[str, Path], store: Path) -> None:
    expected = Checksum("sha512", "0" * 128)
    error = await refused(disk_images["v3.qcow2"], store, checksum=expected)
    assert expected.digits in error.message
    assert hashlib.sha512(disk_images["v3.qcow2"].read_bytes()).hexdigest() in error.message


@pytest.mark.parametrize("name", ["v3.qcow2", "sparse.vmdk", "disk.vhdx", "dynamic.vhd", "dynamic.vdi", "stream.vmdk"])
async def test_what_was_cut_behind_the_header_is_refused(
    disk_images: dict[str, Path], store: Path, tmp_path: Path, name: str
) -> None:
    """The header is whole; data is missing, which qemu-img convert would read as zeros."""
    source = tmp_path / name
    data = disk_images[name].read_bytes()
    source.write_bytes(data[: len(data) - 70_000])
    error = await refused(source, store)
    assert isinstance(error, Invalid)
    assert "truncated" in error.message or "damaged" in error.message


async def test_hostile_names_are_refused_before_anything_is_copied(store: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"root:x:0:0" * 1000)
    told = Told()
    qemu_img("create", "-q", "-f", "qcow2", "-u", "-b", str(secret), "-F", "raw", str(tmp_path / "evil.qcow2"), "1M")
    error = await refused(tmp_path / "evil.qcow2", store, progress=told)
    assert error.message.startswith("evil.qcow2 names a backing file '")
    assert error.hint
    assert told.reports == []


VMDK_TEXT = """# Disk DescriptorFile
version=1
CID=11111111
parentCID=ffffffff
createType="monolithicFlat"
RW 2048 FLAT "secret" 0
"""

HOSTILE: dict[str, tuple[tuple[str, ...], str]] = {
    "backing file": (
        ("-f", "qcow2", "-u", "-b", "secret", "-F", "raw", "evil", "1M"),
        "names a backing file 'secret'",
    ),
    "json backing": (
        ("-f", "qcow2", "-u", "-b", 'json:{"driver":"file","filename":"secret"}', "-F", "raw", "evil", "1M"),
        "names a backing file 'json:",
    ),
    "data file": (
        ("-f", "qcow2", "-o", "data_file=other,data_file_raw=on", "evil", "1M"),
        "keeps its data in another file 'other'",
    ),
    "vmdk parent": (("-f", "vmdk", "-b", "base.vmdk", "-F", "vmdk", "evil"), "names a parent 'base.vmdk'"),
    "vmdk extents": (
        ("-f", "vmdk", "-o", "subformat=monolithicFlat", "evil", "1M"),
        "is only a descriptor of a VMDK; its data would be in 'evil-flat'",
    ),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", HOSTILE)
async def test_a_hostile_file_is_refused_by_name_and_touches_nothing(
    store: Path, tmp_path: Path, kind: str, packed: bool
) -> None:
    """Compressed or not; what it names is there, and is neither read nor written."""
    arguments, says = HOSTILE[kind]
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret!!" * 131072)
    qemu_img("create", "-q", "-f", "vmdk", "base.vmdk", "1M", cwd=outside)
    qemu_img("create", "-q", *arguments, cwd=outside)
    evil = outside / "evil"
    if packed:
        evil.write_bytes(gzip.compress(evil.read_bytes()))
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in outside.iterdir()}
    for path in before:
        os.utime(path, ns=(0, before[path][0]))  # an access time so old that any reading shows
    error = await refused(evil, store)
    assert error.message.startswith(f"evil {says}")
    assert {path.name for path in before if path.stat().st_atime_ns} <= {"evil"}
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in outside.iterdir()} == before


async def test_a_vmdk_descriptor_by_hand_is_refused(store: Path, tmp_path: Path) -> None:
    (tmp_path / "evil.vmdk").write_text(VMDK_TEXT)
    assert "its data would be in 'secret'" in (await refused(tmp_path / "evil.vmdk", store)).message


async def test_a_file_that_grows_meanwhile_is_not_followed(store: Path, tmp_path: Path) -> None:
    source = tmp_path / "grows.raw"
    source.write_bytes(content())

    def grow(phase: str, percent: float | None = None) -> None:
        with source.open("ab") as file:
            file.write(os.urandom(1 << 20))

    error = await refused(source, store, progress=grow)
    assert error.message == "grows.raw changed while it was copied"


async def test_a_name_that_slips_past_the_reader_is_not_followed_by_qemu_img(tmp_path: Path) -> None:
    """Second line: even an image with a backing file is opened without it."""
    from guesthouse.host.images.qemuimg import node

    (tmp_path / "secret").write_bytes(b"secret!!" * 131072)
    qemu_img("create", "-q", "-f", "qcow2", "-b", "secret", "-F", "raw", "evil.qcow2", "1M", cwd=tmp_path)
    qemu_img("convert", "-O", "raw", node("qcow2", "evil.qcow2"), "out", cwd=tmp_path)
    assert (tmp_path / "out").read_bytes() == bytes(1 << 20)
    (tmp_path / "json:{}").write_bytes(b"")
    assert '"driver": "file"' in node("raw", "json:{}")


async def test_too_much_data_for_the_limit_is_stopped(store: Path, tmp_path: Path) -> None:
    """Compressed clusters: a qcow2 that is small, passes every check, and converts to much more."""
    raw = tmp_path / "big.raw"
    raw.write_bytes(bytes(440) + content()[440:512] + b"x" * (32 << 20))
    bomb = tmp_path / "bomb.qcow2"
    qemu_img("convert", "-f", "raw", "-c", "-O", "qcow2", str(raw), str(bomb))
    assert bomb.stat().st_size < 2 << 20
    error = await refused(bomb, store, limits=ImportLimits(stored_bytes=8 << 20))
    assert isinstance(error, Invalid)
    assert "holds more data than is allowed" in error.message


async def test_limits_on_size_time_and_memory(disk_images: dict[str, Path], store: Path) -> None:
    source = disk_images["v3.qcow2"]
    assert (await refused(source, store, limits=ImportLimits(virtual_bytes=1 << 20))).field == "virtual size"
    assert (await refused(source, store, limits=ImportLimits(stored_bytes=4096))).field == "size"
    assert isinstance(await refused(source, store, limits=ImportLimits(timeout_s=0)), TimedOut)
    assert isinstance(await refused(source, store, limits=ImportLimits(memory_mib=16)), Failed)


async def test_what_is_no_file_is_refused_at_once(store: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert "no regular file" in (await refused(tmp_path / "fifo", store)).message
    assert "no regular file" in (await refused(Path("/dev/zero"), store)).message
    assert "no regular file" in (await refused(tmp_path, store)).message
    assert isinstance(await refused(tmp_path / "absent", store), NotFound)


async def test_a_full_disk_is_told_before(tmp_path: Path, full_disk: Path) -> None:
    with pytest.raises(NoCapacity, match="MiB are free"):
        await take(noise(tmp_path), full_disk, declared_format="raw")
    assert list(full_disk.iterdir()) == []


async def test_a_disk_that_fills_up_is_told_and_cleaned(full_disk: Path, tmp_path: Path) -> None:
    source = tmp_path / "source.qcow2.gz"
    source.write_bytes(gzip.compress(os.urandom(1 << 20) + b"x" * (40 << 20)))
    with pytest.raises(NoCapacity, match="no room for source"):
        await take(source, full_disk, declared_format="raw")
    assert list(full_disk.iterdir()) == []


async def test_a_download_of_ours_is_not_copied(disk_images: dict[str, Path], store: Path) -> None:
    ours = store / "download"
    ours.write_bytes(disk_images["v3.qcow2"].read_bytes())
    told = Told()
    facts = await take(ours, store, told, ours=True)
    assert holds_content(facts.path)
    assert told.phases() == ["checking", "converting"]


async def test_holes_stay_holes(store: Path, tmp_path: Path) -> None:
    """64 GiB of nothing are neither read nor stored."""
    source = tmp_path / "sparse.raw"
    with source.open("wb") as file:
        file.write(content())
        file.truncate(64 << 30)
    facts = await take(source, store)
    assert facts.virtual_bytes == 64 << 30
    assert facts.stored_bytes < 16 << 20


def set_at(wanted: str, event: asyncio.Event, phase: str, percent: float | None = None) -> None:
    if phase == wanted:
        event.set()


async def test_a_cancelled_import_leaves_nothing(disk_images: dict[str, Path], store: Path) -> None:
    for phase in ("copying", "checking", "converting"):
        reached = asyncio.Event()
        progress = functools.partial(set_at, phase, reached)
        task = asyncio.create_task(import_disk(disk_images["fixed.vdi"], store / "disk.qcow2", progress=progress))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert list(store.iterdir()) == []
