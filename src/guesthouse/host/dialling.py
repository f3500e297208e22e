"""TCP connections to machines, from where they are reached: from within a network of theirs, or from the host itself.

Rules
-----
1. The socket is made in the namespace by a thread that ends with it; it stays there, whoever uses it.
2. From within a network a machine is asked by its gateway. That is not forwarded: groups do not judge it.
3. A connection whose other end is gone without a word ends by itself, minutes later.

Source: socket(7), tcp(7).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from guesthouse.host.networks.local import LocalNetworks
from guesthouse.host.networks.namespace import Namespace
from guesthouse.model.errors import Conflict, TimedOut
from guesthouse.model.network import Network

_TIMEOUT_S = 10.0
_PIECE_BYTES = 32 * 1024
# A guest that is paused for less than three minutes keeps its connections.
_KEEP_ALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 8))


class Target(NamedTuple):
    """Where to connect to, and from within which namespace; None is the host's own."""

    namespace: Namespace | None
    address: str
    port: int


def targets(networks: LocalNetworks, machine: str, port: int) -> list[Target]:
    """Where a machine, by its id, takes connections to a port: at each of its addresses on networks."""
    return [Target(seat.namespace, seat.address, port) for seat in networks.seats(machine)]


async def dial(target: Target) -> socket.socket:
    """A connected socket; raises `OSError`."""
    namespace = target.namespace
    made = namespace.enter(_a_socket) if namespace is not None else _a_socket()
    try:
        await asyncio.get_running_loop().sock_connect(made, (target.address, target.port))
    except BaseException:
        made.close()
        raise
    return made


def _a_socket() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option, value in _KEEP_ALIVE:
        made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made


class _Connection:
    """Implements `ports.Stream`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str) -> None:
        self._reader, self._writer, self._name = reader, writer, name

    async def receive(self) -> bytes:
        try:
            return await self._reader.read(_PIECE_BYTES)
        except OSError as error:
            raise self._broke(error) from error

    async def send(self, data: bytes) -> None:
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise self._broke(error) from error

    async def end(self) -> None:
        with contextlib.suppress(OSError):  # it broke already: whoever receives is told
            self._writer.write_eof()

    def _broke(self, error: OSError) -> Conflict:
        return Conflict(f"the connection to {self._name} broke: {error.strerror or error}")


class LocalStreams:
    """Implements `ports.Streams`."""

    def __init__(self, networks: LocalNetworks) -> None:
        self._networks = networks

    @asynccontextmanager
    async def connect(self, network: Network | None, address: str, port: int) -> AsyncIterator[_Connection]:
        """Connect to a TCP port from within a network, or from the host itself; see `ports.Streams`."""
        namespace = self._networks.namespace(network) if network is not None else None
        async with connected(Target(namespace, address, port)) as connection:
            yield connection


@asynccontextmanager
async def connected(target: Target) -> AsyncIterator[_Connection]:
    """An open connection; raises `Conflict` where nobody takes it, `TimedOut` where nobody answers."""
    name = f"{target.address} port {target.port}"
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(sock=await dial(target), limit=_PIECE_BYTES)
    except TimeoutError as error:
        raise TimedOut(f"{name} does not answer", hint="the guest may still boot, or drop what it is asked") from error
    except OSError as error:
        why = "takes no connections" if isinstance(error, ConnectionRefusedError) else "is not to be reached"
        hint = "see that a program in the guest listens at that port on all of its addresses"
        raise Conflict(
            f"{name} {why}: {error.strerror or error}", field="port", value=target.port, hint=hint
        ) from error
    try:
        yield _Connection(reader, writer, name)
    finally:
        writer.close()
