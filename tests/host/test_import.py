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
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.diskimages import MADE, VIRTUAL_BYTES, content, info, make_all, qemu_img

from guesthouse.formats.checksum import Checksum
from guesthouse.host.images import workroom as rooms
from guesthouse.host.images.export import EXPORTS, Layer, export_disk
from guesthouse.host.images.imports import DiskFacts, ImportLimits, import_disk
from guesthouse.host.processes import Limits
from guesthouse.model.errors import (
    ChildFailed,
    Conflict,
    Failed,
    GuesthouseError,
    Invalid,
    NoCapacity,
    NotFound,
    TimedOut,
)


class Told:
    """A `Progress` that remembers."""

    def __init__(self) -> None:
        self.reports: list[tuple[str, float | None]] = []

    def __call__(self, phase: str, percent: float | None = None) -> None:
        self.reports.append((phase, percent))

    def phases(self) -> list[str]:
        return list(dict.fromkeys(phase for phase, _ in self.reports))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_all(tmp_path_factory.mktemp("images"))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A folder as the store has it: ours alone."""
    folder = tmp_path / "store"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB; mounting it takes root."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)), check=True)
    yield folder
    subprocess.run(("umount", str(folder)), check=True)


def noise(folder: Path) -> Path:
    """A raw disk of 6 MiB, each of which takes room."""
    path = folder / "noise.raw"
    path.write_bytes(os.urandom(6 << 20))
    return path


async def take(source: Path, store: Path, progress: Told | None = None, **options: object) -> DiskFacts:
    return await import_disk(source, store / "disk.qcow2", progress=progress or Told(), **options)  # type: ignore[arg-type]


async def refused(source: Path, store: Path, **options: object) -> GuesthouseError:
    """The import fails and leaves nothing behind."""
    with pytest.raises(GuesthouseError) as caught:
        await take(source, store, **options)
    assert list(store.iterdir()) == []
    return caught.value


def holds_content(disk: Path) -> bool:
    raw = disk.with_name("out.raw")
    qemu_img("convert", "-f", "qcow2", "-O", "raw", str(disk), str(raw))
    same = raw.read_bytes() == content()
    raw.unlink()
    return same


@pytest.mark.parametrize("name", MADE)
async def test_every_format_becomes_a_qcow2_of_ours(images: dict[str, Path], store: Path, name: str) -> None:
    told = Told()
    facts = await take(images[name], store, told)
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
    images: dict[str, Path], store: Path, tmp_path: Path, name: str, packing: str
) -> None:
    suffix, pack = PACK[packing]
    source = tmp_path / (name + suffix)
    source.write_bytes(pack(images[name].read_bytes()))
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
    images: dict[str, Path], store: Path, tmp_path: Path, packing: str
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


async def test_a_wrong_checksum_shows_both_and_uses_nothing(images: dict[str, Path], store: Path) -> None:
    expected = Checksum("sha512", "0" * 128)
    error = await refused(images["v3.qcow2"], store, checksum=expected)
    assert expected.digits in error.message
    assert hashlib.sha512(images["v3.qcow2"].read_bytes()).hexdigest() in error.message


@pytest.mark.parametrize(
    "name", ["v3.qcow2", "sparse.vmdk", "disk.vhdx", "dynamic.vhd", "dynamic.vdi", "stream.vmdk"]
)
async def test_what_was_cut_behind_the_header_is_refused(
    images: dict[str, Path], store: Path, tmp_path: Path, name: str
) -> None:
    """The header is whole; data is missing, which qemu-img convert would read as zeros."""
    source = tmp_path / name
    data = images[name].read_bytes()
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


async def test_limits_on_size_time_and_memory(images: dict[str, Path], store: Path) -> None:
    source = images["v3.qcow2"]
    assert (await refused(source, store, limits=ImportLimits(virtual_bytes=1 << 20))).field == "virtual size"
    assert (await refused(source, store, limits=ImportLimits(stored_bytes=4096))).field == "size"
    assert isinstance(await refused(source, store, limits=ImportLimits(timeout_s=0.001)), TimedOut)
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


async def test_a_download_of_ours_is_not_copied(images: dict[str, Path], store: Path) -> None:
    ours = store / "download"
    ours.write_bytes(images["v3.qcow2"].read_bytes())
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


async def test_programs_see_the_room_and_no_more(store: Path) -> None:
    """As root: another user, no capability, no way to gain one, no network. Else: at least no new privileges."""
    async with rooms.workroom(store) as room:
        status = (await room.run(("cat", "/proc/self/status"), limits=Limits(), timeout_s=10)).decode()
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert fields["NoNewPrivs"] == "1"
        if os.geteuid() == 0:
            assert set(fields["Uid"].split()) == set(fields["Gid"].split()) == {"65534"}
            assert fields["Groups"].strip() == ""
            assert {fields[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapInh")} == {"0" * 16}
            links = await room.run(("cat", "/proc/net/dev"), limits=Limits(), timeout_s=10)
            assert [line.split(":")[0].strip() for line in links.decode().splitlines()[2:]] == ["lo"]
            (store / "private").write_text("secret")
            with pytest.raises(ChildFailed):
                await room.run(("cat", str(store / "private")), limits=Limits(), timeout_s=10)
        with pytest.raises(Failed, match="no-such-program is not installed"):
            await room.run(("no-such-program",), limits=Limits(), timeout_s=10)
    assert list(store.glob(".workroom-*")) == []


@pytest.mark.parametrize("kind", ["symlink", "hardlink", "fifo"])
async def test_a_result_that_is_no_file_of_its_own_is_not_taken(store: Path, kind: str) -> None:
    (store / "victim").write_text("untouched")
    async with rooms.workroom(store) as room:
        result = room.path / "disk.qcow2"
        {"symlink": lambda: result.symlink_to(store / "victim"),
         "hardlink": lambda: result.hardlink_to(store / "victim"),
         "fifo": lambda: os.mkfifo(result)}[kind]()  # fmt: skip
        with pytest.raises(Invalid, match="did not come out as a file"):
            room.publish("disk.qcow2", store / "taken", 0o600)
    assert [path.name for path in store.iterdir()] == ["victim"]


async def test_sweep_removes_what_a_killed_daemon_left(store: Path) -> None:
    left = store / ".workroom-abc"
    left.mkdir()
    (left / "source").write_bytes(b"x")
    async with rooms.workroom(store) as room:
        assert await rooms.sweep(store) == 1
        assert room.path.is_dir()
        assert not left.exists()


def set_at(wanted: str, event: asyncio.Event, phase: str, percent: float | None = None) -> None:
    if phase == wanted:
        event.set()


async def test_a_cancelled_import_leaves_nothing(images: dict[str, Path], store: Path) -> None:
    for phase in ("copying", "checking", "converting"):
        reached = asyncio.Event()
        progress = functools.partial(set_at, phase, reached)
        task = asyncio.create_task(import_disk(images["fixed.vdi"], store / "disk.qcow2", progress=progress))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert list(store.iterdir()) == []


# ---- export


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("format", EXPORTS)
async def test_every_format_goes_out_and_comes_back(
    images: dict[str, Path], store: Path, tmp_path: Path, format: str, compress: bool
) -> None:
    out = tmp_path / f"out.{format}"
    layers = [Layer(images["v3.qcow2"], "qcow2")]
    told = Told()
    if compress and EXPORTS[format].compressed_options is None:
        with pytest.raises(Invalid, match="no compressed form"):
            await export_disk(layers, out, format=format, compress=True, progress=told)
        assert not out.exists()
        return
    done = await export_disk(layers, out, format=format, compress=compress, progress=told)
    assert (done.path, done.format, done.file_bytes) == (out, format, out.stat().st_size)
    assert told.reports[-1] == ("exporting", 100.0)
    assert list(tmp_path.glob("*.partial")) == []
    back = await take(out, store)
    assert (back.source_format, back.virtual_bytes) == (format, VIRTUAL_BYTES)
    assert holds_content(back.path)


async def test_layers_are_merged_and_headers_ignored(images: dict[str, Path], tmp_path: Path, store: Path) -> None:
    overlay = tmp_path / "overlay.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-b", str(images["disk.raw"]), "-F", "raw", str(overlay))
    qemu_img("rebase", "-u", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", str(overlay))
    layers = [Layer(overlay, "qcow2"), Layer(images["disk.raw"], "raw")]
    await export_disk(layers, tmp_path / "out.qcow2", format="qcow2", progress=Told())
    assert "backing-filename" not in info(tmp_path / "out.qcow2", "qcow2")
    assert holds_content(tmp_path / "out.qcow2")


async def test_an_unknown_format_names_the_known(tmp_path: Path) -> None:
    with pytest.raises(Invalid) as caught:
        await export_disk([Layer(tmp_path / "a", "raw")], tmp_path / "b", format="iso", progress=Told())
    assert caught.value.hint.startswith("one of qcow2, raw")


async def test_a_disk_in_use_is_a_conflict(images: dict[str, Path], tmp_path: Path) -> None:
    """qemu-io holds the disk as a machine does."""
    disk = tmp_path / "busy.qcow2"
    disk.write_bytes(images["v3.qcow2"].read_bytes())
    holder = await asyncio.create_subprocess_exec(
        "qemu-io", "-f", "qcow2", str(disk), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        holder.stdin.write(b"read 0 512\n")
        await holder.stdout.readuntil(b"ops;")
        with pytest.raises(Conflict, match="a running machine holds the disk"):
            await export_disk([Layer(disk, "qcow2")], tmp_path / "out", format="raw", progress=Told())
    finally:
        holder.stdin.close()
        await holder.wait()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["busy.qcow2"]


async def test_an_export_onto_a_full_disk_leaves_nothing(tmp_path: Path, full_disk: Path) -> None:
    with pytest.raises(NoCapacity, match="the disk of this host is full"):
        await export_disk([Layer(noise(tmp_path), "raw")], full_disk / "out", format="qcow2", progress=Told())
    assert list(full_disk.iterdir()) == []
