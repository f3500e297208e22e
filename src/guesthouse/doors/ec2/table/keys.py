"""Rows of key pairs."""

from __future__ import annotations

from guesthouse.doors.ec2 import keys
from guesthouse.doors.ec2.listing import Listing, Named
from guesthouse.doors.ec2.rows import Row, see

_PAIRS = Listing(
    member="KeyPairs",
    nouns=keys.NOUNS,
    items=keys.key_pairs,
    named=(
        Named("KeyPairIds", "KeyPairId", "InvalidKeyPair.NotFound", "key pair ID"),
        Named("KeyNames", "KeyName", "InvalidKeyPair.NotFound", "key pair"),
    ),
    finish=keys.with_public,
)

ROWS = (
    Row("CreateKeyPair", "Make a key pair; its private half is told once", keys.create,
        takes="KeyName KeyType KeyFormat", tags=(keys.KIND,)),
    Row("ImportKeyPair", "Take the public half of a key pair", keys.import_, takes="KeyName PublicKeyMaterial",
        tags=(keys.KIND,)),
    see("DescribeKeyPairs", "List key pairs", _PAIRS, takes="IncludePublicKey"),
    Row("DeleteKeyPair", "Delete a key pair; machines that have it keep it", keys.delete, takes="KeyName KeyPairId"),
)  # fmt: skip
