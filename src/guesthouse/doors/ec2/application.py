"""The table as an ASGI application: who signed, which row, are its arguments understood, what comes of it.

Rules
-----
1. Who asks is known before anything else is looked at. The region that a signature names is taken as it is: there is
   one here, and scripts that were written for another one run unchanged.
2. Arguments are read by the shapes, then held against the row; nothing has changed when they are refused.
3. A dry run is answered by `DryRunOperation` where all would have gone well: it is a rehearsal, not a guess.
4. An idempotent request is known by its token and by all its other arguments.
5. Every refusal is EC2's document; what nobody foresaw is logged whole, told as ``InternalError``, and says no more.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from guesthouse.doors.ec2 import parameters
from guesthouse.doors.ec2.dialects import Service
from guesthouse.doors.ec2.errors import fault_of
from guesthouse.doors.ec2.rows import DRY_RUN, Call, Row
from guesthouse.engine.accept import check_role
from guesthouse.engine.engine import Engine
from guesthouse.engine.intents import Asker
from guesthouse.engine.stock import uncollected
from guesthouse.formats import signatures
from guesthouse.formats.awsquery.answer import refusal
from guesthouse.formats.awsquery.fault import Fault
from guesthouse.formats.signatures import Signed
from guesthouse.model.errors import Denied, GuesthouseError
from guesthouse.model.resources import Role

MAX_BODY_BYTES = 1 << 20
_XML = "text/xml;charset=UTF-8"
_FORM = "application/x-www-form-urlencoded"
# What belongs to the request and not to its operation.
_OUTER = frozenset("AWSAccessKeyId Action Expires SecurityToken Signature SignatureMethod SignatureVersion Timestamp "
                   "Version X-Amz-Algorithm X-Amz-Credential X-Amz-Date X-Amz-Expires X-Amz-Security-Token "
                   "X-Amz-Signature X-Amz-SignedHeaders".split())  # fmt: skip
_UNFORESEEN = Fault("InternalError", "An internal error has occurred; the daemon's log has all of it", 500)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ec2:
    """The open door: whom it serves, and the services that it speaks for."""

    engine: Engine
    services: Mapping[str, Service]

    async def answer(self, signed: Signed, request_id: str) -> Iterator[bytes]:
        """The document that a request is answered with, in pieces; raises `Fault` or `GuesthouseError`."""
        asker, claimed = await self._who(signed)
        parameters = dict(signed.pairs)
        service = self._service(claimed, parameters)
        action = parameters.get("Action", "")
        if not action:
            raise Fault("MissingAction", "The request must contain the parameter Action")
        row = service.rows.get(action)
        if row is None:
            raise service.unknown(action)
        pairs = [(name, text) for name, text in signed.pairs if name not in _OUTER]
        call = self._call(service, row, asker, service.reader.arguments(action, pairs))
        done = await self._done(service, row, call)
        with uncollected():
            return service.writer.pieces(action, done, request_id)

    async def parameters(self, signed: Signed) -> bytes:
        """The document with which a request for parameters is answered; raises `Fault` or `GuesthouseError`."""
        asker, _ = await self._who(signed)
        stock = await self.engine.stock(asker, parameters.NOUNS)
        return parameters.answer(signed.headers[parameters.TARGET], signed.body, stock)

    async def _who(self, signed: Signed) -> tuple[Asker, str]:
        """Who signed, and for which service."""
        if "x-amz-security-token" in signed.headers or "X-Amz-Security-Token" in dict(signed.pairs):
            raise Fault("AuthFailure", "Session tokens are not known here: unset AWS_SESSION_TOKEN", 401)
        claim = signatures.claim(signed)
        try:
            asker, secret = await self.engine.access.signer(claim.key)
        except Denied:
            # As long as with a key that there is.
            asker, secret = None, secrets.token_urlsafe(30)
        signatures.check(signed, claim, secret, datetime.now(UTC))
        if asker is None:
            raise signatures.not_validated()
        return asker, claim.service

    def _service(self, claimed: str, parameters: Mapping[str, str]) -> Service:
        if claimed and claimed not in self.services:
            known = ", ".join(self.services)
            raise Fault("InvalidAction", f"There is no service {claimed} here; there is {known}")
        for service in self.services.values():
            if claimed == service.name or (not claimed and parameters.get("Version") == service.shapes.version):
                return service
        return next(iter(self.services.values()))

    def _call(self, service: Service, row: Row, asker: Asker, arguments: dict[str, Any]) -> Call:
        check_role(asker, row.role)
        service.refuse_unknown(row, arguments)
        token = service.token_of(row.action, arguments)
        once = None
        if token:
            outer = {*service.tokens[row.action], "DryRun"}
            others = {name: value for name, value in arguments.items() if name not in outer}
            said = msgspec.json.encode([row.action, others], order="sorted")
            once = service.once(row.action, token, hashlib.sha256(said).hexdigest())
        return Call(self.engine, asker, arguments, once)

    async def _done(self, service: Service, row: Row, call: Call) -> Mapping[str, Any]:
        if row.role is Role.VIEWER and call["DryRun"]:
            raise DRY_RUN
        if row.listing is not None:
            filters = service.filters(row, call["Filters"] or call["Filter"] or ())
            stock = await call.stock(*row.listing.nouns)
            with uncollected():
                return row.listing.answer(stock, call.arguments, filters)
        assert row.run is not None
        return await row.run(call) or service.plain_answer(row.action)


def application(door: Ec2) -> ASGIApp:
    """The door's application: any path, GET and POST."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request_id = str(uuid.uuid4())
        request = Request(scope, receive)
        in_json = parameters.TARGET in request.headers
        try:
            signed = await _read(request)
            if in_json:
                response = _json(await door.parameters(signed), 200)
            else:
                response = _whole_or_pieces(await door.answer(signed, request_id))
        except ClientDisconnect:
            return
        except Fault as fault:
            response = _refused(fault, request_id, in_json=in_json)
        except GuesthouseError as error:
            response = _refused(fault_of(error), request_id, in_json=in_json)
        except Exception:
            _log.exception("request %s went wrong in an unforeseen way", request_id)
            response = _refused(_UNFORESEEN, request_id, in_json=in_json)
        response.headers["x-amzn-requestid"] = request_id
        await response(scope, receive, send)

    return app


