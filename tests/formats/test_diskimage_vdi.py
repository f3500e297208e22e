"""VDI of the real qemu-img, and hostile ones made from it."""

from __future__ import annotations

import struct

import pytest
from tests.diskimages import (
    changed,
    refusal,
)


@pytest.mark.parametrize(
    ("offset", "value", "field"),
    [
        (68, struct.pack("<I", 2), "version"),
        (76, struct.pack("<I", 4), "image type"),
        (76, struct.pack("<I", 77), "image type"),
        (340, struct.pack("<I", 0xFFFFFE00), "block map"),
        (340, struct.pack("<I", 513), "block map offset"),
        (344, struct.pack("<I", 513), "data offset"),
        (344, struct.pack("<I", 0xFFFFFE00), "allocated blocks"),
        (360, struct.pack("<I", 0), "sector size"),
        (368, struct.pack("<Q", 0), "virtual size"),
        (368, struct.pack("<Q", 0xFFFFFFFFFFFFFFFF), "block map"),
        (376, struct.pack("<I", 0), "block size"),
        (384, struct.pack("<I", 0xFFFFFFFF), "block count"),
        (384, struct.pack("<I", 0x3FFFFFFF), "block map"),
        (388, struct.pack("<I", 0xFFFFFFFF), "allocated blocks"),
        (424, b"\x01", "link UUID"),
        (440, b"\x01", "parent UUID"),
    ],
)
def test_hostile_vdi_fields(image_bytes: dict[str, bytes], offset: int, value: bytes, field: str) -> None:
    assert refusal(changed(image_bytes["dynamic.vdi"], (offset, value))).field == field
