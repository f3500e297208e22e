"""A WebSocket to the door: the console and the flow of events.

Rules
-----
1. The protocol is websockets' Sans-I/O one; the socket is ours, so that one `select` watches it and the keyboard.
2. A refused handshake raises the error that the door tells.
3. A channel is a context manager: it says good-bye and lets go of its socket.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator, Mapping
from types import TracebackType

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from guesthouse.cli.door import Door, address, told
from guesthouse.cli.exits import NoDaemon
from guesthouse.model.errors import Failed

_PIECE_BYTES = 64 * 1024


class Channel:
    """An open WebSocket; messages are bytes, whatever their frames were."""

    def __init__(self, door: Door, path: str, query: Mapping[str, object] | None = None) -> None:
        self._socket = door.open()
        self._protocol = ClientProtocol(parse_uri(f"ws://{door.place.host or 'localhost'}{address(path, query)}"))
        self._message = bytearray()
        self._ready: list[bytes] = []
        self._shake_hands(door)

    def __enter__(self) -> Channel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._protocol.state is OPEN:
            self._protocol.send_close()
            with contextlib.suppress(NoDaemon):  # good-bye to somebody who is gone already
                self._flush()
        self._socket.close()

    def fileno(self) -> int:
        """For select(2): readable when `receive` will not wait."""
        return self._socket.fileno()

    @property
    def open(self) -> bool:
        return self._protocol.state is OPEN

    @property
    def pending(self) -> bool:
        """Whether there is something to receive that select(2) cannot see: read already, or inside of TLS."""
        return bool(self._ready) or (isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0)

    def send(self, data: bytes) -> None:
        """Send one binary message."""
        self._protocol.send_binary(data)
        self._flush()

    def receive(self) -> list[bytes]:
        """The messages that are there, after waiting for bytes; empty when there is none whole, or no more at all."""
        if not self._ready:
            self._read()
        ready, self._ready = self._ready, []
        return ready

    def messages(self) -> Iterator[bytes]:
        """Every message until the door ends the channel."""
        while self._ready or self.open:
            yield from self.receive()

    def _shake_hands(self, door: Door) -> None:
        request = self._protocol.connect()
        for name, value in door.headers.items():
            request.headers[name] = value
        self._protocol.send_request(request)
        self._flush()
        while not self.open:
            self._read()
            if error := self._protocol.handshake_exc:
                self._socket.close()
                raise refused(error) from None

    def _read(self) -> None:
        try:
            data = self._socket.recv(_PIECE_BYTES)
        except OSError:
            data = b""
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        self._flush()
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._take(event)

    def _take(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            self._message += frame.data
            if frame.fin:
                self._ready.append(bytes(self._message))
                self._message.clear()

    def _flush(self) -> None:
        try:
            for data in self._protocol.data_to_send():
                if data:
                    self._socket.sendall(data)
        except OSError as error:
            raise NoDaemon(
                f"the connection broke: {error}", hint="`guest version` tells whether a daemon answers"
            ) from error


def refused(error: Exception) -> Exception:
    """The error of ours for a handshake that did not come about."""
    if isinstance(error, InvalidStatus):
        response: Response = error.response
        return told(response.status_code, bytes(response.body or b""))
    if isinstance(error, InvalidHandshake | EOFError):
        return NoDaemon(
            f"the door closed the connection: {error}", hint="`guest version` tells whether a daemon answers"
        )
    return Failed(f"the door does not speak WebSocket: {error}")
