"""A real house with a real daemon in a process of its own, and the words to ask it with over its socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from tests.host.boxes import a_house, qemus
from tests.patience import PATIENCE_S
from tests.vm.nursery import ROOT, Born, born

from guesthouse.host import identity
from guesthouse.host.images.built import BuiltImage
from guesthouse.model.hosts import FIRST_HOST
from guesthouse.model.house import House
from guesthouse.model.names import make_id
from guesthouse.model.resources import Image, ImageState
from guesthouse.store import open_store


class Daemon:
    """A running daemon of a house, and a client on its socket."""

    def __init__(self, house: House, process: Born, client: httpx.AsyncClient) -> None:
        self.house, self.process, self.client = house, process, client

    async def ask(self, method: str, path: str, body: Any = None, *, status: int = 0) -> Any:
        """Send one request; any answer of 400 and more, or one that is not `status`, is a failed test."""
        response = await self.client.request(method, path, json=body)
        assert response.status_code == status if status else response.status_code < 400, response.text
        return response.json() if response.content else None

    async def ended(self, operation: str) -> Any:
        """The operation when it has ended."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                document = await self.ask("GET", f"/operations/{operation}?wait_s=10")
                if document["state"] in ("done", "failed", "cancelled"):
                    return document
                stamp = document.get("stamp", "")
                document = await self.ask("GET", f"/operations/{operation}?wait_s=10&after={stamp}")

    async def do(self, method: str, path: str, body: Any = None) -> Any:
        """Ask for durable work and insist that it is done."""
        operation = await self.ended((await self.ask(method, path, body))["id"])
        assert operation["state"] == "done", operation
        return operation

    async def reach(self, machine: str, stage: str) -> Any:
        """Wait until a machine is `running`, `reachable` or `configured`."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                document = await self.ask("GET", f"/machines/{machine}/wait?until={stage}&wait_s=20")
                if _reached(document, stage):
                    return document

    async def died(self) -> int:
        """Wait for the daemon's end; its status."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.process.wait()

    def die_at(self, fatal: tuple[str, ...]) -> None:
        """Let it die the next time that it passes this checkpoint (kind, step, edge)."""
        (self.house.home / "fatal").write_text(" ".join(fatal) + "\n")

    def die_after(self, checkpoints: int) -> None:
        """Let it die when it has passed so many checkpoints more; never, at zero."""
        fatal = self.house.home / "fatal"
        if checkpoints:
            fatal.write_text(str(checkpoints))
        else:
            fatal.unlink(missing_ok=True)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)


_ORDER = ["", "running", "reachable", "configured"]


def _reached(document: Any, stage: str) -> bool:
    machine = document.get("machine", document)
    return _ORDER.index(machine["stage"]) >= _ORDER.index(stage)


@asynccontextmanager
async def a_daemon(house: House, *, networks: bool = False) -> AsyncIterator[Daemon]:
    """A daemon of this house, ready; it ends with the block, if not before. With `networks` it makes such on its host.

    That is then one of the test's own.
    """
    with _ready_socket() as (address, ready), (house.home / "daemon.log").open("ab") as log:
        words = (str(house.home), *(("networks",) if networks else ()))
        process = await born(*words, env={**os.environ, "NOTIFY_SOCKET": address}, log=log.fileno())
        try:
            await _until_ready(process, ready, house)
            # Each request has its own connection: the daemon may close one that is idle just when it is used again.
            limits = httpx.Limits(max_keepalive_connections=0)
            transport = httpx.AsyncHTTPTransport(uds=str(house.socket), limits=limits)
            async with httpx.AsyncClient(transport=transport, base_url="http://house/v1", timeout=PATIENCE_S) as client:
                yield Daemon(house, process, client)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            await process.wait()


@contextlib.contextmanager
def _ready_socket() -> Any:
    """Where the daemon tells that it is ready, as it would tell systemd."""
    folder = tempfile.mkdtemp(prefix="guesthouse-ready-")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
        ready.setblocking(False)
        ready.bind(f"{folder}/notify")
        try:
            yield f"{folder}/notify", ready
        finally:
            shutil.rmtree(folder)


async def _until_ready(process: Born, ready: socket.socket, house: House) -> None:
    told = asyncio.ensure_future(asyncio.get_running_loop().sock_recv(ready, 64))
    ended = asyncio.ensure_future(process.wait())
    await asyncio.wait((told, ended), return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE_S)
    ended.cancel()
    told_ready = told.done() and told.result() == b"READY=1"
    told.cancel()
    assert told_ready, (house.home / "daemon.log").read_text()[-2000:]


@asynccontextmanager
async def a_furnished_house(built: BuiltImage) -> AsyncIterator[House]:
    """A house with the micro image on its shelf; its machines end with the block."""
    with a_house() as house:
        await furnish(house, built)
        yield house


async def furnish(house: House, built: BuiltImage) -> None:
    """Have a first daemon open the house, and then put a built image on its shelf."""
    async with a_daemon(house) as daemon:
        project = (await daemon.ask("GET", "/projects"))["items"][0]["id"]
    await shelve(house, built, project)


async def shelve(house: House, built: BuiltImage, project: str, **values: Any) -> Image:
    """Put a built image on the shelf of a house that has no daemon now."""
    from random import SystemRandom

    image = Image(
        **{
            "id": make_id(SystemRandom()),
            "project": project,
            "name": built.os,
            "family": built.os,
            "state": ImageState.READY,
            "public": True,
            "host": FIRST_HOST,
            "os": built.os,
            "disk": built.disk or "",
            "kernel": built.kernel or "",
            "initrd": built.initrd or "",
            "cmdline": built.cmdline,
            "user": "root",
            **values,
        }
    )
    folder = house.images / image.id
    shutil.copytree(built.folder, folder)
    identity.share_image(folder, public=True, project_number=0)
    async with open_store(f"sqlite:///{house.database}") as store, store.write() as tx:
        await tx.images.insert(image)
    return image


def left_in(house: House) -> dict[str, list[str]]:
    """What lies in a house, and what runs in it, by kind."""
    return {
        "machines": sorted(entry.name for entry in house.machines.iterdir()),
        "disks": sorted(entry.name for entry in house.disks.iterdir()),
        "images": sorted(entry.name for entry in house.images.iterdir()),
        "templates": sorted(entry.name for entry in house.templates.iterdir()),
        "snapshots": sorted(entry.name for entry in house.snapshots.iterdir()),
        "processes": [str(pid) for pid in sorted(qemus(house))],
    }


async def guest(house: House, *words: str, code: int = 0) -> str:
    """What the command says, on either stream; it must end with that code."""
    process = await asyncio.create_subprocess_exec(
        "guest", *words, env={**os.environ, "GUESTHOUSE_HOME": str(house.home)}, cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode == code, said.decode()
    return said.decode()
