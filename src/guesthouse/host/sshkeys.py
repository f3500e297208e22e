"""Making SSH key pairs: ed25519, in OpenSSH's forms.

cryptography is imported when a key is made. A daemon that makes none does without its memory and its time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def make_pair() -> tuple[str, str]:
    """A new pair: the private key as a file has it, the public key as a line without a comment."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    return private.decode(), _line(key)


def public_half(private: bytes) -> str:
    """The public key, as a line, of a private key as a file has it."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = serialization.load_ssh_private_key(private, None)
    assert isinstance(key, Ed25519PrivateKey)
    return _line(key)


def _line(key: Ed25519PrivateKey) -> str:
    from cryptography.hazmat.primitives import serialization

    line = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return line.decode()