class _Pieces(Response):
    """A document as it is gathered: a large one is never in memory as a whole."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        super().__init__(media_type=_XML)
        del self.headers["content-length"]
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for piece in self._pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def _whole_or_pieces(pieces: Iterator[bytes]) -> Response:
    """The response of a document: a small one is sent with its length."""
    first = next(pieces)
    second = next(pieces, None)
    return _xml(first, 200) if second is None else _Pieces(chain((first, second), pieces))


def _refused(fault: Fault, request_id: str, *, in_json: bool) -> Response:
    if in_json:
        return _json(parameters.refusal(fault), fault.status)
    return _xml(refusal(fault, request_id), fault.status)


def _json(document: bytes, status: int) -> Response:
    return Response(document, status, media_type=parameters.MEDIA_TYPE)


def _xml(document: bytes, status: int) -> Response:
    return Response(document, status, media_type=_XML)


async def _read(request: Request) -> Signed:
    """A request with its parameters, from the URL and from a form; raises `Fault` for what is none."""
    if request.method not in ("GET", "POST"):
        raise Fault("UnsupportedHttpVerb", f"The method {request.method} is not understood: use POST", 405)
    body = await _body(request)
    in_query = signatures.pairs_of(request.scope["query_string"].decode("latin-1"))
    kind = request.headers.get("content-type", _FORM).partition(";")[0].strip().lower()
    in_json = kind == parameters.MEDIA_TYPE and parameters.TARGET in request.headers
    if body and kind != _FORM and not in_json:
        raise Fault("UnsupportedProtocol", f"A body of type {kind[:100]} is not understood; EC2's is {_FORM}", 415)
    in_body = signatures.pairs_of(body.decode("utf-8", "replace")) if body and not in_json else []
    headers: dict[str, str] = {}
    for name, text in request.headers.items():
        headers[name] = f"{headers[name]},{text}" if name in headers else text
    path = (request.scope.get("raw_path") or b"/").decode("latin-1").partition("?")[0]
    return Signed(request.method, path, in_query, headers, [*in_query, *in_body], body)


async def _body(request: Request) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise Fault("RequestEntityTooLarge", f"The request has more than {MAX_BODY_BYTES} bytes", 413)
        parts.append(part)
    return b"".join(parts)
