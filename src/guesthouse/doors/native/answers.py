"""From what a view or the engine returned to the answer's bytes; from an error to its document.

Rules
-----
1. An answer has the shape that its row says: what the row does not name does not leave the house.
2. An error's status stands in `model.errors.KINDS`. Two are HTTP's own: 401 for a token that is missing or unknown
   (RFC 9110, 15.5.2), 405 for a method that the path does not have (15.5.6); their documents are as all others.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, get_args, get_origin

import msgspec
from starlette.responses import Response, StreamingResponse

from guesthouse.doors.native.rows import Content, Row
from guesthouse.model.errors import GuesthouseError

_JSON = "application/json"


async def answer(row: Row, value: Any) -> Response:
    """The answer of a row; a stream's first piece is awaited, so that an error can still be told."""
    if row.answer is None:
        return Response(status_code=row.status)
    if isinstance(row.answer, Content):
        if row.answer.chunked:
            first = await anext(value, b"")
            return StreamingResponse(_chain(first, value), row.status, media_type=row.answer.media_type)
        return Response(value, row.status, media_type=row.answer.media_type)
    return Response(msgspec.json.encode(_shaped(row.answer, value)), row.status, media_type=_JSON)


def refusal(error: GuesthouseError, *, status: int = 0, headers: Mapping[str, str] | None = None) -> Response:
    """The answer that tells an error."""
    document = msgspec.json.encode({"error": error.as_dict()})
    return Response(document, status or error.kind.http_status, headers, media_type=_JSON)


def _shaped(shape: Any, value: Any) -> Any:
    if get_origin(shape) is list:
        (item,) = get_args(shape)
        return {"items": [_one(item, each) for each in value]}
    return _one(shape, value)


def _one(shape: Any, value: Any) -> Any:
    if type(value) is shape or get_origin(shape) is dict:
        return value
    return msgspec.convert(value, shape, from_attributes=True)


async def _chain(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk
