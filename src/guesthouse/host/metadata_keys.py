"""What the metadata service keeps secret, made once and kept in the house.

Rules
-----
1. The secret of sessions and the key of identities are readable by the daemon's user only, from their first byte on.
2. Nobody but the house vouches for the certificate (self-signed, X.509 version 3, RFC 5280). It is of use to whoever
   has it from the house's operator.
3. Who removes the files ends all sessions, and gets another key.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from guesthouse.host.durable import write_whole

_SECRET_BYTES = 32
_KEY_BITS = 2048
_LIFETIME = timedelta(days=3650)
_CLOCK_SKEW = timedelta(hours=1)


class IdentityKey(NamedTuple):
    """Certificate and private key of identities, both PEM."""

    certificate: bytes
    key: bytes


def session_secret(folder: Path) -> bytes:
    """The secret of sessions in `folder`, made if there is none."""
    secret = folder / "secret"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not secret.exists():
        write_whole(secret, secrets.token_bytes(_SECRET_BYTES))
    return secret.read_bytes()


def identity_key(folder: Path, now: datetime) -> IdentityKey:
    """The key in `folder` that signs identities, made if there is none; that takes a moment."""
    certificate, key = folder / "identity.pem", folder / "identity.key"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not certificate.exists():
        made, made_key = _make(now)
        write_whole(key, made_key)
        write_whole(certificate, made)
    return IdentityKey(certificate.read_bytes(), key.read_bytes())


def _make(now: datetime) -> tuple[bytes, bytes]:
    """A certificate for RSA of 2048 bits, as EC2's, and its key."""
    # Imported here: it costs 9 MB, and once there are keys it is not needed for them.
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "guesthouse machine identities")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(serialization.Encoding.PEM), pem
