"""Networks of an ordinary user's daemon, with real machines: they reach one another, in and out, and live on."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.host.nets import ask, listener, serving
from tests.host.ordinary import ADDRESS, a_house_of_a_user, as_a_user, processes
from tests.patience import PATIENCE_S
from tests.ports import a_port
from tests.vm.houses import shelve

from guesthouse.host.images.built import BuiltImage
from guesthouse.host.machines.process import find
from guesthouse.model.house import House

pytestmark = pytest.mark.vm
_SSH = "SSH-2.0"
_ONE, _TWO = "10.1.0.11", "10.1.0.12"


class Daemon:
    """The daemon of a house in the background, as people start it, and the command."""

    def __init__(self, house: House) -> None:
        self.house = house

    async def guest(self, *words: str, code: int = 0) -> str:
        """What the command says; it must end with that code."""
        argv = (sys.executable, "-c", "from guesthouse.cli.main import main; main()", *words)
        environment = {**os.environ, "GUESTHOUSE_HOME": str(self.house.home), "PYTHONPATH": os.pathsep.join(sys.path)}
        process = await asyncio.create_subprocess_exec(
            *argv, env=environment, cwd="/", stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await process.communicate()
        assert process.returncode == code, said.decode() + self.house.daemon_log.read_text()[-4000:]
        return said.decode(errors="replace")

    async def inside(self, machine: str, line: str) -> str:
        return await self.guest("exec", machine, "--", "sh", "-c", line)

    async def end(self, number: signal.Signals) -> None:
        """End it and wait for that."""
        pid = int(self.house.lock.read_text())
        ended = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(ended, number)
            gone = asyncio.Event()
            asyncio.get_running_loop().add_reader(ended, gone.set)
            async with asyncio.timeout(PATIENCE_S):
                await gone.wait()
            asyncio.get_running_loop().remove_reader(ended)
        finally:
            os.close(ended)


@contextlib.asynccontextmanager
async def a_furnished_house(image: BuiltImage) -> AsyncIterator[Daemon]:
    async with a_house_of_a_user() as house:
        daemon = Daemon(house)
        await daemon.guest("serve", "--detach", "--no-networks")
        project = json.loads(await daemon.guest("project", "list", "--json"))["items"][0]["id"]
        await daemon.end(signal.SIGTERM)
        await shelve(house, image, project)
        yield daemon
        await daemon.guest("host", "clean", "--yes")
        assert processes(house) == []


@contextlib.contextmanager
def _copied(image: BuiltImage) -> Iterator[BuiltImage]:
    """The image where every user may read it."""
    folder = Path(tempfile.mkdtemp(prefix="guesthouse-image-"))
    try:
        folder.chmod(0o755)
        shutil.copytree(image.folder, folder / "micro")
        yield dataclasses.replace(image, folder=folder / "micro")
    finally:
        shutil.rmtree(folder)


def test_machines_of_a_users_networks_live_on_without_the_daemon(tmp_path: Path, micro_image: BuiltImage) -> None:
    with _copied(micro_image) as image:

        async def live() -> None:
            async with a_furnished_house(image) as daemon:
                await daemon.guest("serve", "--detach")
                try:
                    await _launch(daemon)
                    await _talk(daemon)
                    await _lead(daemon)
                    before = await _links(daemon)
                    await daemon.end(signal.SIGKILL)
                    running = processes(daemon.house)
                    await daemon.guest("serve", "--detach")
                    assert set(running) <= set(processes(daemon.house))
                    assert await _links(daemon) == before
                    await _talk(daemon)
                    await daemon.guest("delete", "one", "two", "--yes")
                finally:
                    await daemon.end(signal.SIGTERM)

        as_a_user(tmp_path, live)


async def _launch(daemon: Daemon) -> None:
    found = {row["name"]: row for row in json.loads(await daemon.guest("host", "check", "--json"))["items"]}
    assert "in a user namespace" in found["networks"]["found"]
    assert {found[name]["level"] for name in ("networks", "groups", "way out", "names")} == {"ok"}
    await daemon.guest("network", "create", "lab", "--mode", "private")
    await daemon.guest("subnet", "create", "lab", "10.1.0.0/24")
    launch = ("launch", "micro", "--memory", "128M")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(daemon.guest(*launch, "--name", "one", "--nic", f"network=lab,address={_ONE}"))
        two = ("--nic", "network=default", "--nic", f"network=lab,address={_TWO}")
        tasks.create_task(daemon.guest(*launch, "--name", "two", *two))


async def _talk(daemon: Daemon) -> None:
    """Each hears the other's SSH server, and one of them by its name."""
    for asker, asked in (("one", _TWO), ("two", _ONE), ("one", "two.lab.guest.internal")):
        said = await daemon.inside(asker, f"echo | nc -w 60 {asked} 22 | head -c 7")
        assert said == _SSH


async def _lead(daemon: Daemon) -> None:
    """Out to what the host reaches, and in by a forwarded port."""
    async with serving({"host": listener(None, here := a_port())}):
        assert (await daemon.inside("two", f"nc -w 60 {ADDRESS} {here} </dev/null")).startswith("host from")
    await daemon.guest("forward", "add", "two", f"{(there := a_port())}:22")
    assert (await ask(None, "127.0.0.1", there)).startswith(_SSH)
    assert " tunnel --stdio " in await daemon.guest("ssh-config")
    assert (await daemon.guest("tunnel", "--stdio", "one", "22")).startswith(_SSH)


async def _links(daemon: Daemon) -> str:
    """What there is in the ground and in each network, with its numbers."""
    holder = find(daemon.house.networks / "holder")
    assert holder is not None
    holder.forget()
    inside = ("nsenter", "--preserve-credentials", "-t", str(holder.pid), "--user", "--mount", "--net")
    line = "ip -o link; for name in $(ip netns list | cut -d' ' -f1); do ip -n $name -o link; done"
    process = await asyncio.create_subprocess_exec(*inside, "sh", "-c", line, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    assert process.returncode == 0
    assert b"tap" in said
    return said.decode()
