"""VHDX of the real qemu-img, and hostile ones made from it."""

from __future__ import annotations

import struct

import pytest
from tests.diskimages import (
    KIB,
    changed,
    read,
    refusal,
    sum_vhdx,
)

from guesthouse.formats.diskimage.crc32c import crc32c


def metadata_item(data: bytes, prefix: str) -> tuple[int, int]:
    """Where the entry of a metadata item is, and where its value: found by the start of its GUID."""
    region = next(
        struct.unpack_from("<Q", data, at + 16)[0]
        for at in range(192 * KIB + 16, 192 * KIB + 16 + 64, 32)
        if data[at : at + 4] == struct.pack("<I", 0x8B7CA206)
    )
    entry = data.index(struct.pack("<I", int(prefix, 16)), region)
    return entry, region + struct.unpack_from("<I", data, entry + 16)[0]


def both_headers(data: bytes, offset: int, value: bytes) -> bytes:
    return changed(data, (64 * KIB + offset, value), (128 * KIB + offset, value), then=sum_vhdx)


def test_crc32c_is_that_of_rfc_3720() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA


def test_hostile_vhdx_headers(image_bytes: dict[str, bytes]) -> None:
    data = image_bytes["disk.vhdx"]
    assert read(both_headers(data, 0, b"head"))
    assert refusal(both_headers(data, 48, b"\x01" * 16)).field == "log"
    assert refusal(both_headers(data, 66, b"\x02\x00")).field == "version"
    assert refusal(both_headers(data, 72, b"\xff" * 8)).field == "log"
    assert refusal(both_headers(data, 0, b"dead")).field == "header"
    assert refusal(changed(data, (64 * KIB + 9, b"z"), (128 * KIB + 9, b"z"))).field == "header"
    one_damaged = changed(data, (64 * KIB + 9, b"z"))
    assert read(one_damaged)


def test_the_newer_vhdx_header_counts(image_bytes: dict[str, bytes]) -> None:
    newest = (128 * KIB + 8, struct.pack("<Q", 1 << 60))
    dirty = (128 * KIB + 48, b"\x01" * 16)
    assert refusal(changed(image_bytes["disk.vhdx"], newest, dirty, then=sum_vhdx)).field == "log"


@pytest.mark.parametrize(
    ("offset", "value", "field"),
    [
        (8, struct.pack("<I", 2048), "region table"),
        (8, struct.pack("<I", 1), "region table"),
        (16, bytes(16), "region table"),
        (16, bytes(28) + b"\x01", "region"),
        (32, struct.pack("<Q", 0), "region"),
        (32, struct.pack("<Q", (1 << 20) + 1), "region"),
        (32, struct.pack("<Q", 1 << 60), "region"),
        (40, struct.pack("<I", 0xFFF00000), "region"),
    ],
)
def test_hostile_vhdx_regions(image_bytes: dict[str, bytes], offset: int, value: bytes, field: str) -> None:
    data = changed(image_bytes["disk.vhdx"], (192 * KIB + offset, value), then=sum_vhdx)
    assert refusal(data).field == field


@pytest.mark.parametrize(
    ("item", "offset", "value", "field"),
    [
        ("caa16737", 4, struct.pack("<I", 2), "parent locator"),
        ("caa16737", 0, struct.pack("<I", 0), "block size"),
        ("caa16737", 0, struct.pack("<I", 3 << 20), "block size"),
        ("caa16737", 0, struct.pack("<I", 1 << 29), "block size"),
        ("2fa54224", 0, struct.pack("<Q", 65 << 40), "virtual size"),
        ("2fa54224", 0, struct.pack("<Q", 63 << 40), "block table"),
        ("2fa54224", 0, struct.pack("<Q", 511), "virtual size"),
        ("8141bf1d", 0, struct.pack("<I", 0), "logical sector size"),
    ],
)
def test_hostile_vhdx_metadata(image_bytes: dict[str, bytes], item: str, offset: int, value: bytes, field: str) -> None:
    _, at = metadata_item(image_bytes["disk.vhdx"], item)
    assert refusal(changed(image_bytes["disk.vhdx"], (at + offset, value))).field == field


def test_hostile_vhdx_metadata_entries(image_bytes: dict[str, bytes]) -> None:
    data = image_bytes["disk.vhdx"]
    entry, _ = metadata_item(data, "2fa54224")
    assert refusal(changed(data, (entry, bytes(16)))).field == "metadata"
    assert refusal(changed(data, (entry + 16, struct.pack("<I", 0xFFFFFFFF)))).field == "metadata"
    assert refusal(changed(data, (entry + 20, struct.pack("<I", 0xFFFFFFFF)))).field == "metadata"


def test_the_parent_of_a_vhdx_is_named(image_bytes: dict[str, bytes]) -> None:
    data = image_bytes["disk.vhdx"]
    entry, at = metadata_item(data, "beca12ab")
    locator = bytes.fromhex("2d5fd3a80bb34d45abf7d3d84834ab0c")
    key, value = "relative_path".encode("utf-16-le"), "C:\\base.vhdx".encode("utf-16-le")
    keys_at = 20 + 12
    body = struct.pack("<16s2xHIIHH", bytes(16), 1, keys_at, keys_at + len(key), len(key), len(value)) + key + value
    data = changed(data, (entry, locator), (entry + 20, struct.pack("<I", len(body))), (at, body))
    assert refusal(data).message == "image names a parent 'C:\\\\base.vhdx'"
