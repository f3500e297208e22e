"""Signatures of the house on what it says a machine is (EC2's instance identity).

Rules
-----
1. The signatures are real: RSA of 2048 bits and SHA-256, by a key of the house, with a certificate that nobody but the
   house vouches for. Who relies on them must have that certificate from the house's operator, not from the guest.
2. A house without such a key has no signatures, and the paths are not there.
3. A signature costs a millisecond of processor time: those made last are kept, so that a guest that asks without end
   has one made once.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

_KEPT = 4096


class Signature(Enum):
    """How the document is signed: the bare signature (PKCS #1), or document and signature together (PKCS #7)."""

    BARE = "signature"
    WHOLE = "pkcs7"


class Identity:
    """A key of the house. `read` gives its certificate and itself, both PEM, when it is first used."""

    def __init__(self, read: Callable[[], tuple[bytes, bytes]]) -> None:
        self._read = read
        self.sign = lru_cache(_KEPT)(self._sign)

    @cached_property
    def _loaded(self) -> tuple[x509.Certificate, RSAPrivateKey]:
        # Imported here: it costs 9 MB, and not every house signs.
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        certificate, key = self._read()
        loaded = load_pem_private_key(key, None)
        if not isinstance(loaded, RSAPrivateKey):
            raise ValueError("the key that signs identities is no RSA key")
        return x509.load_pem_x509_certificate(certificate), loaded

    def _sign(self, how: Signature, document: bytes) -> bytes:
        """The signature in base64, in lines of 64 characters, as EC2 gives it."""
        raw = self._bare(document) if how is Signature.BARE else self._whole(document)
        text = base64.b64encode(raw)
        return b"\n".join(text[start : start + 64] for start in range(0, len(text), 64))

    def _bare(self, document: bytes) -> bytes:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding

        return self._loaded[1].sign(document, padding.PKCS1v15(), hashes.SHA256())

    def _whole(self, document: bytes) -> bytes:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

        builder = pkcs7.PKCS7SignatureBuilder().set_data(document)
        signed = builder.add_signer(*self._loaded, hashes.SHA256())
        return signed.sign(Encoding.DER, [pkcs7.PKCS7Options.Binary])


def utc(seconds: float) -> str:
    """A time as the identity documents write it: ``2030-01-31T12:00:00Z``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
