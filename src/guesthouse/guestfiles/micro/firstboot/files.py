"""write_files: content, encoding, permissions, owner, append.

Source: cloud-init's reference of the module "Write Files".
"""

from __future__ import annotations

import binascii

from .guest import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .accounts import Accounts
    from .guest import Guest

_KEYS = {"path", "content", "encoding", "permissions", "owner", "append", "defer"}


def write_file(guest: Guest, accounts: Accounts, entry: Any) -> None:
    """Write one entry of `write_files`. Raises `Refused` naming the path and what is wrong."""
    path = entry.get("path") if isinstance(entry, dict) else None
    if not isinstance(path, str) or not path.startswith("/"):
        raise Refused(f"path: an absolute path is expected, not {path!r}")
    unknown = sorted(set(map(str, entry)) - _KEYS)
    if unknown:
        raise Refused(f"{path}: {', '.join(unknown)} is not known; known are {', '.join(sorted(_KEYS))}")
    try:
        guest.write(
            path,
            _decoded(entry.get("content"), entry.get("encoding")),
            _permissions(entry.get("permissions")),
            _owner(accounts, entry.get("owner")),
            bool(entry.get("append")),
        )
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error
    except Refused as problem:
        raise Refused(f"{path}: {problem}") from problem


def _base64(data: bytes) -> bytes:
    try:
        return binascii.a2b_base64(b"".join(data.split()), strict_mode=True)
    except binascii.Error as error:
        raise Refused(f"content is not base64: {error}") from error


def _gzip(data: bytes) -> bytes:
    import zlib

    try:
        return zlib.decompress(data, wbits=31)
    except zlib.error as error:
        raise Refused(f"content is not gzip: {error}") from error


def _base64_gzip(data: bytes) -> bytes:
    return _gzip(_base64(data))


_ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "text/plain": lambda data: data,
    "b64": _base64,
    "base64": _base64,
    "gz": _gzip,
    "gzip": _gzip,
    "gz+b64": _base64_gzip,
    "gz+base64": _base64_gzip,
    "gzip+b64": _base64_gzip,
    "gzip+base64": _base64_gzip,
}


def _decoded(content: Any, encoding: Any) -> bytes:
    data = content if isinstance(content, bytes) else str("" if content is None else content).encode()
    name = str(encoding or "text/plain").lower()
    if name not in _ENCODINGS:
        raise Refused(f"encoding {encoding!r} is not known; known are {', '.join(_ENCODINGS)}")
    return _ENCODINGS[name](data)


def _permissions(permissions: Any) -> int:
    if permissions is None:
        return 0o644
    try:
        # YAML reads 0644 as octal itself; quoted it is a text.
        number = permissions if isinstance(permissions, int) else int(str(permissions), 8)
    except ValueError as error:
        raise Refused(f"permissions {permissions!r} are not octal digits") from error
    if not 0 <= number <= 0o7777:
        raise Refused(f"permissions {permissions!r} are not between 0 and 7777")
    return number


def _owner(accounts: Accounts, owner: Any) -> tuple[int, int] | None:
    if not owner:
        return None
    user, _, group = str(owner).partition(":")
    user_id, group_id = accounts.owner(user)
    return user_id, accounts.group_id(group) if group else group_id
