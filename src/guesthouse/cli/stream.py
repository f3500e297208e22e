"""A TCP connection that the house makes to a machine: a WebSocket, and what is led through it.

Rules
-----
1. An empty message says that nothing more comes from its side; the other direction goes on.
2. Nothing is queued beyond a few pieces: who reads slowly slows down who sends.
3. The house closes it when both sides have said all, or when the machine is gone. What went wrong is told.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, WebSocketException

from guesthouse.cli.channel import refused
from guesthouse.cli.door import Door, Place, address, check_certificate, segment, trust, untrusted
from guesthouse.cli.exits import NoDaemon
from guesthouse.model.errors import Failed

_PIECE_BYTES = 32 * 1024
_OPENED_IN_S = 30
_DAEMON_STOPS = 1012


@asynccontextmanager
async def stream(door: Door, machine: str, port: int) -> AsyncIterator[ClientConnection]:
    """An open connection to a TCP port of a machine; raises the error that the door tells."""
    place = door.place
    host = f"[{place.host}]" if ":" in place.host else place.host or "localhost"
    secure = trust(place) if place.house is None else None
    connecting = connect(
        f"{'wss' if secure else 'ws'}://{host}{address(f'/machines/{segment(machine)}/ports/{port}/stream')}",
        sock=await asyncio.to_thread(door.reach), proxy=None,
        ssl=secure, server_hostname=place.host if secure else None,
        additional_headers=door.headers, compression=None, max_size=None, open_timeout=_OPENED_IN_S,
        # Its answer would come behind all that the machine has not yet taken.
        ping_interval=None,
        create_connection=_connection(place),
    )  # fmt: skip
    try:
        opened = await connecting
    except (WebSocketException, EOFError) as error:
        raise refused(error) from None
    except OSError as error:
        hint = "`guest version` tells whether a daemon answers"
        raise untrusted(place, error) or NoDaemon(f"{place.name} does not answer: {error}", hint=hint) from error
    async with opened:
        yield opened


def _connection(place: Place) -> type[ClientConnection]:
    """One that looks at the house's certificate before it says anything: a token travels in the first request."""

    class Known(ClientConnection):
        async def handshake(self, *said: Any, **named: Any) -> None:
            if (shown := self.transport.get_extra_info("ssl_object")) is not None:
                check_certificate(place, shown.getpeercert(binary_form=True))
            await super().handshake(*said, **named)

    return Known


async def lead(opened: ClientConnection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes both ways until the house closes, or who is here has gone; raises what the house tells of its end."""
    sending = asyncio.create_task(_send(opened, reader))
    try:
        await _receive(opened, writer)
    except ConnectionClosedError as error:
        raise _ended(error) from None
    finally:
        sending.cancel()
        await asyncio.wait((sending,))
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _send(opened: ClientConnection, reader: asyncio.StreamReader) -> None:
    try:
        while data := await reader.read(_PIECE_BYTES):
            await opened.send(data)
        await opened.send(b"")
    except ConnectionClosed:
        pass  # who receives is told why
    except OSError:
        await opened.close()  # who was here is gone


async def _receive(opened: ClientConnection, writer: asyncio.StreamWriter) -> None:
    async for message in opened:
        if message:
            assert isinstance(message, bytes)
            writer.write(message)
        else:
            writer.write_eof()
        try:
            await writer.drain()
        except OSError:
            return  # nobody takes it any more


def _ended(error: ConnectionClosedError) -> Failed:
    if error.rcvd is None:
        return NoDaemon("the connection to the house broke", hint="`guest version` tells whether a daemon answers")
    if error.rcvd.code == _DAEMON_STOPS:
        return NoDaemon("the daemon stops", hint="connect again when it is back")
    return Failed(error.rcvd.reason or f"the house closed the connection ({error.rcvd.code})")
