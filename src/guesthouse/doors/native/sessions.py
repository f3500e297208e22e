"""The rows that are websockets: the console, streams to ports of machines, and the flow of events.

Rules
-----
1. What can be refused is refused before the handshake is accepted, as an ordinary error answer.
2. Nothing is queued here: the next piece is asked for when the last one is written, and writing waits for a slow
   reader. What bounds the wait is the transport's high-water mark and the keep-alive of the websocket.
3. A session ends when either side ends it; uvicorn tells a disconnect when the door closes.
4. A websocket cannot end one direction alone, a TCP connection can: in a stream an empty frame says that nothing more
   comes from there. When both have said so, it is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from guesthouse.doors.native.documents import EventFollow, OfMachine, OfPort
from guesthouse.doors.native.rows import Call
from guesthouse.engine.inside import Led
from guesthouse.model.resources import Event
from guesthouse.ports import Console, Stream

_GONE = 1000
_UNSUPPORTED = 1003


async def console(call: Call[OfMachine], socket: WebSocket) -> None:
    """The serial console: what the guest writes goes out, what comes in is typed."""
    async with call.engine.inside.console(call.asker, call.params.machine) as opened:
        await socket.accept()
        await _until_either_ends(_show(opened, socket), _type(opened, socket))


async def stream(call: Call[OfPort], socket: WebSocket) -> None:
    """A TCP connection to a port of a machine."""
    async with call.engine.inside.stream(call.asker, call.params.machine, call.params.port) as led:
        await socket.accept()
        said_all = asyncio.Event()
        await _until_either_ends(
            _lead_out(led.stream, socket, said_all),
            _lead_in(led.stream, socket, said_all),
            _leave_with(led, socket),
        )


async def events(call: Call[EventFollow], socket: WebSocket) -> None:
    """Every event after a number, or from now on; then every new one."""
    views = call.engine.views
    after = await views.last_event() if call.params.after is msgspec.UNSET else call.params.after
    flow = views.follow(call.asker, after=after)
    await socket.accept()
    await _until_either_ends(_tell(flow, socket), _only_listens(socket))


async def _show(opened: Console, socket: WebSocket) -> None:
    while data := await opened.receive():
        await socket.send_bytes(data)
    await socket.close(_GONE, "the machine is gone")


async def _type(opened: Console, socket: WebSocket) -> None:
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return None
        if message.get("bytes") is None:
            return await socket.close(_UNSUPPORTED, "the console takes binary frames")
        await opened.send(message["bytes"])


async def _lead_out(opened: Stream, socket: WebSocket, said_all: asyncio.Event) -> None:
    """What the machine sends, until both sides have said all."""
    while data := await opened.receive():
        await socket.send_bytes(data)
    await socket.send_bytes(b"")
    await said_all.wait()
    await socket.close(_GONE, "both sides have said all")


async def _lead_in(opened: Stream, socket: WebSocket, said_all: asyncio.Event) -> None:
    """What is sent to the machine, until the client has gone."""
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return None
        if message.get("bytes") is None:
            return await socket.close(_UNSUPPORTED, "a stream takes binary frames")
        if message["bytes"]:
            await opened.send(message["bytes"])
        else:
            await opened.end()
            said_all.set()


async def _leave_with(led: Led, socket: WebSocket) -> None:
    await led.until_gone()
    await socket.close(_GONE, "the machine is gone")


async def _tell(flow: AsyncIterator[Event], socket: WebSocket) -> None:
    async for event in flow:
        await socket.send_text(msgspec.json.encode(event).decode())


async def _only_listens(socket: WebSocket) -> None:
    message = await socket.receive()
    if message["type"] != "websocket.disconnect":
        await socket.close(_UNSUPPORTED, "events are told, nothing is taken")


class _Ended(Exception):
    pass


async def _until_either_ends(*sides: Awaitable[None]) -> None:
    """Run both sides of a session; when one is done the other is cancelled."""

    async def run(side: Awaitable[None]) -> None:
        await side
        raise _Ended

    try:
        async with asyncio.TaskGroup() as tasks:
            for side in sides:
                tasks.create_task(run(side))
    except BaseExceptionGroup as group:
        _, wrong = group.split((_Ended, WebSocketDisconnect))
        if wrong is not None:
            raise wrong.exceptions[0] from None
