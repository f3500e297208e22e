"""`guest serve`: the one command that is no client; it runs the daemon, in this process or in one of its own."""

from __future__ import annotations

import contextlib
import importlib
import os
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from guesthouse.cli.context import Context
from guesthouse.cli.perform import Values
from guesthouse.cli.rows import Command
from guesthouse.model.errors import Failed
from guesthouse.model.house import House

_LAST_LINES = 5


def serve(context: Context, row: Command, values: Values) -> int:
    """Run the daemon of the house that the environment means, until it is told to stop."""
    options = {name: value for name, value in values.items() if name != "detach"}
    if values.get("detach"):
        print(f"the house {context.house.home} is open; process {_detached(context.house)}")
        return 0
    # By name: the composition root stands above this floor, and no other command should pay for it.
    app = importlib.import_module("guesthouse.app")
    app.serve(context.house, options)
    return 0


def _detached(house: House) -> int:
    """Start the daemon in a session of its own, wait until it is ready, and leave it; its process id.

    It tells that it is ready as it tells a service manager (sd_notify(3)). Raises `Failed` with its last words.
    """
    house.home.mkdir(mode=0o711, parents=True, exist_ok=True)
    log = house.home / "daemon.log"
    with _ready_socket() as (address, ready), log.open("ab") as output:
        begin = output.tell()
        daemon = subprocess.Popen(
            [sys.executable, "-c", "from guesthouse.cli.main import main; main()", *_without_detach(sys.argv[1:])],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd="/",
            env={**os.environ, "NOTIFY_SOCKET": address},
        )
        ended = os.pidfd_open(daemon.pid)
        try:
            readable, _, _ = select.select([ready.fileno(), ended], [], [])
        finally:
            os.close(ended)
        if ready.fileno() not in readable:
            raise _did_not_start(house, log, begin, daemon.wait())
    daemon.returncode = 0  # It lives on: nobody waits for it any more.
    return daemon.pid


def _without_detach(words: list[str]) -> list[str]:
    return [word for word in words if word != "--detach"]


@contextlib.contextmanager
def _ready_socket() -> Iterator[tuple[str, socket.socket]]:
    with (
        tempfile.TemporaryDirectory(prefix="guesthouse-") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as ready,
    ):
        address = f"{folder}/ready"
        ready.bind(address)
        yield address, ready


def _did_not_start(house: House, log: Path, begin: int, status: int) -> Failed:
    """What the daemon wrote to its log since `begin`, as an error; its own exit status tells which kind."""
    lines = log.read_bytes()[begin:].decode(errors="replace").splitlines()[-_LAST_LINES:]
    said = "".join(f"\n  {line}" for line in lines)
    return Failed(
        f"the daemon of {house.home} did not start (exit status {status}){':' if said else ''}{said}",
        subject=str(house.home),
        hint=f"all that it says is in {log}",
    )
