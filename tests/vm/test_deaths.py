"""Real daemons are killed (SIGKILL) before and after every step of every kind of operation, with real machines.

After each death the next daemon finishes the operation or has undone it. Nothing is left over: no process, file or
row; and a bystander machine has not noticed.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.vm.houses import Daemon, a_daemon, a_furnished_house, left_in

from guesthouse.engine.kinds import KINDS
from guesthouse.host.images.built import BuiltImage
from guesthouse.host.processes import run
from guesthouse.model.house import House

pytestmark = pytest.mark.vm

Request = tuple[str, str, Any]


@dataclass(frozen=True)
class Scene:
    """The requests before, and the one that is killed. `{m}` and `{d}` are a machine's and a disk's name."""

    before: tuple[Request, ...]
    ask: Request
    booted: bool = False
    after: tuple[Request, ...] = (("DELETE", "/machines/{m}", None),)


LAUNCH: Request = (
    "POST",
    "/machines",
    {"spec": {"name": "{m}", "memory_mib": 128, "disks": [{"name": "own", "size_mib": 16}]}},
)
STOPPED: Request = ("POST", "/machines/{m}/stop", {"force": True})
DISK: Request = ("POST", "/disks", {"name": "{d}", "size_mib": 16})
ATTACH: Request = ("POST", "/disks/{d}/attach", {"machine": "{m}"})
NO_DISK: Request = ("DELETE", "/disks/{d}", None)
NO_IMAGE: Request = ("DELETE", "/images/{i}", None)
IMPORT: Request = ("POST", "/images/import", {"source": "{file}", "name": "{i}"})
SCENES: dict[str, Scene] = {
    "machine.launch": Scene((), LAUNCH),
    "machine.start": Scene((LAUNCH, STOPPED), ("POST", "/machines/{m}/start", {})),
    "machine.stop": Scene((LAUNCH,), ("POST", "/machines/{m}/stop", {"timeout_s": 30}), booted=True),
    "machine.restart": Scene((LAUNCH,), ("POST", "/machines/{m}/restart", {"force": True})),
    "machine.pause": Scene((LAUNCH,), ("POST", "/machines/{m}/pause", {})),
    "machine.resume": Scene((LAUNCH, ("POST", "/machines/{m}/pause", {})), ("POST", "/machines/{m}/resume", {})),
    "machine.rename": Scene(
        (LAUNCH,),
        ("POST", "/machines/{m}/rename", {"name": "{m}-new"}),
        after=(("DELETE", "/machines/{m}-new", None),),
    ),
    "machine.change": Scene((LAUNCH,), ("PATCH", "/machines/{m}", {"memory_mib": 96}), booted=True),
    "machine.delete": Scene((LAUNCH,), ("DELETE", "/machines/{m}", None), after=()),
    "disk.attach": Scene((LAUNCH, DISK), ATTACH),
    "disk.detach": Scene(
        (LAUNCH, DISK, ATTACH),
        ("POST", "/disks/{d}/detach", {}),
        booted=True,
        after=(("DELETE", "/machines/{m}", None), NO_DISK),
    ),
    "disk.create": Scene((), DISK, after=(NO_DISK,)),
    "disk.resize": Scene((DISK,), ("POST", "/disks/{d}/resize", {"size_mib": 32}), after=(NO_DISK,)),
    "disk.convert": Scene((DISK,), ("POST", "/disks/{d}/convert", {"format": "raw"}), after=(NO_DISK,)),
    "disk.delete": Scene((DISK,), NO_DISK, after=()),
    "image.import": Scene((), IMPORT, after=(NO_IMAGE,)),
    "image.export": Scene((IMPORT,), ("POST", "/images/{i}/export", {"path": "{out}"}), after=(NO_IMAGE,)),
    "image.delete": Scene((IMPORT,), NO_IMAGE, after=()),
}
# Those need a mirror or a server of their own: tests/vm/test_image_deaths.py.
ELSEWHERE = {"image.build", "image.pull"}


def test_every_kind_has_its_scene() -> None:
    assert set(SCENES) | ELSEWHERE == set(KINDS)


def filled(request: Request, names: dict[str, str]) -> Request:
    """A request with the names of this cell written in."""

    def fill(value: Any) -> Any:
        if isinstance(value, str):
            return value.format(**names)
        if isinstance(value, dict):
            return {key: fill(inner) for key, inner in value.items()}
        return [fill(inner) for inner in value] if isinstance(value, list) else value

    return fill(request[0]), fill(request[1]), fill(request[2])


@asynccontextmanager
async def house_with_bystander(micro_image: BuiltImage, scratch: Path) -> AsyncIterator[tuple[House, str]]:
    """A house in which a machine runs that nobody touches; its process id."""
    await run(["qemu-img", "create", "-q", "-f", "qcow2", str(scratch / "small.qcow2"), "4M"])
    async with a_furnished_house(micro_image) as house:
        async with a_daemon(house) as daemon:
            await daemon.do("POST", "/machines", {"spec": {"name": "bystander", "memory_mib": 128}})
        (pid,) = left_in(house)["processes"]
        yield house, pid


async def set_up(daemon: Daemon, scene: Scene, names: dict[str, str]) -> None:
    for request in scene.before:
        await daemon.do(*filled(request, names))
    if scene.booted:
        await daemon.reach(names["m"], "reachable")


async def clean_up(daemon: Daemon, scene: Scene, names: dict[str, str]) -> None:
    for request in scene.after:
        await daemon.do(*filled(request, names))


async def checkpoints_of(daemon: Daemon, scene: Scene, names: dict[str, str]) -> list[tuple[str, ...]]:
    """One whole run; the checkpoints that the request passes, each once."""
    await set_up(daemon, scene, names)
    trace = daemon.house.home / "checkpoints"
    trace.unlink(missing_ok=True)
    await daemon.do(*filled(scene.ask, names))
    lines = trace.read_text().splitlines() if trace.exists() else []
    await clean_up(daemon, scene, names)
    return list(dict.fromkeys(tuple(line.split()) for line in lines))


@pytest.mark.parametrize("kind", sorted(SCENES))
async def test_killed_at_every_step(kind: str, micro_image: BuiltImage, tmp_path: Path) -> None:
    scene = SCENES[kind]

    def names(cell: int) -> dict[str, str]:
        out = tmp_path / f"out{cell}.qcow2"
        return {
            "m": f"m{cell}",
            "d": f"d{cell}",
            "i": f"i{cell}",
            "file": str(tmp_path / "small.qcow2"),
            "out": str(out),
        }

    async with house_with_bystander(micro_image, tmp_path) as (house, bystander):
        empty = left_in(house)
        async with a_daemon(house) as daemon:
            cells = await checkpoints_of(daemon, scene, names(0))
        assert cells or kind == "machine.rename", "no checkpoint passed: nothing would be tested"
        assert left_in(house) == empty
        for cell, fatal in enumerate(cells, start=1):
            async with a_daemon(house) as daemon:
                await set_up(daemon, scene, names(cell))
                daemon.die_at(fatal)
                operation = (await daemon.ask(*filled(scene.ask, names(cell))))["id"]
                assert await daemon.died() == -signal.SIGKILL, fatal
            async with a_daemon(house) as daemon:
                document = await daemon.ended(operation)
                assert document["state"] == "done", (fatal, document)
                assert (await daemon.ask("GET", "/machines/bystander"))["state"] == "running", fatal
                await clean_up(daemon, scene, names(cell))
            assert left_in(house) == empty, fatal
            assert left_in(house)["processes"] == [bystander], fatal
