"""The metadata service, open: `async with serve(...) as service`, and a network at a time.

Rules
-----
1. A network is served from `open` to `close`, on sockets that somebody else has bound, listening or not, in the
   network's namespace; they are closed with it.
2. Connections that are open when a network or the service is closed are broken off: what a guest asks for here it asks
   again.
3. A connection is a task of the service's own group. One that goes wrong ends alone.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv6Address, ip_address

from guesthouse.doors.metadata.application import Application, Asker, Register, Reply
from guesthouse.doors.metadata.conversation import MAX_HEAD_BYTES, Conversation
from guesthouse.doors.metadata.identity import Identity
from guesthouse.doors.metadata.limits import Limits
from guesthouse.doors.metadata.messages import Request
from guesthouse.doors.metadata.tokens import Tokens

PORT = 80
_QUEUE, _AT_ONCE = 4096, 64
"""How many connections may wait to be accepted, and how many are before others get their turn."""
_log = logging.getLogger(__name__)


@asynccontextmanager
async def serve(
    register: Register,
    secret: bytes,
    identity: Identity | None = None,
    *,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[MetadataService]:
    """Answer machines as long as the block lasts; `secret` is of 32 bytes at least, and the house's own."""
    async with asyncio.TaskGroup() as tasks:
        service = MetadataService(Application(register, Tokens(secret), identity, clock), tasks)
        try:
            yield service
        finally:
            await service.close_all()


@dataclass
class _Network:
    """A network that is served: where it listens and who is speaking."""

    servers: list[asyncio.Server] = field(default_factory=list)
    talks: set[asyncio.Task[None]] = field(default_factory=set)


class MetadataService:
    """Serves networks."""

    def __init__(self, application: Application, tasks: asyncio.TaskGroup) -> None:
        self._application = application
        self._tasks = tasks
        self._networks: dict[str, _Network] = {}
        self.limits = Limits(time.monotonic)

    async def open(self, network: str, sockets: Sequence[socket.socket]) -> None:
        """Serve the network (an id) on these sockets of streams; those that it was served on before are closed."""
        await self.close(network)
        served = self._networks[network] = _Network()
        for sock in sockets:
            sock.setblocking(False)
            arrived = partial(self._arrived, network, served)
            server = await asyncio.start_server(arrived, sock=sock, limit=MAX_HEAD_BYTES, backlog=_AT_ONCE)
            served.servers.append(server)
            # asyncio takes one number for both; a queue that is full would have others' connections wait a second.
            sock.listen(_QUEUE)

    async def close(self, network: str) -> None:
        """Serve the network no more; as good where it is not served."""
        served = self._networks.pop(network, None)
        if served is None:
            return
        for server in served.servers:
            server.close()
        for talk in served.talks:
            talk.cancel()
        if served.talks:
            await asyncio.wait(set(served.talks))

    async def close_all(self) -> None:
        """Serve nobody any more."""
        for network in list(self._networks):
            await self.close(network)

    def _arrived(self, network: str, served: _Network, reader: StreamReader, writer: StreamWriter) -> None:
        """Somebody has connected: talk with him, or close the door on him."""
        peer = writer.get_extra_info("peername")
        if peer is None or self._networks.get(network) is not served or not self.limits.enter((network, peer[0])):
            writer.transport.abort()
            return
        # asyncio does so itself only where the listening socket was made with a protocol number.
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        talk = self._tasks.create_task(self._talk(network, peer[0], reader, writer))
        served.talks.add(talk)
        talk.add_done_callback(partial(self._left, served, (network, peer[0]), writer))

    def _left(self, served: _Network, who: tuple[str, str], writer: StreamWriter, talk: asyncio.Task[None]) -> None:
        served.talks.discard(talk)
        self.limits.leave(who)
        if talk.cancelled():
            writer.transport.abort()
        else:
            writer.close()

    async def _talk(self, network: str, peer: str, reader: StreamReader, writer: StreamWriter) -> None:
        async def pace() -> None:
            if wait_s := self.limits.wait_s((network, peer)):
                await asyncio.sleep(wait_s)

        asker = Asker(network, plain_address(peer), _mark(writer), pace)

        async def answer(request: Request) -> Reply:
            await pace()
            return await self._application.answer(request, asker)

        try:
            await Conversation(reader, writer, answer).hold()
        except Exception:
            _log.exception("metadata: a conversation on network %s went wrong in an unforeseen way", network)


def plain_address(peer: str) -> str:
    """A peer's address as a machine's is written: without its link, and IPv4 as such also on a socket of IPv6."""
    address = ip_address(peer.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(address)


def _mark(writer: StreamWriter) -> int:
    """The mark that the kernel gave the connection (socket(7), SO_MARK)."""
    sock: socket.socket = writer.get_extra_info("socket")
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK)
