"""From a request to the shapes of its row; what does not fit is refused by name.

Rules
-----
1. Nothing is dropped: an unknown field, parameter or a parameter said twice is refused, with the known ones.
2. A body is JSON of exactly the row's types. Path and query are text: numbers and booleans are read from it.
3. What is read into memory is bounded by the row.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, get_args
from urllib.parse import parse_qsl

import msgspec

from guesthouse.doors.native.rows import Content, NoParams, Row
from guesthouse.model.errors import Invalid

_WHERE = re.compile(r"^(?P<what>.*?)(?: - at `(?:key in )?\$\.?(?P<path>.*)`)?$", re.DOTALL)
_STEP = re.compile(r"(\w+)|(\[\d*\])")
_UNKNOWN = re.compile(r"^Object contains unknown field `(.*)`$")
_MISSING = re.compile(r"^Object missing required field `(.*)`$")


def parameters(row: Row, in_path: Mapping[str, str], query: bytes) -> Any:
    """The row's `params` from path and query string; raises `Invalid`."""
    said: dict[str, str] = {}
    for name, value in parse_qsl(query.decode("ascii", "replace"), keep_blank_values=True):
        if name in said:
            raise Invalid(f"query parameter {name!r} is there twice", field=name, value=value, hint="say it once")
        said[name] = value
    known = [name for name in row.params.__struct_fields__ if name not in row.in_path]
    for name in said:
        if name not in known:
            raise Invalid(f"there is no query parameter {name!r} here", field=name, hint=_known(name, known))
    return _convert({**said, **in_path}, row.params, strict=False)


async def body(row: Row, chunks: AsyncIterator[bytes], content_type: str) -> Any:
    """The row's `body` from the request's bytes; raises `Invalid`."""
    if isinstance(row.body, Content):
        return chunks
    raw = await _read(chunks, row.body_limit_bytes)
    if raw and content_type.partition(";")[0].strip().lower() not in ("", "application/json"):
        raise Invalid(
            f"a body of type {content_type!r} is not understood", field="Content-Type", value=content_type,
            hint="send application/json",
        )  # fmt: skip
    try:
        document = msgspec.json.decode(raw or b"{}")
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Invalid(f"the body is not JSON: {error}", field="body", hint="send a JSON object") from error
    shape = row.body or NoParams
    said = _convert(document, shape, strict=True)
    return said if row.body else None


async def _read(chunks: AsyncIterator[bytes], limit_bytes: int) -> bytes:
    raw = bytearray()
    async for chunk in chunks:
        raw += chunk
        if len(raw) > limit_bytes:
            raise Invalid("the body is too large", field="body", hint=f"{limit_bytes} bytes at most")
    return bytes(raw)


def _convert(document: Any, shape: Any, *, strict: bool) -> Any:
    try:
        return msgspec.convert(document, shape, strict=strict)
    except msgspec.ValidationError as error:
        raise _refusal(str(error), document, shape) from error


def _refusal(message: str, document: Any, shape: Any) -> Invalid:
    """msgspec's message as an error of ours: the field in full, its value, and what would be right."""
    match = _WHERE.match(message)
    assert match is not None
    what, path = match["what"], (match["path"] or "").replace("[...]", "[]")
    inside = f"{path}." if path else ""
    if unknown := _UNKNOWN.match(what):
        name = unknown[1]
        known = _fields(shape, path)
        return Invalid(f"there is no field {inside}{name}", field=f"{inside}{name}", hint=_known(name, known))
    if missing := _MISSING.match(what):
        return Invalid(f"{inside}{missing[1]} is missing", field=f"{inside}{missing[1]}", hint="it has no default")
    what = what.replace("`", "")
    return Invalid(
        f"{path or 'the body'}: {what[:1].lower()}{what[1:]}", field=path or "body", value=_value(document, path)
    )


def _known(name: str, known: Iterable[str]) -> str:
    names = list(known)
    if close := get_close_matches(name, names, 1):
        return f"did you mean {close[0]}?"
    return f"known here: {', '.join(names)}" if names else "none is known here"


def _fields(shape: Any, path: str) -> list[str]:
    """Names of the fields of the struct at `path` below a struct."""
    for name, index in _STEP.findall(path):
        if not index:
            types = {field.encode_name: field.type for field in msgspec.structs.fields(shape)}
            shape = _struct_in(types[name])
    return [field.encode_name for field in msgspec.structs.fields(shape)]


def _struct_in(shape: Any) -> Any:
    """The struct in a type like ``tuple[X, ...] | None``."""
    if isinstance(shape, type) and issubclass(shape, msgspec.Struct):
        return shape
    return next((found for part in get_args(shape) if (found := _struct_in(part)) is not None), None)


def _value(document: Any, path: str) -> str | None:
    """What was said at `path`, short; None where msgspec does not tell it (a value of a mapping)."""
    for name, index in _STEP.findall(path):
        if index == "[]":
            return None
        document = document[int(index[1:-1])] if index else document[name]
    text = document if isinstance(document, str) else msgspec.json.encode(document).decode()
    return text if len(text) <= 80 else f"{text[:77]}..."
