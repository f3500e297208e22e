"""Images that get their gate, with a guest that needs no minute to boot: what it says is all that the host goes by.

A real system gets it in `bench/prepare.py`, and forks of it are configured there.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.vm.deaths import Scene, house_with_bystander, killed_at_every_step
from tests.vm.houses import Daemon, a_daemon, a_furnished_house, guest, left_in, shelve

from guesthouse.engine.kinds import KINDS
from guesthouse.host.images import preparing
from guesthouse.host.images.built import BuiltImage
from guesthouse.host.processes import run
from guesthouse.model.house import House

pytestmark = pytest.mark.vm

_PORT = "/dev/vport0p2"
_FIRST = "mount -t devtmpfs dev /dev; modprobe -a virtio_pci virtio_blk virtio_console"
_LAST = "sync; poweroff -f"
_MARK = "prepared here"


def says(report: str) -> str:
    """The program of a guest that leaves a mark on its disk, reports and powers off; no double quotes are in it."""
    told = report.replace('"', r"\042")
    return (
        f"{_FIRST}; until [ -e {_PORT} ] && [ -e /dev/vda ]; do :; done;"
        f" printf '{_MARK}' | dd of=/dev/vda conv=sync,fsync; printf '{told}\\n' >{_PORT}; {_LAST}"
    )


PREPARED = says('{"stage": "prepared"}')


async def shelve_guest(house: House, micro: BuiltImage, program: str) -> None:
    """Put an image on the shelf whose guest is that program, and call it `plain`."""
    folder = shutil.copytree(micro.folder, house.home / "plain")
    await run(["qemu-img", "create", "-q", "-f", "qcow2", str(folder / "disk.qcow2"), "4M"])
    cmdline = f'{micro.cmdline} rdinit=/usr/bin/busybox -- sh -c "{program}"'
    async with a_daemon(house) as daemon:
        project = (await daemon.ask("GET", "/projects"))["items"][0]["id"]
    built = replace(micro, folder=folder, disk="disk.qcow2", cmdline=cmdline)
    await shelve(house, built, project, name="plain", family="", virtual_mib=4, format="qcow2")
    shutil.rmtree(folder)


@asynccontextmanager
async def a_house_with(micro_image: BuiltImage, program: str) -> AsyncIterator[tuple[House, Daemon]]:
    async with a_furnished_house(micro_image) as house:
        await shelve_guest(house, micro_image, program)
        async with a_daemon(house) as daemon:
            yield house, daemon


async def test_as_users_ask_for_it(micro_image: BuiltImage) -> None:
    async with a_house_with(micro_image, PREPARED) as (house, daemon):
        before = left_in(house)
        plain = (house.images / (await daemon.ask("GET", "/images/plain"))["id"] / "disk.qcow2").read_bytes()
        assert "made image plain-prepared" in await guest(house, "image", "prepare", "plain")
        image = await daemon.ask("GET", "/images/plain-prepared")
        assert (image["source"], image["os"], image["virtual_mib"]) == ("prepare:plain", "micro", 4)
        assert image["kernel"]
        raw = house.home / "disk.raw"
        await run(["qemu-img", "convert", "-O", "raw", str(house.images / image["id"] / image["disk"]), str(raw)])
        assert raw.read_bytes().startswith(_MARK.encode())
        assert (house.images / (await daemon.ask("GET", "/images/plain"))["id"] / "disk.qcow2").read_bytes() == plain
        left = left_in(house)
        assert left.pop("images") == sorted([*before.pop("images"), image["id"]])
        assert left == before
        await guest(house, "image", "delete", "plain", "--yes")


async def test_killed_at_every_step(micro_image: BuiltImage) -> None:
    async with house_with_bystander(micro_image) as (house, bystander):
        await shelve_guest(house, micro_image, PREPARED)
        ask = ("POST", "/images/plain/prepare", {"name": "{i}"})
        scene = Scene((), ask, after=(("DELETE", "/images/{i}", None),))
        tried = await killed_at_every_step(scene, house, bystander, lambda cell: {"i": f"i{cell}"})
    assert {step for _, step, _ in tried} == set(KINDS["image.prepare"].steps)


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (says('{"stage": "unprepared", "log": "it has no perl"}'), "image plain cannot have a gate: it has no perl"),
        (says('{"stage": "configured", "ok": true}'), "without running our program"),
        (f"{_FIRST}; echo out of order >/dev/ttyS0; {_LAST}", "out of order"),
    ],
)
async def test_what_cannot_be_prepared_says_why_and_leaves_nothing(
    micro_image: BuiltImage, program: str, words: str
) -> None:
    async with a_house_with(micro_image, program) as (house, daemon):
        before = left_in(house)
        operation = await daemon.ended((await daemon.ask("POST", "/images/plain/prepare", {}))["id"])
        assert operation["state"] == "failed"
        assert words in operation["error"]["message"]
        assert "Debian and Ubuntu" in operation["error"]["hint"]
        assert left_in(house) == before


async def test_an_image_stays_while_another_is_made_of_it(micro_image: BuiltImage) -> None:
    async with a_house_with(micro_image, f"{_FIRST}; cat") as (house, daemon):
        before = left_in(house)
        operation = (await daemon.ask("POST", "/images/plain/prepare", {}))["id"]
        refused = await daemon.ask("DELETE", "/images/plain", status=409)
        assert "image plain-prepared is being made of it" in refused["error"]["message"]
        await daemon.ask("POST", f"/operations/{operation}/cancel")
        assert (await daemon.ended(operation))["state"] == "cancelled"
        assert left_in(house) == before
        await daemon.do("DELETE", "/images/plain")


def test_the_seed_has_what_the_guest_asks_for(tmp_path: Path) -> None:
    seed = preparing.seed("0")
    for part in (b"#cloud-boothook\n#!/bin/sh\n", b'"dsmode": "local"', b"usr/lib/guesthouse/gate.py"):
        assert part in seed
