"""Templates on this box: made of a real boot, kept, damaged, thrown away."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from tests.host.boxes import a_daemon, folder_of, new_id, qemus, silent
from tests.host.shelves import MEMORY_MIB, Shelf, is_fork, launched, make
from tests.patience import PATIENCE_S

from guesthouse.host.frozen.box import Fingerprint
from guesthouse.host.local import open_host
from guesthouse.host.machines.starting import FORK_POINTS
from guesthouse.host.templates import maker
from guesthouse.model.errors import ChildFailed, Failed
from guesthouse.model.machine import Power, Stage
from guesthouse.qemu.devices import NicDevice, Seed

pytestmark = pytest.mark.vm
SPAWNED = FORK_POINTS.index("spawned")


def test_a_template_is_put_away_whole(shelf: Shelf) -> None:
    folder = shelf.folder
    assert sorted(path.name for path in folder.path.iterdir()) == ["memory", "state", "template.json"]
    assert list(shelf.house.templates.iterdir()) == [folder.path]
    assert list(shelf.house.machines.iterdir()) == []
    assert qemus(shelf.house) == []
    for path in (folder.memory, folder.state):
        seen = path.stat()
        assert (seen.st_uid, seen.st_gid, seen.st_mode & 0o777) == (os.geteuid(), os.getegid(), 0o600)
    assert folder.path.stat().st_mode & 0o007 == 0


def test_it_is_known_what_was_frozen_and_by_whom(shelf: Shelf) -> None:
    facts = shelf.folder.read_facts()
    assert facts.placed.memory_mib == MEMORY_MIB
    assert not [device for device in facts.placed.devices if isinstance(device, NicDevice | Seed)]
    assert facts.by.qemu >= (7, 2)
    assert facts.boot_ms > 0
    assert shelf.folder.memory.stat().st_size == MEMORY_MIB << 20
    for used_bytes in (facts.memory_bytes, shelf.folder.memory.stat().st_blocks * 512):
        assert 8 << 20 < used_bytes <= MEMORY_MIB << 20
    assert 0 < facts.state_bytes == shelf.folder.state.stat().st_size < 4 << 20


async def test_a_guest_that_has_no_gate_is_not_waited_for(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maker, "FAMILY", "no-template")
    own = replace(shelf, template=msgspec.structs.replace(shelf.template, id=new_id()))
    async with open_host(shelf.house) as host:
        with pytest.raises(Failed, match="did not wait at a gate"):
            await make(host, own)
        assert qemus(shelf.house) == []
        await host.templates.discard(own.template)
    assert not own.folder.path.exists()


async def test_what_is_made_already_is_only_tidied_up(shelf: Shelf) -> None:
    def look() -> list[tuple[int, int]]:
        seen = (path.stat() for path in sorted(shelf.folder.path.iterdir()))
        return [(file.st_ino, file.st_mtime_ns) for file in seen]

    before = look()
    # As a daemon leaves it that was killed when the template had just got its folder.
    (shelf.house.machines / shelf.template.id).mkdir()
    async with open_host(shelf.house) as host:
        facts = await make(host, shelf)
    assert look() == before
    assert facts.keys() == {"frozen_by", "boot_ms", "memory_bytes", "state_bytes"}
    assert list(shelf.house.machines.iterdir()) == []


async def test_an_image_that_does_not_boot_leaves_nothing(shelf: Shelf) -> None:
    own = replace(shelf, template=msgspec.structs.replace(shelf.template, id=new_id()))
    broken = replace(own, image=msgspec.structs.replace(shelf.image, id=new_id()))
    folder = shelf.house.images / broken.image.id
    folder.mkdir()
    for name in (shelf.image.kernel, shelf.image.initrd):
        (folder / name).write_bytes(b"no kernel")
    async with open_host(shelf.house) as host:
        with pytest.raises(ChildFailed, match="kernel"):
            await make(host, broken)
        await host.templates.discard(broken.template)
    assert list(shelf.house.machines.iterdir()) == []
    assert [path.name for path in shelf.house.templates.iterdir()] == [shelf.template.id]
    assert qemus(shelf.house) == []


async def test_a_guest_that_powers_off_before_its_gate_is_not_waited_for(shelf: Shelf) -> None:
    own = replace(shelf, template=msgspec.structs.replace(shelf.template, id=new_id()))
    words = f"{shelf.image.cmdline} rdinit=/usr/bin/busybox -- poweroff -f"
    ends = replace(own, image=msgspec.structs.replace(shelf.image, cmdline=words))
    async with open_host(shelf.house) as host, asyncio.timeout(PATIENCE_S):
        with pytest.raises(Failed, match="ended before it came to its gate"):
            await make(host, ends)
        await host.templates.discard(ends.template)
    assert qemus(shelf.house) == []


@pytest.mark.parametrize("point", [*FORK_POINTS, "after"])
async def test_a_daemon_killed_while_forking_leaves_no_fork_or_a_whole_one(shelf: Shelf, point: str) -> None:
    desired = shelf.fork()
    async with a_daemon(shelf.house, desired, point):
        pass
    if point == "after" or FORK_POINTS.index(point) >= SPAWNED:
        (left,) = qemus(shelf.house)
    async with open_host(shelf.house) as host:
        observed = await host.machines.observe(desired)
        # Only a whole one goes on; one that is half restored has never run, and is gone.
        assert (observed.process is not None) == (point == "after")
        assert qemus(shelf.house) == ([left] if observed.process else [])
        async with launched(shelf.house, host, desired) as (guest, observed):
            # What may have begun to run never does so again.
            assert is_fork(observed) == (point != "forked")
            assert observed.process is not None
            assert qemus(shelf.house) == [observed.process.pid]
            await guest.until(Stage.CONFIGURED)
            assert await guest.run("hostname") == "web\n"
    assert qemus(shelf.house) == []


def frozen_by_another_qemu(shelf: Shelf) -> None:
    facts = shelf.folder.read_facts()
    other = msgspec.structs.replace(facts, by=Fingerprint(facts.by.accelerator, (1, 0), facts.by.processor))
    shelf.folder.facts.write_bytes(msgspec.json.encode(other))


def without_the_end_of_its_state(shelf: Shelf) -> None:
    os.truncate(shelf.folder.state, shelf.folder.state.stat().st_size // 2)


def without_its_memory(shelf: Shelf) -> None:
    shelf.folder.memory.unlink()


def with_a_description_that_nobody_can_read(shelf: Shelf) -> None:
    shelf.folder.facts.write_bytes(b"{")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (frozen_by_another_qemu, "was frozen by .*QEMU 1.0.*; here is .*QEMU"),
        (without_the_end_of_its_state, "the frozen state could not be restored"),
        (without_its_memory, "memory"),
        (with_a_description_that_nobody_can_read, "cannot be read"),
    ],
)
async def test_a_template_that_cannot_be_used_is_named_and_the_machine_boots(
    shelf: Shelf, spoil: Callable[[Shelf], None], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    own = shelf.copy()
    spoil(own)
    desired = own.fork("cold", power=Power.PAUSED)
    async with open_host(own.house) as host:
        async with launched(own.house, host, desired) as (_, observed):
            assert not is_fork(observed)
            assert observed.process is not None
            assert b"-incoming" not in Path(f"/proc/{observed.process.pid}/cmdline").read_bytes()
            assert not folder_of(own.house, desired).forked.exists()
        await host.templates.perform("template.delete", "remove", own.template, {}, silent)
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [line for line in told if re.match(f"machine cold boots: .*{said}", line)], told
