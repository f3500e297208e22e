"""Checksums as people write them."""

from __future__ import annotations

import hashlib

import pytest

from guesthouse.formats.checksum import Checksum, Hasher, parse, verify
from guesthouse.model.errors import Invalid

SHA256 = hashlib.sha256(b"hello").hexdigest()
SHA512 = hashlib.sha512(b"hello").hexdigest()


def test_the_number_of_digits_tells_the_algorithm() -> None:
    assert parse(f" {SHA256.upper()}\n") == parse(f"sha256:{SHA256}") == Checksum("sha256", SHA256)
    assert parse(SHA512) == parse(f"SHA512:{SHA512}") == Checksum("sha512", SHA512)
    assert str(parse(SHA256)) == f"sha256:{SHA256}"


@pytest.mark.parametrize("text", ["", "sha256:", "md5:" + "0" * 32, "0" * 63, "g" * 64, "sha512:" + "0" * 64, ":"])
def test_what_is_no_checksum_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse(text)
    assert caught.value.field == "checksum"


def test_a_wrong_sum_shows_both() -> None:
    expected = parse(SHA512)
    hasher = Hasher(expected)
    hasher.update(b"hel")
    with pytest.raises(Invalid) as caught:
        verify("disk.img", hasher.checksum("sha512"), expected)
    assert SHA512 in caught.value.message
    assert hashlib.sha512(b"hel").hexdigest() in caught.value.message
    hasher.update(b"lo")
    verify("disk.img", hasher.checksum("sha512"), expected)
    assert hasher.checksum() == parse(SHA256)
