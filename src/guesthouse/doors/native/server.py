"""The native door, open: `async with serve(engine, listeners)`.

Rules
-----
1. The door is open when the block begins, and shut when it has ended: long polls were answered, websockets told
   (1012, RFC 6455), transfers that take longer than a second broken off.
2. uvicorn parses HTTP; its signal handlers, its clock tick and its logs of requests are not used. Tokens travel in
   headers only, and headers are never logged.
3. The kernel tells who is at the other end of a unix socket; that goes to the entrance with every request.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from guesthouse.doors.native.application import application
from guesthouse.doors.native.entrance import Entrance, LocalEntrance, TokenEntrance
from guesthouse.doors.native.listeners import Listener
from guesthouse.doors.native.rows import CloudDoors, Door
from guesthouse.doors.native.table import TABLE
from guesthouse.doors.serving import MAX_CONNECTIONS, http_server
from guesthouse.engine.engine import Engine

# The answer to a ping comes behind all that its sender has sent before, which a slow machine may be long in taking.
PONG_S = 600
MAX_FRAME_BYTES = 64 * 1024
_ROOT = 0
_PEER = struct.Struct("3i")


@asynccontextmanager
async def serve(engine: Engine, listeners: Sequence[Listener], clouds: CloudDoors) -> AsyncIterator[Door]:
    """Open the door on these listeners; they are closed with it."""
    door = Door(engine, TABLE, clouds)
    door.durations.begin(await engine.views.last_event())
    servers = [_server(door, listener) for listener in listeners]
    try:
        for server, listener in zip(servers, listeners, strict=True):
            await server.startup(sockets=[listener.socket])
        yield door
    finally:
        door.closing.close()
        async with asyncio.TaskGroup() as tasks:
            for server, listener in zip(servers, listeners, strict=True):
                if server.started:
                    tasks.create_task(server.shutdown(sockets=[listener.socket]))
        for listener in listeners:
            listener.close()


def _server(door: Door, listener: Listener) -> uvicorn.Server:
    certificate, access = listener.certificate, door.engine.access
    own = LocalEntrance(access, frozenset({_ROOT, os.geteuid()}))
    entrance: Entrance = TokenEntrance(access) if certificate else own
    return http_server(
        application(door, entrance),
        chain=certificate.chain if certificate else None,
        key=certificate.key if certificate else None,
        http=PeerProtocol,
        ws="websockets-sansio",
        ws_max_size=MAX_FRAME_BYTES,
        ws_per_message_deflate=False,
        ws_ping_interval=20.0 if certificate else None,
        ws_ping_timeout=PONG_S,
        date_header=False,
        limit_concurrency=MAX_CONNECTIONS if certificate else None,
    )


class PeerProtocol(H11Protocol):
    """HTTP/1.1 that tells the application the user at the other end of a unix socket, as ``peer_uid``.

    A connection that says nothing for as long as one may idle between requests is closed.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        peer: socket.socket = transport.get_extra_info("socket")
        if peer.family == socket.AF_UNIX:
            told = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
            self.app_state = {**self.app_state, "peer_uid": _PEER.unpack(told)[1]}
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)
