"""A request as the dialects see it, and their answer.

Rules
-----
1. Names of headers are in small letters. Of a header or query parameter that comes twice the last one counts.
2. Empty parts of a path are left out: ``/latest//meta-data/`` is ``latest``, ``meta-data``. `folder` tells whether the
   path ended in a slash.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from guesthouse.doors.metadata.identity import Identity
from guesthouse.doors.metadata.tokens import Tokens
from guesthouse.model.metadata import Asked

TEXT, JSON, OCTETS = "text/plain", "application/json", "application/octet-stream"
READING = ("GET", "HEAD")


@dataclass(frozen=True)
class Request:
    """What was asked."""

    method: str
    path: str
    parts: tuple[str, ...]
    folder: bool
    query: Mapping[str, str]
    headers: Mapping[str, str]

    @property
    def host(self) -> str:
        """The name or address by which we were asked, without port and brackets; "" where it is not said."""
        name = self.headers.get("host", "")
        return name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]


@dataclass(frozen=True)
class Call:
    """A request with all that its answer depends on. `now` is in seconds since the epoch."""

    request: Request
    asked: Asked
    now: float
    tokens: Tokens
    identity: Identity | None


@dataclass(frozen=True)
class Answer:
    """What is answered. `etag` stands for its content, where the dialect has such."""

    status: int
    body: bytes = b""
    media_type: str = TEXT
    headers: tuple[tuple[str, str], ...] = ()
    etag: str = ""


def read(method: str, target: str, headers: Iterable[tuple[str, str]]) -> Request | None:
    """The request with this target (origin or absolute form, RFC 9112, 3.2); None where that is none."""
    try:
        split = urlsplit(target if not target.startswith("/") else f"http://here/{target.lstrip('/')}")
        query = dict(parse_qsl(split.query, keep_blank_values=True, max_num_fields=32))
    except ValueError:
        return None
    if split.scheme != "http":
        return None
    parts = tuple(unquote(part) for part in split.path.split("/") if part)
    return Request(method, split.path, parts, split.path.endswith("/"), query, dict(headers))


def as_json(value: Any) -> bytes:
    """JSON as the clouds' services write it; it can be put on a line of a terminal."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode()
