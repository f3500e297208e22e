"""One connection of a guest: HTTP/1.1 requests, one after the other.

Rules
-----
1. A request is there within `REQUEST_S` of the connection or of the answer before it, or the connection is closed. Its
   head has at most `MAX_HEAD_BYTES`, its body, of which nothing is made, `MAX_BODY_BYTES`.
2. An answer is written in pieces as the guest takes them, and within `REPLY_S`.
3. Nobody waits for a guest that is gone: a connection that ends while its guest waits for a change is closed.
4. What is no HTTP is answered with the status that says so, and the connection closed.

Source: RFC 9110 and 9112; h11 does the parsing.
"""

from __future__ import annotations

import asyncio
import socket
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable
from email.utils import formatdate

import h11

from guesthouse.doors.metadata import gce
from guesthouse.doors.metadata.application import Reply
from guesthouse.doors.metadata.messages import Answer, Request, read

REQUEST_S, REPLY_S = 5.0, 20.0
MAX_HEAD_BYTES, MAX_BODY_BYTES = 8 * 1024, 4 * 1024
_PIECE_BYTES = 64 * 1024
_READ_BYTES = 4096
_VERSIONS = (b"1.0", b"1.1")

Answering = Callable[[Request], Awaitable[Reply]]


class _Refused(Exception):
    """The request cannot be answered but with a status, after which the connection is closed."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Conversation:
    """Reads requests from a connection and writes what `answer` says, until one side has had enough."""

    def __init__(self, reader: StreamReader, writer: StreamWriter, answer: Answering) -> None:
        self._reader = reader
        self._writer = writer
        self._answer = answer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._wants_body = True

    async def hold(self) -> None:
        """Hold the conversation to its end. What is written has then been taken by the kernel, or is given up."""
        self._writer.transport.set_write_buffer_limits(0)
        try:
            while await self._turn():
                self._http.start_next_cycle()
        except (ConnectionError, TimeoutError):
            self._writer.transport.abort()

    async def _turn(self) -> bool:
        """One request and its answer; whether there may be another."""
        try:
            async with asyncio.timeout(REQUEST_S):
                request = await self._request()
        except h11.RemoteProtocolError as error:
            await self._refuse(error.error_status_hint)
            return False
        except _Refused as refused:
            await self._refuse(refused.status)
            return False
        if request is None:
            return False
        reply = await self._patiently(request) if gce.wait_of(request.query) else await self._answer(request)
        if reply is None:
            return False
        await self._send(reply)
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    # --- in --------------------------------------------------------------------------------------------------

    async def _request(self) -> Request | None:
        """The next request, when all of it has come; None when the guest hangs up."""
        self._wants_body = True
        head = await self._event()
        if not isinstance(head, h11.Request):
            return None
        self._wants_body = head.method != b"HEAD"
        if head.http_version not in _VERSIONS:
            raise _Refused(505)
        left = MAX_BODY_BYTES
        while isinstance(event := await self._event(), h11.Data):
            left -= len(event.data)
            if left < 0:
                raise _Refused(413)
        headers = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers)
        request = read(head.method.decode("latin-1"), head.target.decode("latin-1"), headers)
        if request is None:
            raise _Refused(400)
        return request

    async def _event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                self._write(self._http.send(h11.InformationalResponse(status_code=100, headers=[])))
            self._http.receive_data(await self._reader.read(_READ_BYTES))
        return event

    async def _patiently(self, request: Request) -> Reply | None:
        """The answer that may take long; None when the guest has gone before."""
        answering = asyncio.ensure_future(self._answer(request))
        leaving = asyncio.ensure_future(self._reader.read(_READ_BYTES))
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            if leaving.done():
                said = leaving.result()
                if not said:
                    return None
                self._http.receive_data(said)  # the next request, ahead of its time
            return await answering
        finally:
            for each in (answering, leaving):
                each.cancel()
            await asyncio.gather(answering, leaving, return_exceptions=True)

    # --- out -------------------------------------------------------------------------------------------------

    async def _refuse(self, status: int) -> None:
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            answer = Answer(status, f"{status}\n".encode(), headers=(("Connection", "close"),))
            await self._send(Reply(answer))

    async def _send(self, reply: Reply) -> None:
        answer = reply.answer
        if reply.hops:
            _limit_hops(self._writer, reply.hops)
        headers = [
            ("Content-Type", answer.media_type),
            ("Content-Length", str(len(answer.body))),
            ("Date", formatdate(time.time(), usegmt=True)),
            *answer.headers,
        ]
        async with asyncio.timeout(REPLY_S):
            self._write(self._http.send(h11.Response(status_code=answer.status, headers=headers)))
            body = answer.body if self._wants_body else b""
            for start in range(0, len(body), _PIECE_BYTES):
                self._write(self._http.send(h11.Data(data=body[start : start + _PIECE_BYTES])))
                await self._writer.drain()
            self._write(self._http.send(h11.EndOfMessage()))
            await self._writer.drain()

    def _write(self, data: bytes | None) -> None:
        if data:
            self._writer.write(data)


def _limit_hops(writer: StreamWriter, hops: int) -> None:
    """Let what is sent from now on pass `hops` - 1 routers at most (ip(7), ipv6(7))."""
    sock: socket.socket = writer.get_extra_info("socket")
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)  # on a socket of IPv6 for peers of IPv4
