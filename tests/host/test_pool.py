"""Frozen memory in a pool: copied without its holes, sealed, kept within a budget."""

from __future__ import annotations

import asyncio
import mmap
import os
import threading
from pathlib import Path

import msgspec
import pytest
from tests.patience import PATIENCE_S

from guesthouse.host.frozen import pool as frozen_pool
from guesthouse.host.frozen.box import Fingerprint
from guesthouse.host.frozen.folder import Facts, TemplateFolder
from guesthouse.host.frozen.memory import memory_file, seal
from guesthouse.host.frozen.pool import Frozen, Pool, sealed_copy
from guesthouse.host.snapshots import folder as snapshots
from guesthouse.host.snapshots.folder import SnapshotFolder
from guesthouse.model.errors import Conflict, Failed
from guesthouse.model.house import House
from guesthouse.model.machine import MachineSpec
from guesthouse.model.resources import Template
from guesthouse.qemu.frozen import without_identity
from guesthouse.qemu.place import place

HERE = Fingerprint("tcg", (7, 2, 22), "")
MIB = 1 << 20
SPEC = MachineSpec(name="web", memory_mib=64, nics=())
PLACED = place(SPEC, machine_type="pc-q35-7.2")


class Box:
    """A box with that fingerprint."""

    async def fingerprint(self) -> Fingerprint:
        return HERE


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path, tmp_path)


def a_pool(house: House, budget_bytes: int = 100 * MIB) -> Pool:
    return Pool(house, Box(), budget_bytes)  # type: ignore[arg-type]


def a_template(house: House, name: str, size_bytes: int = MIB, by: Fingerprint = HERE) -> Template:
    """A template as the maker leaves it, its memory random in its first `size_bytes` and empty in the rest."""
    folder = TemplateFolder(house.templates / name)
    folder.path.mkdir(parents=True)
    with folder.memory.open("wb") as memory:
        memory.write(os.urandom(size_bytes))
        memory.truncate(64 * MIB)
    folder.state.write_bytes(b"state")
    facts = Facts(placed=without_identity(PLACED), by=by, boot_ms=1, memory_bytes=size_bytes, state_bytes=5)
    folder.facts.write_bytes(msgspec.json.encode(facts))
    return Template(id=name, project="p", name=name, image="i", spec=SPEC)


