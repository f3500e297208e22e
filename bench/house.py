"""A house with a daemon as they ship, for one bench: `guest serve` in a process, asked over its socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.host.boxes import a_house
from tests.vm.houses import shelve

from guesthouse.cli.door import Door, Place
from guesthouse.host.images.micro import build_micro
from guesthouse.model.house import House

Say = Callable[[str], None]
GUEST = Path(sys.executable).with_name("guest")
_READY_TIMEOUT_S = 120
_ENDED = ("done", "failed", "cancelled")


@dataclass(frozen=True)
class Daemon:
    """A running daemon. A connection to its door lasts for one command, as `guest` has it."""

    house: House
    process: subprocess.Popen[bytes]

    def ask(self, method: str, path: str, body: Any = None, **query: object) -> Any:
        """One request and its answer; raises the error that the door tells."""
        with self._door() as door:
            return door.ask(method, path, query, body)

    def do(self, method: str, path: str, body: Any = None) -> Any:
        """Ask for durable work and follow it to its end, as `guest` does."""
        with self._door() as door:
            return _ended(door, door.ask(method, path, {"wait_s": 0.5}, body))

    def ended(self, operation: str) -> Any:
        """Follow an operation that somebody else has begun to its end."""
        with self._door() as door:
            return _ended(door, door.ask("GET", f"/operations/{operation}"))

    def _door(self) -> contextlib.closing[Door]:
        return contextlib.closing(Door(Place(self.house), ""))

    def launch(self, name: str, *, start: bool = True, **spec: Any) -> Any:
        """Make a machine from the micro image; returns its document."""
        described = {"name": name, "image": "micro", "memory_mib": 128, **spec}
        self.do("POST", "/machines", {"spec": described, "start": start})
        return self.machine(name)

    def machine(self, name: str) -> Any:
        return self.ask("GET", f"/machines/{name}")

    def kill(self) -> None:
        """End it as a power cut would, machines excepted."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def _ended(door: Door, operation: Any) -> Any:
    while operation["state"] not in _ENDED:
        asked = {"wait_s": 60, **({"after": stamp} if (stamp := operation.get("stamp")) else {})}
        operation = door.ask("GET", f"/operations/{operation['id']}", asked)
    if operation["state"] != "done":
        raise RuntimeError(f"{operation['kind']} of {operation['subject_name']}: {operation['error']}")
    return operation


@contextmanager
def a_furnished_house(say: Say) -> Iterator[House]:
    """A house with the micro image on its shelf; its machines end with the block."""
    with a_house() as house:
        with a_daemon(house) as daemon:
            project = daemon.ask("GET", "/projects")["items"][0]["id"]
        say("building the micro image")
        with tempfile.TemporaryDirectory(prefix="guesthouse-bench-") as scratch:
            built = asyncio.run(build_micro(Path(scratch) / "micro", packages(), lambda phase, percent=None: None))
            asyncio.run(shelve(house, built, project))
        yield house


def packages() -> Path:
    """Where downloaded packages stay from one run to the next."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "guesthouse-bench"
    cache.mkdir(parents=True, exist_ok=True)
    return cache


@contextmanager
def a_daemon(house: House, *more: str) -> Iterator[Daemon]:
    """The daemon of a house, ready; it ends with the block, its machines do not. `more` are words of its command."""
    with a_ready_socket() as (address, ready), (house.home / "daemon.log").open("ab") as log:
        process = subprocess.Popen(
            (str(GUEST), "serve", *(more or ("--no-networks",))),
            env=environment(house) | {"NOTIFY_SOCKET": address},
            stdout=log,
            stderr=log,
        )
        try:
            until_ready(process, ready, house.home / "daemon.log")
            yield Daemon(house, process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            process.wait()


def environment(house: House) -> dict[str, str]:
    """The environment in which `guest` means this house, and keeps its bytecode, as it does where it is installed."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"GUESTHOUSE_HOME": str(house.home)}


@contextmanager
def a_ready_socket() -> Iterator[tuple[str, socket.socket]]:
    """Where a service tells that it is ready, as it would tell systemd: sd_notify(3)."""
    folder = tempfile.mkdtemp(prefix="guesthouse-ready-")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(f"{folder}/notify")
            yield f"{folder}/notify", ready
    finally:
        shutil.rmtree(folder)


def until_ready(process: subprocess.Popen[bytes], ready: socket.socket, log: Path) -> None:
    """Wait until a service says that it is ready; raises `RuntimeError` with its last words when it ends instead."""
    watched = os.pidfd_open(process.pid)
    try:
        while True:
            readable, _, _ = select.select([ready.fileno(), watched], [], [], _READY_TIMEOUT_S)
            if ready.fileno() in readable and b"READY=1" in ready.recv(4096):
                return
            if not readable or watched in readable:
                raise RuntimeError(f"{process.args!r} is not ready: {log.read_text()[-2000:]}")
    finally:
        os.close(watched)
