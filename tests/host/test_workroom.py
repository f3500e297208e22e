"""The room in which programs handle hostile files: what they can, and what is taken out of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.patience import PATIENCE_S

from guesthouse.host.images import workroom as rooms
from guesthouse.host.processes import Limits
from guesthouse.model.errors import ChildFailed, Failed, Invalid


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A folder as the store has it: ours alone."""
    folder = tmp_path / "store"
    folder.mkdir(mode=0o700)
    return folder


async def test_programs_see_the_room_and_no_more(store: Path) -> None:
    """As root: another user, no capability, no way to gain one, no network. Else: at least no new privileges."""
    async with rooms.workroom(store) as room:
        status = (await room.run(("cat", "/proc/self/status"), limits=Limits(), timeout_s=PATIENCE_S)).decode()
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert fields["NoNewPrivs"] == "1"
        if os.geteuid() == 0:
            assert set(fields["Uid"].split()) == set(fields["Gid"].split()) == {"65534"}
            assert fields["Groups"].strip() == ""
            assert {fields[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapInh")} == {"0" * 16}
            links = await room.run(("cat", "/proc/net/dev"), limits=Limits(), timeout_s=PATIENCE_S)
            assert [line.split(":")[0].strip() for line in links.decode().splitlines()[2:]] == ["lo"]
            (store / "private").write_text("secret")
            with pytest.raises(ChildFailed):
                await room.run(("cat", str(store / "private")), limits=Limits(), timeout_s=PATIENCE_S)
        with pytest.raises(Failed, match="no-such-program is not installed"):
            await room.run(("no-such-program",), limits=Limits(), timeout_s=PATIENCE_S)
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
