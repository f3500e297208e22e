"""Session tokens of EC2's dialect (IMDSv2): nothing is stored, every daemon of the house knows its own.

Rules
-----
1. A token is the second in which it ends and a MAC (HMAC-SHA-256) over that and the machine's id: whoever takes it to
   another machine has nothing.
2. It is compared in constant time.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct

MIN_TTL_S, MAX_TTL_S = 1, 21600
MIN_SECRET_BYTES = 32
_ENDS = struct.Struct(">Q")
_LABEL = b"guesthouse metadata session\0"
_TOKEN_BYTES = _ENDS.size + hashlib.sha256().digest_size


class Tokens:
    """Makes and knows tokens; `secret` is the house's, and the same in all of its daemons."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) < MIN_SECRET_BYTES:
            raise ValueError(f"a secret of {len(secret)} bytes is too short")
        self._secret = secret

    def make(self, machine: str, now: float, ttl_s: int) -> str:
        """A token for the machine that ends `ttl_s` seconds from now: 56 characters."""
        ends = _ENDS.pack(int(now) + ttl_s)
        return base64.urlsafe_b64encode(ends + self._mac(machine, ends)).decode()

    def left_s(self, token: str, machine: str, now: float) -> int:
        """For how many seconds the token still holds for this machine; 0 where it does not."""
        try:
            raw = base64.b64decode(token, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return 0
        ends, mac = raw[: _ENDS.size], raw[_ENDS.size :]
        if len(raw) != _TOKEN_BYTES or not hmac.compare_digest(mac, self._mac(machine, ends)):
            return 0
        (end_s,) = _ENDS.unpack(ends)
        return max(0, int(end_s) - int(now))

    def _mac(self, machine: str, ends: bytes) -> bytes:
        return hmac.digest(self._secret, _LABEL + machine.encode() + b"\0" + ends, "sha256")
