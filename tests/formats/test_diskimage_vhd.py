"""VHD of the real qemu-img, and hostile ones made from it."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from tests.diskimages import (
    changed,
    qemu_img,
    read,
    refusal,
    sum_vhd,
)


def footers(data: bytes, offset: int, value: bytes) -> bytes:
    """Change a field in both footers of a dynamic VHD, or the only one of a fixed one."""
    last = len(data) - 512
    edits = [(last + offset, value)] + ([(offset, value)] if data[:8] == b"conectix" else [])
    return changed(data, *edits, then=sum_vhd)


@pytest.mark.parametrize(
    ("offset", "value", "field"),
    [
        (60, struct.pack(">I", 4), "disk type"),
        (60, struct.pack(">I", 9), "disk type"),
        (60, struct.pack(">I", 2), "footer"),
        (48, struct.pack(">Q", 3 << 41), "virtual size"),
        (48, struct.pack(">Q", 1 << 36), "block table"),
        (48, struct.pack(">Q", 0), "virtual size"),
        (16, struct.pack(">Q", 0), "data offset"),
        (16, struct.pack(">Q", 0xFFFFFFFFFFFFFFFF), "dynamic disk header"),
    ],
)
def test_hostile_vhd_footers(image_bytes: dict[str, bytes], offset: int, value: bytes, field: str) -> None:
    assert refusal(footers(image_bytes["dynamic.vhd"], offset, value)).field == field


@pytest.mark.parametrize(
    ("offset", "value", "field"),
    [
        (16, struct.pack(">Q", 1 << 60), "block table"),
        (28, struct.pack(">I", 0xFFFFFFFF), "block table"),
        (28, struct.pack(">I", 1), "block table"),
        (32, struct.pack(">I", 0), "block size"),
        (32, struct.pack(">I", 3 << 20), "block size"),
        (40, b"\x01" * 16, "parent"),
        (64, "/etc/passwd".encode("utf-16-be"), "parent"),
        (576, b"W2ku", "parent"),
    ],
)
def test_hostile_vhd_headers(image_bytes: dict[str, bytes], offset: int, value: bytes, field: str) -> None:
    assert refusal(changed(image_bytes["dynamic.vhd"], (512 + offset, value), then=sum_vhd)).field == field


def test_vhd_blocks_lie_within_the_file(image_bytes: dict[str, bytes]) -> None:
    data = image_bytes["dynamic.vhd"]
    (table,) = struct.unpack_from(">Q", data, 512 + 16)
    assert refusal(changed(data, (table, struct.pack(">I", 0xFFFFFFFE)))).field == "last block"


def test_vhd_checksums_and_twins_are_checked(image_bytes: dict[str, bytes]) -> None:
    data = image_bytes["dynamic.vhd"]
    assert "checksum" in refusal(changed(data, (len(data) - 440, b"other"))).message
    assert refusal(changed(data, (24, b"\x01"), then=sum_vhd)).field == "footer"
    fixed = image_bytes["fixed.vhd"]
    assert refusal(changed(fixed, (0, fixed[-512:]))).field == "footer"
    assert refusal(footers(fixed, 48, struct.pack(">Q", 16 << 20))).field == "current size"


def test_vhd_sizes_are_those_qemu_reads(tmp_path: Path) -> None:
    """Without force_size the disk has the size of its geometry, which is rounded."""
    for size in ("1M", "777K", "130M"):
        qemu_img("create", "-q", "-f", "vpc", str(tmp_path / "a"), size)
        told = qemu_img("info", "-f", "vpc", "--output=json", str(tmp_path / "a"))
        assert f'"virtual-size": {read((tmp_path / "a").read_bytes()).virtual_bytes},' in told
