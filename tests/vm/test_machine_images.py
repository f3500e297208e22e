"""Images of machines through a real daemon: as users ask for them, and when there is no room."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.vm.houses import Daemon, a_daemon, a_furnished_house, guest, left_in
from tests.vm.test_accidents import a_small_file_system

from guesthouse.host.images.built import BuiltImage
from guesthouse.host.processes import run
from guesthouse.model.house import House

pytestmark = pytest.mark.vm

_IN = ("--", "sh", "-c")
_LAUNCH = ("-m", "128M", "--disk", "name=root,size=48M")


@pytest.fixture
async def rooted(micro_image: BuiltImage, tmp_path: Path) -> BuiltImage:
    """The micro image with an empty disk beside its kernel."""
    folder = tmp_path / "rooted"
    shutil.copytree(micro_image.folder, folder)
    await run(["qemu-img", "create", "-q", "-f", "qcow2", str(folder / "disk.qcow2"), "32M"])
    return replace(micro_image, folder=folder, disk="disk.qcow2")


@asynccontextmanager
async def open_house(rooted: BuiltImage) -> AsyncIterator[tuple[House, Daemon]]:
    """A house with a machine `web` on the image with a disk."""
    async with a_furnished_house(rooted) as house, a_daemon(house) as daemon:
        await guest(house, "launch", "micro", "-n", "web", *_LAUNCH, "--disk", "name=data,size=16M,format=raw")
        yield house, daemon


async def write(house: House, machine: str, words: str) -> None:
    await guest(house, "exec", machine, *_IN, f"echo {words} | dd of=/dev/vda conv=sync,fsync 2>/dev/null")


async def root_of(house: House, image: str) -> str:
    """What a machine launched from an image has on its root disk."""
    await guest(house, "launch", image, "-n", "child", *_LAUNCH)
    said = await guest(house, "exec", "child", *_IN, "head -c 16 /dev/vda | tr -d '\\0'; hostname; ls /dev/vd?")
    await guest(house, "delete", "child", "--yes")
    words, name, *disks = said.split()
    assert (name, disks) == ("child", ["/dev/vda", "/dev/vdb"]), "its root disk and its seed"
    return words


async def test_as_users_ask_for_them(rooted: BuiltImage) -> None:
    async with open_house(rooted) as (house, daemon):
        before = left_in(house)
        await write(house, "web", "now")
        await guest(house, "snapshot", "create", "web", "one")
        await write(house, "web", "later")
        pid = (await daemon.ask("GET", "/machines/web"))["status"]["pid"]
        assert "made image running" in await guest(house, "image", "create", "running", "--from", "web")
        (data,) = [disk for disk in (await daemon.ask("GET", "/disks"))["items"] if disk["name"] == "web-data"]
        assert len(list(house.disks.glob(f"{data['id']}.*"))) == 2, "as the snapshot of before has left it"
        assert "made image still" in await guest(house, "image", "create", "still", "--from", "web", "--pause")
        assert "made image shot" in await guest(house, "image", "create", "shot", "--from", "web@one")
        machine = await daemon.ask("GET", "/machines/web")
        assert (machine["state"], machine["status"]["pid"]) == ("running", pid)
        await write(house, "web", "last")
        await guest(house, "stop", "web")
        assert "made image stopped" in await guest(house, "image", "create", "stopped", "--from", "web")
        images = {image["name"]: image for image in (await daemon.ask("GET", "/images"))["items"]}
        for name, words in (("running", "later"), ("still", "later"), ("shot", "now"), ("stopped", "last")):
            image = images[name]
            assert (image["virtual_mib"], image["os"], image["public"]) == (48, "micro", False), name
            disk = house.images / image["id"] / image["disk"]
            assert (await run(["sha256sum", str(disk)])).split()[0].decode() == image["digest"]
            assert b"backing file" not in await run(["qemu-img", "info", str(disk)])
            assert await root_of(house, name) == words, name
        await guest(house, "delete", "web", "--yes")
        await guest(house, "image", "delete", "shot", "--yes")
        left = left_in(house)
        assert (left["machines"], left["disks"], left["snapshots"], left["processes"]) == ([], [], [], [])
        assert len(left["images"]) == len(before["images"]) + 3


async def test_without_room_nothing_is_made_and_the_machine_runs_on(rooted: BuiltImage) -> None:
    async with open_house(rooted) as (house, daemon):
        await guest(house, "exec", "web", *_IN, "dd if=/dev/urandom of=/dev/vda bs=1M count=40 conv=fsync")
        kept = house.home / "kept"
        shutil.copytree(house.images, kept)
        async with a_small_file_system(house.images, 48):
            shutil.copytree(kept, house.images, dirs_exist_ok=True)
            before = sorted(house.images.iterdir())
            asked = await daemon.ask("POST", "/images/create", {"machine": "web", "name": "big", "pause": True})
            operation = await daemon.ended(asked["id"])
            assert operation["state"] == "failed"
            assert operation["error"]["code"] == "no-capacity", operation["error"]
            assert sorted(house.images.iterdir()) == before
            assert (await daemon.ask("GET", "/machines/web"))["state"] == "running"


async def test_a_machine_without_a_root_disk_is_refused(micro_image: BuiltImage, tmp_path: Path) -> None:
    async with a_furnished_house(micro_image) as house, a_daemon(house) as daemon:
        spec = {"name": "web", "memory_mib": 128, "disks": [{"name": "data", "size_mib": 16}]}
        await daemon.do("POST", "/machines", {"spec": spec})
        refused = await daemon.ask("POST", "/images/create", {"machine": "web", "name": "golden"}, status=409)
        assert "no root disk" in refused["error"]["message"]
