"""Building the micro image: the same twice, without root, and nothing left of what did not end well."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from guesthouse.host.images import packages
from guesthouse.host.images.built import BuiltImage
from guesthouse.host.images.micro import build_micro
from guesthouse.model.errors import ChildFailed, Conflict
from guesthouse.ports import Progress

pytestmark = pytest.mark.vm

_NOBODY = 65534


class Heard:
    """Progress as it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, float | None]] = []

    def __call__(self, phase: str, percent: float | None = None) -> None:
        self.told.append((phase, percent))


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that a user without rights can reach and owns."""
    folder = Path(tempfile.mkdtemp(prefix="guesthouse-test-"))
    if os.getuid() == 0:
        os.chown(folder, _NOBODY, _NOBODY)
    yield folder
    shutil.rmtree(folder)


def _build_without_rights(destination: Path, cache: Path) -> None:
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
    asyncio.run(build_micro(destination, cache, Heard()))


def test_an_unprivileged_user_builds_the_same_bytes(
    micro_image: BuiltImage, pytestconfig: pytest.Config, open_folder: Path
) -> None:
    cache = open_folder / "cache"
    shutil.copytree(pytestconfig.cache.mkdir("packages"), cache, ignore=shutil.ignore_patterns("apt"))
    if os.getuid() == 0:
        for path in (cache, *cache.iterdir()):
            os.chown(path, _NOBODY, _NOBODY)
    # A fork, because the interpreter itself may lie where such a user cannot read it.
    process = multiprocessing.get_context("fork").Process(
        target=_build_without_rights, args=(open_folder / "micro", cache)
    )
    process.start()
    process.join()
    assert process.exitcode == 0
    assert sorted(path.name for path in open_folder.iterdir()) == ["cache", "micro"]
    for name in ("kernel", "initrd"):
        assert (open_folder / "micro" / name).read_bytes() == (micro_image.folder / name).read_bytes()


async def test_a_cancelled_build_leaves_nothing(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    class Cancel(Heard):
        def __call__(self, phase: str, percent: float | None = None) -> None:
            super().__call__(phase, percent)
            if phase == "unpacking packages" and percent:
                task.cancel()

    heard: Progress = Cancel()
    cache = pytestconfig.cache.mkdir("packages")
    (tmp_path / "images" / ".micro.building" / "left by a killed build").mkdir(parents=True)
    task = asyncio.create_task(build_micro(tmp_path / "images" / "micro", cache, heard))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list((tmp_path / "images").iterdir()) == []


async def test_a_folder_that_is_there_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "micro").mkdir()
    heard = Heard()
    with pytest.raises(Conflict, match="is there already"):
        await build_micro(tmp_path / "micro", tmp_path / "cache", heard)
    assert heard.told == []
    assert [path.name for path in tmp_path.iterdir()] == ["micro"]


async def test_an_unknown_package_is_looked_for_in_fresh_lists_and_then_named(tmp_path: Path) -> None:
    heard = Heard()
    with pytest.raises(ChildFailed, match="Unable to locate package guesthouse-no-such"):
        await packages.fetch(["guesthouse-no-such"], lambda name: False, tmp_path / "cache", tmp_path, heard)
    assert [phase for phase, _ in heard.told] == ["resolving packages", "fetching package lists"]


async def test_packages_come_from_private_lists_where_the_host_has_none(tmp_path: Path) -> None:
    apt = packages.Apt(tmp_path / "apt", private_lists=True)
    await apt.update()
    (package,) = [package for package in await apt.resolve(["busybox-static"]) if package.name == "busybox-static"]
    heard = Heard()
    files = await packages.fetch(["busybox-static"], lambda name: False, tmp_path / "cache", tmp_path, heard)
    assert files["busybox-static"][0] == package
    assert ("downloading packages", 100) in heard.told


async def test_a_damaged_package_in_the_cache_is_fetched_again(tmp_path: Path) -> None:
    files = await packages.fetch(["busybox-static"], lambda name: False, tmp_path / "cache", tmp_path, Heard())
    _, path = files["busybox-static"]
    good = path.read_bytes()
    path.write_bytes(good[:-1] + b"x")
    await packages.fetch(["busybox-static"], lambda name: False, tmp_path / "cache", tmp_path, Heard())
    assert path.read_bytes() == good
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
