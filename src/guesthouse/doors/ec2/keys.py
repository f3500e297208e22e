"""Key pairs: SSH keys of the project that are given to those machines alone that name them.

Source: Amazon EC2 User Guide, "Verify the fingerprint of your key pair".
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from guesthouse.doors.ec2.rows import DOOR, Call, tag_set
from guesthouse.engine import intents
from guesthouse.engine.door_intents import Forget, Piece
from guesthouse.engine.stock import Stock
from guesthouse.formats.awsquery.fault import Fault
from guesthouse.formats.cloudids import ec2_id
from guesthouse.model.resources import Key

KIND = "key-pair"
NOUNS = ("keys", "door_records", "tags")
_TYPES = {"ssh-rsa": "rsa", "ssh-ed25519": "ed25519"}
_RSA_BITS = 2048


def key_pairs(stock: Stock) -> Iterable[dict[str, Any]]:
    """The project's SSH keys as key pairs."""
    return [key_pair(stock, key) for key in stock.keys.values()]


def key_pair(stock: Stock, key: Key) -> dict[str, Any]:
    """One SSH key."""
    kept = next((record.document for record in stock.records_of.get(key.id, ()) if record.kind == KIND), {})
    return {
        "KeyPairId": ec2_id("key", key.id),
        "KeyType": _type(key.public),
        "KeyName": key.name,
        "KeyFingerprint": kept.get("fingerprint") or fingerprint(key.public),
        "CreateTime": key.created_at,
        "Tags": tag_set(stock.tags.get(key.id, {})),
    }


def with_public(
    stock: Stock, items: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any]
) -> Sequence[Mapping[str, Any]]:
    """Key pairs with their public halves, where those are asked for."""
    if not arguments.get("IncludePublicKey"):
        return items
    public = {ec2_id("key", key.id): key.public for key in stock.keys.values()}
    return [{**item, "PublicKey": public[item["KeyPairId"]]} for item in items]


async def create(call: Call) -> Mapping[str, Any]:
    """Make a pair; the private half is told once and kept nowhere."""
    kind, form = call["KeyType"] or "rsa", call["KeyFormat"] or "pem"
    if form != "pem":
        raise Fault("UnsupportedOperation", "The parameter KeyFormat can only be pem here")
    material, public, print_ = await asyncio.to_thread(_make, kind)
    id = await _add(call, public, print_)
    return {
        "KeyName": call["KeyName"],
        "KeyPairId": ec2_id("key", id),
        "KeyFingerprint": print_,
        "KeyMaterial": material,
        "Tags": tag_set(call.tags(KIND)),
    }


async def import_(call: Call) -> Mapping[str, Any]:
    """Take the public half of a pair."""
    try:
        public = call["PublicKeyMaterial"].decode().strip()
    except UnicodeDecodeError:
        raise Fault("InvalidKey.Format", "Key is not in valid OpenSSH public key format") from None
    if not public.startswith(tuple(_TYPES)):
        raise Fault("InvalidKey.Format", "Key is not in valid OpenSSH public key format")
    print_ = fingerprint(public)
    id = await _add(call, public, print_)
    return {
        "KeyName": call["KeyName"],
        "KeyPairId": ec2_id("key", id),
        "KeyFingerprint": print_,
        "Tags": tag_set(call.tags(KIND)),
    }


async def delete(call: Call) -> Mapping[str, Any]:
    """Delete a key pair by its name or id; there is none is as good, as with EC2."""
    name, id = call["KeyName"], call["KeyPairId"]
    if name is None and id is None:
        raise Fault("MissingParameter", "The request must contain the parameter KeyName or KeyPairId")
    stock = await call.stock(*NOUNS)
    for key in stock.keys.values():
        if key.name == name or ec2_id("key", key.id) == id:
            records = [record for record in stock.records_of.get(key.id, ()) if record.door == DOOR]
            await call.do(intents.KeyDelete(key=key.id), *(Forget(record=record.id) for record in records))
            return {"Return": True, "KeyPairId": ec2_id("key", key.id)}
    return {"Return": True}


async def _add(call: Call, public: str, print_: str) -> str:
    piece = Piece(
        intent=intents.KeyAdd(name=call["KeyName"], public=public, on_request=True),
        kind=KIND,
        document={"fingerprint": print_},
        tags=call.tags(KIND),
    )
    (id,) = await call.make(piece)
    return id


def _type(public: str) -> str:
    return _TYPES.get(public.split()[0], public.split()[0])


def fingerprint(public: str) -> str:
    """As EC2 makes it of a public key: SHA-256 for ED25519, MD5 of the DER form for RSA."""
    if not public.startswith("ssh-rsa"):
        blob = base64.b64decode(public.split()[1])
        return base64.b64encode(hashlib.sha256(blob).digest()).decode()
    # Imported here and below: it costs 9 MB, and few requests need it.
    from cryptography.hazmat.primitives import serialization

    try:
        key = serialization.load_ssh_public_key(public.encode())
    except ValueError:
        raise Fault("InvalidKey.Format", "Key is not in valid OpenSSH public key format") from None
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return _colons(hashlib.md5(key.public_bytes(serialization.Encoding.DER, form), usedforsecurity=False).hexdigest())


def _make(kind: str) -> tuple[str, str, str]:
    """A new pair: the private half in PEM, the public one as OpenSSH has it, the fingerprint."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

    key: Any = ed25519.Ed25519PrivateKey.generate() if kind == "ed25519" else rsa.generate_private_key(65537, _RSA_BITS)
    no_password = serialization.NoEncryption()
    form = serialization.PrivateFormat.OpenSSH if kind == "ed25519" else serialization.PrivateFormat.TraditionalOpenSSL
    material = key.private_bytes(serialization.Encoding.PEM, form, no_password).decode()
    openssh = serialization.PublicFormat.OpenSSH
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, openssh).decode()
    if kind == "ed25519":
        return material, public, fingerprint(public)
    der = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, no_password)
    return material, public, _colons(hashlib.sha1(der, usedforsecurity=False).hexdigest())


def _colons(digits: str) -> str:
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))
