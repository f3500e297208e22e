"""`guest tunnel`: a port of a machine, led here through the house.

Rules
-----
1. It listens where it is told to, on the loopback unless an address is said; each connection is one to the machine.
2. With --stdio standard input and output are the connection: OpenSSH's ProxyCommand.
3. Ctrl-C is the way to end listening; it is no error. A connection that the house refuses is told, and others go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

from guesthouse.cli.context import Context
from guesthouse.cli.door import segment
from guesthouse.cli.failures import tell
from guesthouse.cli.rows import Command, Values
from guesthouse.cli.stream import lead, stream
from guesthouse.cli.terminal import Terminal
from guesthouse.model.errors import GuesthouseError, Invalid, NoCapacity

_LOOPBACK = "127.0.0.1"
_PIECE_BYTES = 32 * 1024


def tunnel(context: Context, row: Command, values: Values) -> int:
    """Lead one connection, or all that come until Ctrl-C."""
    machine, port = values["machine"], values["port"]
    if values.get("stdio"):
        if "listen" in values:
            raise Invalid("--listen and --stdio exclude each other", field="listen", hint="leave one of them out")
        asyncio.run(_lead_standard_streams(context, machine, port))
        return 0
    context.door.ask("GET", f"/machines/{segment(machine)}")  # a wrong name is told now, not to whoever connects
    host, here = values.get("listen", (_LOOPBACK, 0))
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_listen(context, machine, port, host, here))
    return 0


async def _listen(context: Context, machine: str, port: int, host: str, here: int) -> None:
    tasks = asyncio.TaskGroup()

    def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.create_task(_lead_one(context, machine, port, reader, writer))

    try:
        server = await asyncio.start_server(take, host, here, start_serving=False)
    except OSError as error:
        why = error.strerror or str(error)
        hint = "name another port, or leave --listen out: a free one is then chosen"
        raise NoCapacity(f"nobody can listen at {host}:{here}: {why}", field="listen", hint=hint) from error
    async with tasks, server:
        await server.start_serving()
        _tell_where(context, machine, port, server.sockets[0].getsockname())
        await server.serve_forever()


def _tell_where(context: Context, machine: str, port: int, address: tuple[Any, ...]) -> None:
    host, here = address[:2]
    where = f"[{host}]:{here}" if ":" in host else f"{host}:{here}"
    context.give(
        {"address": host, "port": here, "machine": machine, "machine_port": port},
        where if context.quiet else f"{where} leads to port {port} of {machine}; Ctrl-C ends that",
    )
    context.terminal.stdout.flush()


async def _lead_one(
    context: Context, machine: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        async with stream(context.door, machine, port) as opened:
            await lead(opened, reader, writer)
    except GuesthouseError as error:
        tell(context.terminal, error, as_json=context.json)
    finally:
        writer.close()


async def _lead_standard_streams(context: Context, machine: str, port: int) -> None:
    async with stream(context.door, machine, port) as opened:
        with _standard_streams(context.terminal) as here:
            await lead(opened, *await asyncio.open_connection(sock=here))


@contextlib.contextmanager
def _standard_streams(terminal: Terminal) -> Iterator[socket.socket]:
    """A socket that has what comes on standard input, and leads to standard output. With the block all is written.

    Threads copy: only by waiting can files, terminals and pipes be read and written in one way; and whoever else has
    them would see that they were made not to wait.
    """
    here, there = socket.socketpair()
    writing = threading.Thread(target=_write, args=(there, terminal))
    writing.start()
    # What is still to be read when the connection is over is nobody's: the process ends without it.
    threading.Thread(target=_read, args=(terminal.stdin.fileno(), there), daemon=True).start()
    try:
        yield here
    finally:
        here.close()
        writing.join()


def _read(given: int, there: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := os.read(given, _PIECE_BYTES):
            there.sendall(data)
        there.shutdown(socket.SHUT_WR)


def _write(there: socket.socket, terminal: Terminal) -> None:
    taken = terminal.stdout.fileno()
    try:
        while data := there.recv(_PIECE_BYTES):
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(taken, rest) :]
        terminal.close_output()  # whoever reads it is to know that this was all
    except OSError:
        with contextlib.suppress(OSError):  # nobody reads on: the machine is to be told
            there.shutdown(socket.SHUT_RDWR)
