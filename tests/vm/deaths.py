"""Killing a real daemon before and after every step of a request, and what must be found after each death."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from tests.host.boxes import a_house
from tests.vm.houses import Daemon, a_daemon, a_furnished_house, furnish, left_in

from guesthouse.engine.kinds import BY_ITSELF
from guesthouse.host.images.built import BuiltImage
from guesthouse.model.house import House

Request = tuple[str, str, Any]
TEMPLATE: Request = ("POST", "/templates", {"image": "micro", "name": "warm", "memory_mib": 128})


@dataclass(frozen=True)
class Scene:
    """The requests before, and the one that is killed. `{m}` and `{d}` are a machine's and a disk's name.

    `needs` is a machine that has to be configured before it, `runs` one that has to be after it. `result` is the
    operation's in the end, where that matters.
    """

    before: tuple[Request, ...]
    ask: Request
    booted: bool = False
    after: tuple[Request, ...] = (("DELETE", "/machines/{m}", None),)
    result: Mapping[str, Any] | None = None
    needs: str = ""
    runs: str = ""


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
async def house_with_bystander(micro_image: BuiltImage, *, networks: bool = False) -> AsyncIterator[tuple[House, str]]:
    """A house in which a machine runs that nobody touches; its process id."""
    async with a_furnished_house(micro_image) as house:
        yield house, await begin(house, networks=networks)


@contextmanager
def warm_house(micro_image: BuiltImage) -> Iterator[tuple[House, str]]:
    """Such a house for many scenes, with a template: machines that have booted are there sooner as forks of it."""

    async def warm(house: House) -> str:
        await furnish(house, micro_image)
        return await begin(house, TEMPLATE)

    with a_house() as house:
        yield house, asyncio.run(warm(house))


async def begin(house: House, *requests: Request, networks: bool = False) -> str:
    """Start the bystander, which boots, and then do all that; the process id of the bystander."""
    async with a_daemon(house, networks=networks) as daemon:
        for operation in (await daemon.ask("GET", "/operations"))["items"]:
            await daemon.ended(operation["id"])
        await daemon.do("POST", "/machines", {"spec": {"name": "bystander", "memory_mib": 128}})
        for request in requests:
            await daemon.do(*request)
    (pid,) = left_in(house)["processes"]
    return pid


async def set_up(daemon: Daemon, scene: Scene, names: dict[str, str]) -> None:
    for request in scene.before:
        await daemon.do(*filled(request, names))
    if scene.booted:
        await daemon.reach(names["m"], "reachable")
    if scene.needs:
        await daemon.reach(scene.needs, "configured")


async def clean_up(daemon: Daemon, scene: Scene, names: dict[str, str]) -> None:
    for request in scene.after:
        await daemon.do(*filled(request, names))


async def checkpoints_of(daemon: Daemon, scene: Scene, names: dict[str, str]) -> list[tuple[str, ...]]:
    """One whole run; the checkpoints that the request passes, each once."""
    await set_up(daemon, scene, names)
    trace = daemon.house.home / "checkpoints"
    trace.unlink(missing_ok=True)
    await daemon.do(*filled(scene.ask, names))
    if scene.runs:
        await daemon.reach(scene.runs.format(**names), "configured")
    lines = trace.read_text().splitlines() if trace.exists() else []
    await clean_up(daemon, scene, names)
    # What the house begins by itself meanwhile has its own tests, and is not there at the same moment each time.
    passed = dict.fromkeys(tuple(line.split()) for line in lines)
    return [cell for cell in passed if cell[0] not in BY_ITSELF.values()]


async def killed_at_every_step(
    scene: Scene,
    house: House,
    bystander: str,
    names: Callable[[int], dict[str, str]],
    on_host: Callable[[], object] | None = None,
) -> list[tuple[str, ...]]:
    """Play the scene once for each checkpoint, and die there; the checkpoints that were tried.

    Who finishes one operation begins the next one, and dies of that. `on_host` tells what there is on a host that may
    have networks.
    """

    def left() -> tuple[object, object]:
        return left_in(house), on_host and on_host()

    networks = on_host is not None
    empty, operation = left(), ""
    async with a_daemon(house, networks=networks) as daemon:
        cells = await checkpoints_of(daemon, scene, names(0))
        assert left() == empty
        if cells:
            operation = await _die(daemon, scene, names(1), cells[0])
    for cell, fatal in enumerate(cells, start=1):
        async with a_daemon(house, networks=networks) as daemon:
            document = await daemon.ended(operation)
            assert document["state"] == "done", (fatal, document)
            if scene.runs:
                await daemon.reach(scene.runs.format(**names(cell)), "configured")
            assert scene.result is None or document["result"] == scene.result, (fatal, document)
            assert (await daemon.ask("GET", "/machines/bystander"))["state"] == "running", fatal
            await clean_up(daemon, scene, names(cell))
            assert left() == empty, fatal
            assert left_in(house)["processes"] == [bystander], fatal
            if cell < len(cells):
                operation = await _die(daemon, scene, names(cell + 1), cells[cell])
    return cells


async def _die(daemon: Daemon, scene: Scene, names: dict[str, str], fatal: tuple[str, ...]) -> str:
    """Ask for what the scene is about, and die at a checkpoint; the operation that is under way then."""
    await set_up(daemon, scene, names)
    daemon.die_at(fatal)
    operation = (await daemon.ask(*filled(scene.ask, names)))["id"]
    assert await daemon.died() == -signal.SIGKILL, fatal
    return str(operation)
