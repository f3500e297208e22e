"""Building the Debian image: what is missing is named first, and nothing is left of a build that did not end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests import debian as kept
from tests.caches import alone

from guesthouse.host.images import debian, debian_tree
from guesthouse.model.errors import Conflict, Failed


class CancelAt:
    """Progress that cancels the task that tells it, once it comes to a phase."""

    def __init__(self, phase: str, percent: float) -> None:
        self._phase, self._percent = phase, percent
        self.task: asyncio.Task[object] | None = None

    def __call__(self, phase: str, percent: float | None = None) -> None:
        if self.task is not None and phase.startswith(self._phase) and (percent or 0) >= self._percent:
            self.task.cancel()


async def _cancelled(destination: Path, cache: Path, progress: CancelAt) -> None:
    progress.task = asyncio.create_task(debian.build_debian(destination, cache, progress))
    with pytest.raises(asyncio.CancelledError):
        await progress.task


@pytest.mark.vm
async def test_a_build_cancelled_while_it_installs_leaves_nothing(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    await _cancelled(tmp_path / "images/debian", cache, CancelAt("installing packages", 5))
    assert debian_tree._left_behind(debian_tree._prefix(cache)) == []
    assert list((tmp_path / "images").iterdir()) == []
    assert [path.name for path in cache.iterdir()] == ["debian.lock"]


@pytest.mark.vm
@pytest.mark.usefixtures("debian_image")
async def test_a_build_cancelled_while_it_writes_leaves_nothing(tmp_path: Path) -> None:
    with alone(kept.kept()):
        await _cancelled(tmp_path / "debian", kept.kept(), CancelAt("making the file system", 0))
    assert list(tmp_path.iterdir()) == []


async def test_an_image_that_is_there_stays(tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="is there already"):
        await debian.build_debian(tmp_path, tmp_path / "cache", CancelAt("never", 0))
    assert list(tmp_path.iterdir()) == []


async def test_a_missing_program_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(debian.NEEDED, "no-such-program", "no-such-package")
    with pytest.raises(Failed, match="no-such-package") as caught:
        await debian.build_debian(tmp_path / "debian", tmp_path / "cache", CancelAt("never", 0))
    assert caught.value.hint == "sudo apt install no-such-package"
    assert list(tmp_path.iterdir()) == []


async def test_a_cache_is_filled_by_one_at_a_time(tmp_path: Path) -> None:
    with debian_tree._alone(tmp_path), pytest.raises(Conflict, match="another build"), debian_tree._alone(tmp_path):
        pass
