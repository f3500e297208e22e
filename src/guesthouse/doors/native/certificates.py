"""The certificate of the TCP entrance: the operator's own, or one that the house makes for itself.

Rules
-----
1. A certificate of the house is self-signed and known by its fingerprint, which clients pin; no authority vouches.
2. The private key is readable by the daemon's user only, from its first byte on.
"""

from __future__ import annotations

import hashlib
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from guesthouse.model.errors import Invalid

if TYPE_CHECKING:
    from cryptography import x509

_LIFETIME = timedelta(days=3650)
_CLOCK_SKEW = timedelta(hours=1)


@dataclass(frozen=True)
class Certificate:
    """Paths of a certificate chain and its private key, both PEM."""

    chain: Path
    key: Path

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the first certificate in DER, as hexadecimal digits."""
        try:
            der = ssl.PEM_cert_to_DER_cert(self.chain.read_text().strip())
        except (OSError, ValueError) as error:
            raise Invalid(
                f"{self.chain} is not a PEM certificate: {error}", field="certificate", value=str(self.chain)
            ) from error
        return hashlib.sha256(der).hexdigest()

    def check(self) -> None:
        """Raise `Invalid` unless both can be read and belong together."""
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.chain, self.key)
        except OSError as error:  # ssl.SSLError is one
            raise Invalid(
                f"{self.chain} and {self.key} are no certificate and its key: {error}",
                field="certificate",
                value=str(self.chain),
                hint="both are PEM files; the key has no passphrase",
            ) from error


def ensure(folder: Path, names: Sequence[str]) -> Certificate:
    """The house's own certificate in `folder`, made for these host names and addresses if there is none."""
    certificate = Certificate(folder / "certificate.pem", folder / "key.pem")
    if not certificate.chain.exists():
        chain, key = _make(names, datetime.now(UTC))
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(certificate.key, key)
        _write(certificate.chain, chain)
    return certificate


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all; mode 0600."""
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _make(names: Sequence[str], now: datetime) -> tuple[bytes, bytes]:
    """A self-signed certificate (X.509 version 3, RFC 5280) for P-256, and its key."""
    # Imported here: it costs 9 MB, and most houses listen on their socket only.
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "guesthouse")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(serialization.Encoding.PEM), pem


def _general_name(name: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
