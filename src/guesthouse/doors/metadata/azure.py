"""Azure's dialect: one document, of which every part can be asked for.

Rules
-----
1. Every request says ``Metadata: true``, and but for ``/metadata/versions`` an ``api-version``. Who says none, or one
   that there is not, is told the newest ones.
2. The answer is JSON; with ``format=text`` a document is text and a folder its names, folders with a slash.
3. Of Azure's other services (attested documents, managed identities, scheduled events, the wire server) there is none.

Source: Microsoft's "Azure Instance Metadata Service".
"""

from __future__ import annotations

from guesthouse.doors.metadata.azure_table import TABLE, VERSIONS
from guesthouse.doors.metadata.messages import JSON, READING, TEXT, Answer, Call, Request, as_json
from guesthouse.doors.metadata.tree import Folder, Value, find, grow, names, plain

ROOT = "metadata"
HEADER, NEEDED = "metadata", "true"
_NEWEST = 3


def is_meant(request: Request) -> bool:
    """Whether this dialect is spoken."""
    return request.parts[:1] == (ROOT,)


def answer(call: Call) -> Answer:
    """The answer to a request in this dialect."""
    request = call.request
    if request.headers.get(HEADER, "").lower() != NEEDED:
        return refusal(400, "say Metadata: true")
    if request.method not in READING:
        return refusal(405, "not with this method", (("Allow", ", ".join(READING)),))
    what, *path = request.parts[1:] or ("",)
    if what == "versions" and not path:
        return Answer(200, as_json({"apiVersions": VERSIONS}), JSON)
    if what != "instance":
        return refusal(404, "there is no such document")
    version = request.query.get("api-version", "")
    if version not in VERSIONS:
        wrong = f"api-version {version} is none" if version else "api-version is missing"
        return _refusal(400, {"error": f"Bad request: {wrong}", "newest-versions": VERSIONS[: -_NEWEST - 1 : -1]})
    form = request.query.get("format", "json")
    if form not in ("json", "text"):
        return refusal(400, "format is json or text")
    found = find(grow(TABLE, call.asked, version), path)
    if found is None:
        return refusal(404, "there is no such document")
    return Answer(200, as_json(plain(found)), JSON) if form == "json" else Answer(200, _text(found).encode(), TEXT)


def refusal(status: int, why: str, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    """A refusal in the dialect's form."""
    return _refusal(status, {"error": f"{_NAMES.get(status, 'Refused')}: {why}"}, headers)


_NAMES = {400: "Bad request", 404: "Not found", 405: "Method not allowed"}


def _refusal(status: int, document: Value, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    return Answer(status, as_json(document), JSON, headers)


def _text(found: Value) -> str:
    if isinstance(found, Folder):
        return "\n".join(names(found))
    return found if isinstance(found, str) else as_json(found).decode()
