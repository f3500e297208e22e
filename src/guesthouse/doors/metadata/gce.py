"""Compute Engine's dialect: listings, whole trees as JSON, waiting for a change.

Rules
-----
1. Every request below the root says ``Metadata-Flavor: Google``, and every answer does.
2. A folder ends in a slash; without it the asker is sent there. ``recursive=true`` gives all of it, as JSON or, with
   ``alt=text``, a line a document. In JSON names are written ``likeThis``, but for those that somebody gave.
3. ``ETag`` stands for the content. ``wait_for_change=true`` waits until that is another one than ``last_etag`` (or the
   present one), or until ``timeout_sec`` are over, at most `MAX_WAIT_S`; then it answers with what there is.

Source: Google's "View and query VM metadata".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import quote, urlencode

from guesthouse.doors.metadata.gce_table import TABLE
from guesthouse.doors.metadata.messages import JSON, READING, Answer, Call, Request, as_json
from guesthouse.doors.metadata.tree import Folder, Value, find, grow, names, plain

ROOT, VERSION = "computeMetadata", "v1"
TEXT = "application/text"
FLAVOR = ("Metadata-Flavor", "Google")
MAX_WAIT_S = 300
_LATER = re.compile(r"-(\w)")
_TRUE = "true"


class Wait(NamedTuple):
    """What is waited for: content that `last_etag` does not stand for, "" for the present one's; and how long."""

    last_etag: str
    timeout_s: int


def is_meant(request: Request) -> bool:
    """Whether this dialect is spoken; of the root of all paths the header tells."""
    return request.parts[:1] == (ROOT,) or (not request.parts and _has_flavor(request))


def answer(call: Call) -> Answer:
    """The answer to a request in this dialect, as things are."""
    request = call.request
    if not _has_flavor(request):
        return refusal(403, f"say {FLAVOR[0]}: {FLAVOR[1]}")
    if request.method not in READING:
        return refusal(405, "not with this method", (("Allow", ", ".join(READING)),))
    if (wrong := _wrong(request.query)) is not None:
        return refusal(400, wrong)
    tree = Folder({ROOT: Folder({VERSION: grow(TABLE, call.asked)})})
    found = find(tree, request.parts)
    if found is None:
        return refusal(404, "there is no such document")
    if isinstance(found, Folder) and not request.folder and request.parts:
        return refusal(301, "a folder ends in a slash", (("Location", _with_slash(request)),))
    media_type, body = _rendered(found, request.query)
    etag = hashlib.sha256(body).hexdigest()[:16]
    return Answer(200, body, media_type, (FLAVOR, ("ETag", etag)), etag)


def refusal(status: int, why: str, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    """A refusal, with a line for people."""
    return Answer(status, f"{status} {why}\n".encode(), TEXT, (FLAVOR, *headers))


def wait_of(query: Mapping[str, str]) -> Wait | None:
    """What the asker waits for; None of who does not, or asks in a way that is refused."""
    if not _says(query, "wait_for_change") or _wrong(query):
        return None
    return Wait(query.get("last_etag", ""), min(int(query.get("timeout_sec", MAX_WAIT_S)), MAX_WAIT_S))


def _has_flavor(request: Request) -> bool:
    return request.headers.get(FLAVOR[0].lower()) == FLAVOR[1]


def _wrong(query: Mapping[str, str]) -> str | None:
    """What is wrong with the query, if anything."""
    if query.get("alt", "json") not in ("json", "text"):
        return "alt is json or text"
    timeout = query.get("timeout_sec", "0")
    if not (timeout.isascii() and timeout.isdigit() and len(timeout) < 10):
        return "timeout_sec is a whole number of seconds"
    return None


def _says(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "").lower() == _TRUE


def _with_slash(request: Request) -> str:
    path = "/".join(quote(part, safe="") for part in request.parts)
    return f"/{path}/" + (f"?{urlencode(request.query)}" if request.query else "")


def _rendered(found: Value, query: Mapping[str, str]) -> tuple[str, bytes]:
    """Media type and body of a folder or document."""
    whole = _says(query, "recursive")
    if query.get("alt", "json" if whole else "text") == "json":
        return JSON, as_json(plain(found, _camel))
    if not isinstance(found, Folder):
        return TEXT, _text(found).encode()
    lines = (f"{path} {_text(value)}" for path, value in _leaves(found)) if whole else names(found)
    return TEXT, "".join(f"{line}\n" for line in lines).encode()


def _camel(name: str) -> str:
    return _LATER.sub(lambda match: match[1].upper(), name)


def _text(value: Value) -> str:
    return value if isinstance(value, str) else as_json(value).decode()


def _leaves(folder: Folder, above: str = "") -> Iterator[tuple[str, Value]]:
    for name, entry in folder.entries.items():
        if isinstance(entry, Folder):
            yield from _leaves(entry, f"{above}{name}/")
        else:
            yield above + name, entry
