"""The table as an ASGI application: find the row, parse, dispatch, answer.

Rules
-----
1. Who asks is known before anything else is looked at: a stranger cannot tell a path that exists from one that
   does not.
2. A view's role is checked here, an intent's in the engine.
3. Every refusal is an error document; what nobody foresaw is logged whole and told as ``failed``.
4. When the door closes, whoever waits is answered at once with what is known; accepted intents finish.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable
from email.utils import formatdate
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, Router, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketState

from guesthouse.doors.native import answers, parse
from guesthouse.doors.native.closing import Closed
from guesthouse.doors.native.entrance import Entrance
from guesthouse.doors.native.rows import Call, Content, Door, Row
from guesthouse.engine.accept import check_role
from guesthouse.model.errors import Denied, Failed, GuesthouseError, Invalid, NotFound
from guesthouse.model.resources import Operation

PREFIX = "/v1"
_UNFORESEEN = 1011
_METHODS = frozenset("GET HEAD POST PUT PATCH DELETE WS".split())
_log = logging.getLogger(__name__)


def application(door: Door, entrance: Entrance) -> ASGIApp:
    """The door's application for those who come in by one entrance."""
    router = Router(list(_routes(door, entrance)), redirect_slashes=False, default=_nothing_there)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["path"] = ""

        async def counted(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                message["headers"] = [*message["headers"], (b"date", formatdate(usegmt=True).encode())]
                _count(door, scope, message["status"])
            elif message["type"] == "websocket.accept":
                _count(door, scope, 101)
            await send(message)

        try:
            scope["state"]["asker"] = await entrance.identify(scope)
        except Denied as error:
            status = 401 if entrance.challenge else 0
            await answers.refusal(error, status=status, headers=entrance.challenge)(scope, receive, counted)
        except GuesthouseError as error:
            await answers.refusal(error)(scope, receive, counted)
        else:
            await router(scope, receive, counted)

    return app


def _count(door: Door, scope: Scope, status: int) -> None:
    """Strangers are counted too: what they make up (methods, paths) becomes no label of its own."""
    method = scope.get("method", "WS")
    door.requests[method if method in _METHODS else "other", scope["state"]["path"], status] += 1


# --- routing -------------------------------------------------------------------------------------------------


def _routes(door: Door, entrance: Entrance) -> Iterable[BaseRoute]:
    """One route a row, literal paths first. `/metrics` is below no version too, where scrapers look for it."""
    rows = sorted(door.rows, key=lambda row: row.path)
    for row in rows:
        if row.session is not None:
            yield WebSocketRoute(PREFIX + row.path, _Socket(door, entrance.local, row))
            continue
        allowed = sorted(each.method for each in rows if each.path == row.path and each.session is None)
        page = _Page(door, entrance.local, row)
        yield _Route(PREFIX + row.path, page, allowed)
        if row.path == "/metrics":
            yield _Route(row.path, page, allowed)


class _Route(Route):
    """Starlette's route, with our answer to a method that the path does not have."""

    def __init__(self, path: str, page: _Page, allowed: list[str]) -> None:
        super().__init__(path, page, methods=[page.row.method])
        self._allowed = ", ".join(allowed)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in (self.methods or ()):
            await self.app(scope, receive, send)
            return
        error = Invalid(
            f"{scope['path']} has no method {scope['method']}",
            field="method",
            value=scope["method"],
            hint=f"it has {self._allowed}",
        )
        await answers.refusal(error, status=405, headers={"Allow": self._allowed})(scope, receive, send)


async def _nothing_there(scope: Scope, receive: Receive, send: Send) -> None:
    error = NotFound(f"there is no {scope['path']} here", value=scope["path"], hint=f"see {PREFIX}/openapi.json")
    await answers.refusal(error)(scope, receive, send)


# --- one request ---------------------------------------------------------------------------------------------


class _Page:
    """One row that answers once."""

    def __init__(self, door: Door, local: bool, row: Row) -> None:
        self._door = door
        self._local = local
        self.row = row

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["path"] = self.row.path
        try:
            response = await self._response(Request(scope, receive))
        except ClientDisconnect:
            return
        except GuesthouseError as error:
            response = answers.refusal(error)
        except Exception:
            _log.exception("%s %s went wrong in an unforeseen way", self.row.method, self.row.path)
            response = answers.refusal(_unforeseen())
        if isinstance(self.row.answer, Content) and self.row.answer.chunked:
            await self._stream(response, scope, receive, send)
        else:
            await response(scope, receive, send)

    async def _response(self, request: Request) -> Response:
        row = self.row
        _admit(row, request.scope, self._local)
        params = parse.parameters(row, request.path_params, request.scope["query_string"])
        body = await parse.body(row, request.stream(), request.headers.get("Content-Type", ""))
        call = Call(self._door, request.scope["state"]["asker"], self._local, params, body)
        return await answers.answer(row, await (_accepted(row, call) if row.intent else _seen(row, call)))

    async def _stream(self, response: Response, scope: Scope, receive: Receive, send: Send) -> None:
        """Send piece by piece. An error can no more be told: the answer breaks off, which clients see."""
        try:
            async with self._door.closing.ends():
                await response(scope, receive, send)
        except Closed:
            _log.info("%s: broken off, the door closes", self.row.path)
        except GuesthouseError as error:
            _log.warning("%s: broken off: %s", self.row.path, error)


async def _accepted(row: Row, call: Call[Any]) -> object:
    """What an intent led to; for askers who wait, its operation when that has ended."""
    assert row.intent is not None
    assert row.build is not None
    accepted = await call.engine.accept(call.asker, row.build(row.intent, call.params, call.body))
    if not isinstance(accepted, Operation) or not call.params.wait_s:
        return accepted
    try:
        async with call.door.closing.ends():
            return await call.engine.views.wait_end(call.asker, accepted, wait_s=call.params.wait_s)
    except Closed:
        return accepted


async def _seen(row: Row, call: Call[Any]) -> object:
    assert row.view is not None
    if not row.waits:
        return await row.view(call)
    try:
        async with call.door.closing.ends():
            return await row.view(call)
    except Closed:
        return await row.view(_cut_short(call))


def _cut_short(call: Call[Any]) -> Call[Any]:
    """The same question without waiting; raises `Failed` where there is no such."""
    if "wait_s" not in call.params.__struct_fields__:
        raise Failed("the daemon stops before this has ended", hint="what was begun in the guest may go on there")
    return dataclasses.replace(call, params=msgspec.structs.replace(call.params, wait_s=0))


def _admit(row: Row, scope: Scope, local: bool) -> None:
    """Raise `Denied` unless the asker may use this row."""
    if row.local and not local:
        raise Denied("only askers on the house's host may do this", hint="ask through the unix socket")
    check_role(scope["state"]["asker"], row.role, house_only=row.house)


def _unforeseen() -> Failed:
    return Failed("something went wrong that nobody foresaw", hint="the daemon's log has all of it")


# --- one session ---------------------------------------------------------------------------------------------


class _Socket:
    """One row that is a websocket."""

    def __init__(self, door: Door, local: bool, row: Row) -> None:
        self._door = door
        self._local = local
        self._row = row

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["path"] = self._row.path
        socket = WebSocket(scope, receive, send)
        try:
            await self._session(socket)
        except GuesthouseError as error:
            await _refuse(socket, error)
        except Exception:
            _log.exception("%s went wrong in an unforeseen way", self._row.path)
            await _refuse(socket, _unforeseen())

    async def _session(self, socket: WebSocket) -> None:
        row, scope = self._row, socket.scope
        assert row.session is not None
        _admit(row, scope, self._local)
        params = parse.parameters(row, socket.path_params, scope["query_string"])
        await row.session(Call(self._door, scope["state"]["asker"], self._local, params), socket)


async def _refuse(socket: WebSocket, error: GuesthouseError) -> None:
    """As an answer before the handshake, in the close frame after it (123 bytes at most, RFC 6455, 5.5)."""
    if socket.application_state is WebSocketState.CONNECTING:
        await socket.send_denial_response(answers.refusal(error))
    elif socket.application_state is WebSocketState.CONNECTED:
        await socket.close(_UNFORESEEN, error.message.encode()[:123].decode(errors="ignore"))
