"""EC2's dialect: sessions (IMDSv2), versions, listings.

Rules
-----
1. A session is a token from ``PUT /latest/api/token``. One that does not hold is refused, also where none is needed.
2. A folder is listed with or without a slash at its end, sorted, a line a name, without a newline at the end; folders
   in it end in a slash, but not those directly below a version. A document may be asked for with a slash, too.
3. What a machine has not is 404, as is a version that there never was.

Source: Amazon's "Use the Instance Metadata Service to access instance metadata".
"""

from __future__ import annotations

from guesthouse.doors.metadata.ec2_table import LATEST, TABLE, VERSIONS, document
from guesthouse.doors.metadata.identity import Identity, Signature
from guesthouse.doors.metadata.messages import OCTETS, READING, TEXT, Answer, Call
from guesthouse.doors.metadata.tokens import MAX_TTL_S, MIN_TTL_S
from guesthouse.doors.metadata.tree import Folder, Value, find, grow
from guesthouse.model.metadata import Asked

TOKEN_HEADER = "x-aws-ec2-metadata-token"  # noqa: S105 - the name of a header
TTL_HEADER = f"{TOKEN_HEADER}-ttl-seconds"
TOKEN_PATH = (LATEST, "api", "token")


def answer(call: Call) -> Answer:
    """The answer to a request in this dialect."""
    if call.request.parts == TOKEN_PATH:
        return _session(call)
    if call.request.method not in READING:
        return refusal(405, headers=(("Allow", ", ".join(READING)),))
    told = call.request.headers.get(TOKEN_HEADER)
    if told is None and not call.asked.options.tokens_required:
        return _document(call)
    left_s = call.tokens.left_s(told or "", call.asked.machine, call.now)
    return _document(call, ((TTL_HEADER, str(left_s)),)) if left_s else refusal(401)


def refusal(status: int, why: str = "", headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    """A refusal, with a line for people."""
    return Answer(status, f"{status} {why or _WHY[status]}\n".encode(), headers=headers)


_WHY = {
    400: f"say a whole number from {MIN_TTL_S} to {MAX_TTL_S} in {TTL_HEADER}",
    401: f"a token that holds is needed: PUT /latest/api/token, then send it as {TOKEN_HEADER}",
    404: "there is no such document",
    405: "not with this method",
}


def _session(call: Call) -> Answer:
    if call.request.method != "PUT":
        return refusal(405, headers=(("Allow", "PUT"),))
    ttl_s = _seconds(call.request.headers.get(TTL_HEADER, ""))
    if not MIN_TTL_S <= ttl_s <= MAX_TTL_S:
        return refusal(400)
    token = call.tokens.make(call.asked.machine, call.now, ttl_s)
    return Answer(200, token.encode(), headers=((TTL_HEADER, str(ttl_s)),))


def _seconds(text: str) -> int:
    """A whole number of seconds; 0 of what is none, or far too large."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(MAX_TTL_S)) else 0


def _document(call: Call, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    version, *path = call.request.parts or ("",)
    if not version:
        return Answer(200, "\n".join((*VERSIONS, LATEST)).encode(), headers=headers)
    if version != LATEST and version not in VERSIONS:
        return refusal(404, headers=headers)
    tree = _tree(call.asked, call.identity, version)
    found = find(tree, path)
    if found is None:
        return refusal(404, headers=headers)
    if isinstance(found, Folder):
        return Answer(200, _listing(found, bare=not path), headers=headers)
    media_type = OCTETS if isinstance(found, bytes) else TEXT
    return Answer(200, _bytes(found, call), media_type, headers)


def _tree(asked: Asked, identity: Identity | None, version: str) -> Folder:
    tree = grow(TABLE, asked, "" if version == LATEST else version)
    signed = find(tree, ("dynamic", "instance-identity"))
    if identity is None and isinstance(signed, Folder):
        signed.entries = {name: value for name, value in signed.entries.items() if not isinstance(value, Signature)}
    return tree


def _listing(folder: Folder, *, bare: bool) -> bytes:
    names = folder.entries if folder.labels else sorted(folder.entries)
    lines = (
        folder.labels.get(name) or (f"{name}/" if _is_folder(folder, name) and not bare else name) for name in names
    )
    return "\n".join(lines).encode()


def _is_folder(folder: Folder, name: str) -> bool:
    return isinstance(folder.entries[name], Folder)


def _bytes(found: Value, call: Call) -> bytes:
    if isinstance(found, Signature):
        assert call.identity is not None
        return call.identity.sign(found, document(call.asked).encode())
    return found if isinstance(found, bytes) else str(found).encode()