def memory_files() -> set[str]:
    """The sealed memory that this process has open."""
    links = [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return {link.split("frozen-")[1].split()[0] for link in links if "memfd:frozen-" in link}


def test_a_copy_has_the_bytes_and_the_holes_of_its_source(tmp_path: Path) -> None:
    source, pieces = tmp_path / "memory", {0: os.urandom(5000), 7 * MIB: os.urandom(MIB), 32 * MIB - 4096: b"x" * 4096}
    with source.open("wb") as file:
        for at, piece in pieces.items():
            file.seek(at)
            file.write(piece)
    copy = sealed_copy(source, "one")
    try:
        assert os.fstat(copy).st_size == 32 * MIB
        assert os.fstat(copy).st_blocks * 512 <= 2 * MIB
        for at, piece in pieces.items():
            assert os.pread(copy, len(piece), at) == piece
        assert os.pread(copy, 4096, 3 * MIB) == bytes(4096)
    finally:
        os.close(copy)


def test_nobody_can_write_to_a_copy(tmp_path: Path) -> None:
    (tmp_path / "memory").write_bytes(bytes(8192))
    copy = sealed_copy(tmp_path / "memory", "one")
    again = os.open(f"/proc/self/fd/{copy}", os.O_RDWR)
    try:
        for write in (
            lambda: os.pwrite(again, b"x", 0),
            lambda: os.ftruncate(again, 0),
            lambda: mmap.mmap(again, 4096, mmap.MAP_SHARED),
        ):
            with pytest.raises(PermissionError):
                write()
        with mmap.mmap(again, 4096, mmap.MAP_PRIVATE) as private:
            private[:1] = b"x"
        assert os.pread(copy, 1, 0) == b"\0"
    finally:
        os.close(again)
        os.close(copy)


async def test_what_was_used_last_is_kept(house: House) -> None:
    pool = a_pool(house, budget_bytes=5 * MIB)
    templates = [a_template(house, name, 2 * MIB) for name in ("one", "two", "three")]
    for template in (*templates, templates[1]):
        frozen = await pool.take(template, PLACED)
        assert frozen is not None
        frozen.close()
    assert memory_files() == {"two", "three"}
    pool.drop("two")
    assert memory_files() == {"three"}
    pool.close()
    assert memory_files() == set()


async def test_one_beyond_the_budget_is_used_all_the_same(house: House) -> None:
    pool = a_pool(house, budget_bytes=0)
    frozen = await pool.take(a_template(house, "one"), PLACED)
    assert frozen is not None
    assert os.pread(frozen.state, 5, 0) == b"state"
    assert frozen.devices == {device.id for device in without_identity(PLACED).devices}
    frozen.close()
    pool.close()


async def test_who_is_cancelled_leaves_no_memory_behind(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slowly(source: Path, name: str) -> int:
        begun.set()
        go_on.wait(PATIENCE_S)
        return sealed_copy(source, name)

    monkeypatch.setattr(frozen_pool, "sealed_copy", slowly)
    pool = a_pool(house)
    taking = asyncio.create_task(pool.take(a_template(house, "one"), PLACED))
    await asyncio.to_thread(begun.wait, PATIENCE_S)
    taking.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await taking
    pool.close()
    assert memory_files() == set()


async def test_a_daemon_that_begins_reads_what_fits(house: House, caplog: pytest.LogCaptureFixture) -> None:
    for age, name in enumerate(("newest", "older", "oldest")):
        a_template(house, name, 2 * MIB)
        os.utime(house.templates / name, (1000 - age, 1000 - age))
    (house.templates / ".making.partial").mkdir()
    (house.templates / "damaged").mkdir()
    pool = a_pool(house, budget_bytes=5 * MIB)
    await pool.warm()
    assert memory_files() == {"newest", "older"}
    assert "damaged/memory cannot be kept ready" in caplog.text
    # One more: what was used longest ago goes.
    frozen = await pool.take(a_template(house, "one"), PLACED)
    assert frozen is not None
    frozen.close()
    another = await pool.take(a_template(house, "two", 2 * MIB), PLACED)
    assert another is not None
    another.close()
    assert memory_files() == {"newest", "one", "two"}
    pool.close()


def a_snapshot(house: House, name: str, size_bytes: int = MIB, *, settled: bool = True) -> SnapshotFolder:
    """A snapshot whose memory has its place; facts call it settled, or do not yet."""
    folder = SnapshotFolder(house.snapshots / name)
    folder.path.mkdir(parents=True)
    folder.memory.write_bytes(os.urandom(size_bytes))
    folder.devices.write_bytes(b"devices")
    facts = snapshots.Facts(memory_bytes=size_bytes, devices_bytes=7 if settled else 0)
    folder.facts.write_bytes(msgspec.json.encode(facts))
    return folder


async def test_memory_of_snapshots_is_kept_beside_that_of_templates(house: House) -> None:
    a_template(house, "template", 2 * MIB)
    for age, name in enumerate(("newest", "older", "oldest")):
        a_snapshot(house, name, 2 * MIB)
        os.utime(house.snapshots / name, (2000 - age, 2000 - age))
    a_snapshot(house, "half-way", settled=False)
    os.utime(house.templates / "template", (1, 1))
    pool = a_pool(house, budget_bytes=7 * MIB)
    await pool.warm()
    assert memory_files() == {"template", "newest", "older"}
    folder = a_snapshot(house, "one", 3 * MIB)
    await pool.ahead("one", folder.memory)
    assert memory_files() == {"newest", "one", "template"}
    # What does not fit is left for whoever needs it.
    await pool.ahead("large", a_snapshot(house, "large", 8 * MIB).memory)
    assert memory_files() == {"newest", "one", "template"}
    frozen = await pool.open("one", folder.memory, folder.devices)
    assert frozen.memory is not None
    assert os.pread(frozen.memory, 4 * MIB, 0) == folder.memory.read_bytes()
    assert os.pread(frozen.state, 10, 0) == b"devices"
    pool.close()
    frozen.close()
    assert memory_files() == set()


async def test_who_finds_it_ready_does_not_wait_for_another_to_be_read(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slowly(source: Path, name: str) -> int:
        begun.set()
        go_on.wait(PATIENCE_S)
        return sealed_copy(source, name)

    pool = a_pool(house)
    template = a_template(house, "one")
    (await taken(pool, template)).close()
    monkeypatch.setattr(frozen_pool, "sealed_copy", slowly)
    reading = asyncio.create_task(pool.ahead("two", a_snapshot(house, "two").memory))
    await asyncio.to_thread(begun.wait, PATIENCE_S)
    (await taken(pool, template)).close()
    assert not reading.done()
    go_on.set()
    await reading
    pool.close()


async def taken(pool: Pool, template: Template) -> Frozen:
    frozen = await pool.take(template, PLACED)
    assert frozen is not None
    return frozen


async def test_another_tree_does_not_fit(house: House) -> None:
    larger = place(msgspec.structs.replace(SPEC, memory_mib=128), machine_type="pc-q35-7.2")
    assert await a_pool(house).take(a_template(house, "one"), larger) is None


async def test_what_another_qemu_froze_is_refused(house: House) -> None:
    template = a_template(house, "one", by=Fingerprint("kvm", (8, 0, 0), "a processor"))
    with pytest.raises(Conflict, match=r"frozen by kvm, QEMU 8\.0\.0, a processor; here is tcg, QEMU 7\.2\.22"):
        await a_pool(house).take(template, PLACED)


async def test_a_damaged_template_is_told(house: House) -> None:
    template = a_template(house, "one")
    (house.templates / "one" / "template.json").write_bytes(b"{")
    with pytest.raises(Failed, match="template one cannot be read"):
        await a_pool(house).take(template, PLACED)


async def test_what_lies_in_no_file_is_held_until_it_is_dropped(house: House) -> None:
    pool = a_pool(house, budget_bytes=3 * MIB)
    for name in ("one", "two"):
        a_template(house, name)
    await pool.warm()
    memory = memory_file("fork", 2 * MIB)
    os.pwrite(memory, os.urandom(2 * MIB), 0)
    seal(memory)
    assert pool.has_room(3 * MIB)
    pool.hold("fork", memory)
    assert not pool.has_room(2 * MIB)
    assert pool.holds("fork")
    # What is only kept makes room for it.
    assert len(pool._kept) == 1
    devices = house.home / "devices"
    devices.write_bytes(b"devices")
    frozen = await pool.open("fork", house.home / "no-such-memory", devices)
    pool.drop("fork")
    assert not pool.holds("fork")
    assert pool.has_room(3 * MIB)
    assert frozen.memory is not None
    with pytest.raises(PermissionError):
        os.pwrite(frozen.memory, b"x", 0)
    frozen.close()
