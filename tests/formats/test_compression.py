"""Unpacking streams: whole, in odd pieces, several members, bombs, damage."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tracemalloc
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guesthouse.formats.compression import COMPRESSIONS, recognise, unpack
from guesthouse.model.errors import Invalid

PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "xz": lzma.compress, "bzip2": bz2.compress}
ROWS = {row.name: row for row in COMPRESSIONS}


def unpacked(name: str, packed: bytes, chunk_bytes: int = 65536, limit_bytes: int = 1 << 30) -> bytes:
    return b"".join(unpack(ROWS[name], chunks(packed, chunk_bytes), name="disk", limit_bytes=limit_bytes))


def chunks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


@pytest.mark.parametrize("name", PACK)
@given(data=st.binary(max_size=3000), repeat=st.integers(1, 2000), chunk_bytes=st.sampled_from([1, 7, 4096, 1 << 20]))
@settings(max_examples=40)
def test_what_went_in_comes_out(name: str, data: bytes, repeat: int, chunk_bytes: int) -> None:
    content = data * repeat
    packed = PACK[name](content)
    assert recognise(packed) is ROWS[name]
    if len(packed) // chunk_bytes < 20_000:
        assert unpacked(name, packed, chunk_bytes) == content


@pytest.mark.parametrize("name", PACK)
def test_members_in_a_row_are_one_file_and_zeros_behind_are_padding(name: str) -> None:
    packed = PACK[name](b"one") + PACK[name](b"two")
    for chunk_bytes in (1, 10, 1000):
        assert unpacked(name, packed + bytes(700), chunk_bytes) == b"onetwo"


@pytest.mark.parametrize("name", PACK)
def test_a_bomb_stops_at_the_limit_and_takes_no_memory(name: str) -> None:
    bomb = PACK[name](bytes(256 << 20))
    assert len(bomb) < 1 << 20
    tracemalloc.start()
    came = 0
    with pytest.raises(Invalid, match="disk unpacks to more than 50000000 bytes"):
        for piece in unpack(ROWS[name], [bomb], name="disk", limit_bytes=50_000_000):
            came += len(piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert came <= 50_000_000
    assert peak < 32 << 20


@pytest.mark.parametrize("name", PACK)
def test_data_that_ends_early_or_is_damaged_is_refused(name: str) -> None:
    packed = PACK[name](os.urandom(100_000))
    for length in (0, 5, 1000, len(packed) - 1):
        with pytest.raises(Invalid, match="truncated"):
            unpacked(name, packed[:length])
    damaged = packed[:50_000] + bytes(1000) + packed[51_000:]
    with pytest.raises(Invalid, match=r"damaged|truncated"):
        unpacked(name, damaged)
    with pytest.raises(Invalid, match=r"damaged|truncated"):
        unpacked(name, packed + PACK[name](b"more")[:-2])


def test_zstd_is_recognised_and_left_to_its_program() -> None:
    zstd = recognise(b"\x28\xb5\x2f\xfd....")
    assert zstd is ROWS["zstd"]
    assert zstd.member is None
    assert recognise(b"QFI\xfb") is None
