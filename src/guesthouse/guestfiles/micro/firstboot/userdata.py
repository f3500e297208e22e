"""User-data and vendor-data: told apart by how they begin, decoded to a configuration and scripts.

Source: cloud-init's reference, "User data formats".
"""

from __future__ import annotations

import json

from .guest import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from email.message import Message
    from typing import Any

_GZIP_MAGIC = b"\x1f\x8b"
_LARGEST_BYTES = 16 << 20


class Parts:
    """What user-data amounts to: one configuration, scripts to run in order, and what is wrong with it."""

    def __init__(self) -> None:
        self.config: dict[str, Any] = {}
        self.scripts: list[bytes] = []
        self.problems: list[str] = []


def decode(data: bytes) -> Parts:
    """Take user-data apart; what is not understood is in `problems`, never lost."""
    parts = Parts()
    _add(parts, data)
    return parts


def _add(parts: Parts, data: bytes) -> None:
    try:
        data = _unpacked(data)
        if data.strip():
            _form_of(data)(parts, data)
    except Refused as problem:
        parts.problems.append(str(problem))


def _unpacked(data: bytes) -> bytes:
    if not data.startswith(_GZIP_MAGIC):
        return data
    import zlib  # most user-data is not packed

    unpacker = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacker.decompress(data, _LARGEST_BYTES)
    except zlib.error as error:
        raise Refused(f"damaged gzip data: {error}") from error
    if not unpacker.eof:
        raise Refused("gzip data that is cut off, or larger than 16 MiB unpacked")
    return unpacked


def _form_of(data: bytes) -> Callable[[Parts, bytes], None]:
    first_line = data.lstrip().split(b"\n", 1)[0].decode(errors="replace").strip()
    for beginning, form in _FORMS:
        if first_line.lower().startswith(beginning):
            return form
    known = ", ".join(beginning for beginning, form in _FORMS if form is not _refuse)
    raise Refused(f"begins with {first_line[:60]!r}, which is none of {known}")


def _cloud_config(parts: Parts, data: bytes) -> None:
    parts.config.update(mapping(data, "cloud-config"))


def _script(parts: Parts, data: bytes) -> None:
    parts.scripts.append(data)


def _multipart(parts: Parts, data: bytes) -> None:
    import email  # a heavy module; most user-data is not multipart

    for part in email.message_from_bytes(data).walk():
        if part.is_multipart():
            continue
        kind = part.get_content_type()
        if kind not in _MIME_TYPES:
            parts.problems.append(f"a part of type {kind} ({part.get_filename() or 'no name'})")
        else:
            _add(parts, _content(part))


def _content(part: Message) -> bytes:
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""


def _refuse(parts: Parts, data: bytes) -> None:
    first_line = data.lstrip().split(b"\n", 1)[0].decode(errors="replace").strip()
    raise Refused(f"{first_line!r} is not supported in the micro image")


# How data begins, in small letters, and who takes it. The order matters: the first match counts.
_FORMS: tuple[tuple[str, Callable[[Parts, bytes], None]], ...] = (
    ("#cloud-config-archive", _refuse),
    ("#cloud-config-jsonp", _refuse),
    ("#cloud-config", _cloud_config),
    ("#cloud-boothook", _refuse),
    ("#include", _refuse),
    ("#part-handler", _refuse),
    ("#upstart-job", _refuse),
    ("## template: jinja", _refuse),
    ("#!", _script),
    ("content-type: multipart/", _multipart),
    ("mime-version:", _multipart),
)
_MIME_TYPES = ("text/cloud-config", "text/x-shellscript", "text/plain", "application/x-gzip", "application/gzip")


def mapping(data: bytes, what: str) -> dict[str, Any]:
    """Read a YAML document that must be a mapping with text keys; an empty one is an empty mapping."""
    document = _document(data, what)
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise Refused(f"{what} must be a mapping, not {type(document).__name__}")
    return {str(key): value for key, value in document.items()}


def _document(data: bytes, what: str) -> Any:
    body = data.partition(b"\n")[2] if data.startswith(b"#") else data
    if not body.strip():
        return None
    try:
        # JSON is YAML too, and what the house itself writes: PyYAML is then not even imported.
        return json.loads(body)
    except (ValueError, RecursionError):
        pass
    import yaml

    try:
        return yaml.safe_load(data)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise Refused(f"{what} is not valid YAML: {said}") from error
