"""A real PostgreSQL server for the tests: Debian's binaries, a folder of its own, a unix socket.

Rules
-----
1. The server runs as an unprivileged user (it refuses root) and listens on a socket in its folder only.
2. Its start is awaited by its own word: it tells a socket of ours when it is ready, as it would tell systemd
   (sd_notify(3)); when it ends before that, its log is in the error.
3. It is ended by its pid, and its folder removed, whatever happened. A crash of it loses data: fsync is off.
4. Every test has a database of its own.
"""

from __future__ import annotations

import os
import pwd
import select
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TypedDict

import asyncpg
import pytest
from tests.patience import PATIENCE_S

_SETTINGS = {"listen_addresses": "", "fsync": "off", "max_connections": "100", "shared_buffers": "16MB"}
_INITDB = ("--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
_numbers = count(1)


class Identity(TypedDict, total=False):
    """As whom a program runs; empty is as we do."""

    user: int
    group: int
    extra_groups: list[str | int]


@dataclass(frozen=True)
class Server:
    """A running server: where its socket lies, and its process."""

    folder: Path
    pid: int

    def url(self, database: str) -> str:
        """How the store names a database of it."""
        return f"postgresql://postgres@/{database}?host={self.folder}"

    async def connect(self, database: str = "postgres") -> asyncpg.Connection:
        """A connection beside the store's."""
        return await asyncpg.connect(user="postgres", host=str(self.folder), database=database)

    async def end_connections(self, database: str) -> None:
        """End all connections to a database, as a restart of the server would; they are gone when this returns."""
        connection = await self.connect()
        try:
            await connection.execute(
                "SELECT pg_terminate_backend(pid, $2) FROM pg_stat_activity WHERE datname = $1",
                database,
                int(PATIENCE_S * 1000),
            )
        finally:
            await connection.close()

    @asynccontextmanager
    async def database(self) -> AsyncIterator[str]:
        """A new, empty database for as long as the block runs: its name."""
        name = f"house{next(_numbers)}"
        connection = await self.connect()
        try:
            await connection.execute(f"CREATE DATABASE {name}")
            yield name
            await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        finally:
            await connection.close()


@contextmanager
def serve() -> Iterator[Server]:
    """Run a server while the block runs."""
    user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    identity: Identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
    folder = Path(tempfile.mkdtemp(prefix="guesthouse-postgres-"))
    try:
        if user:
            os.chown(folder, user.pw_uid, user.pw_gid)
        binaries = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
        subprocess.run(
            [str(binaries / "initdb"), *_INITDB, "-D", str(folder / "data")],
            cwd=folder,
            check=True,
            capture_output=True,
            **identity,
        )
        with _running(binaries / "postgres", folder, identity) as process:
            yield Server(folder, process.pid)
    finally:
        shutil.rmtree(folder)


@contextmanager
def _running(program: Path, folder: Path, identity: Identity) -> Iterator[subprocess.Popen[bytes]]:
    argv = [str(program), "-D", str(folder / "data"), "-k", str(folder)]
    argv += [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
    log = folder / "log"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as ready, log.open("wb") as output:
        ready.bind(str(folder / "ready"))
        (folder / "ready").chmod(0o666)
        environment = {"NOTIFY_SOCKET": str(folder / "ready"), "LC_ALL": "C.UTF-8"}
        process = subprocess.Popen(argv, cwd=folder, stdout=output, stderr=output, env=environment, **identity)
        try:
            _await_ready(ready, process, log)
            yield process
        finally:
            process.send_signal(signal.SIGQUIT)  # at once: nothing of it is to last
            process.wait()


def _await_ready(ready: socket.socket, process: subprocess.Popen[bytes], log: Path) -> None:
    ended = os.pidfd_open(process.pid)
    try:
        told = b""
        while b"READY=1" not in told:
            readable, _, _ = select.select([ready.fileno(), ended], [], [], PATIENCE_S)
            if ready.fileno() not in readable:
                raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text()}")
            told = ready.recv(4096)
    finally:
        os.close(ended)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """The server that all tests of a run share."""
    with serve() as server:
        yield server


@pytest.fixture
async def postgres_database(postgres: Server) -> AsyncIterator[str]:
    """A database of the test's own, by name."""
    async with postgres.database() as name:
        yield name
