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
from guesthouse.cli.rows import Command, Values

_LAST_LINES = 5


def serve(context: Context, row: Command, values: Values) -> int:
    """Run the daemon of the house that the environment means, until it is told to stop."""
    options = {name: value for name, value in values.items() if name != "detach"}
    if values.get("detach"):
        return _detach(context)
    # By name: the composition root stands above this floor, and no other command should pay for it.
    app = importlib.import_module("guesthouse.app")
    app.serve(context.house, options)
    return 0


def _detach(context: Context) -> int:
    """Start the daemon in a session of its own, wait until it is ready, and leave it.

    It tells that it is ready as it tells a service manager (sd_notify(3)). One that does not start is shown with its
    own words, and its exit status is ours.
    """
    house = context.house
    house.home.mkdir(mode=0o711, parents=True, exist_ok=True)
    log = house.daemon_log
    # Appended to, so that the daemon can shorten it in place whoever else writes to it.
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
        if not _becomes_ready(daemon, ready):
            context.terminal.stderr.write(_last_words(log, begin))
            return daemon.wait()
    daemon.returncode = 0  # It lives on: nobody waits for it any more.
    told = {"home": str(house.home), "pid": daemon.pid}
    context.confirm(told, f"the house {house.home} is open; process {daemon.pid}")
    return 0


def _becomes_ready(daemon: subprocess.Popen[bytes], ready: socket.socket) -> bool:
    """Whether it says so before it ends."""
    ended = os.pidfd_open(daemon.pid)
    try:
        readable, _, _ = select.select([ready.fileno(), ended], [], [])
    finally:
        os.close(ended)
    return ready.fileno() in readable


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


def _last_words(log: Path, begin: int) -> str:
    """What the daemon wrote to its log since `begin`, or what is left of it where the daemon has shortened it."""
    written = log.read_bytes()
    said = written[begin if begin <= len(written) else 0 :].decode(errors="replace").splitlines()[-_LAST_LINES:]
    return "\n".join(said or [f"error: the daemon did not start, and {log} does not say why"]) + "\n"
