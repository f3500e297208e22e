"""VMDK of the real qemu-img, and hostile ones made from it."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from tests.diskimages import (
    changed,
    qemu_img,
    refusal,
)


def test_vmdk_text_descriptor_is_refused_by_its_extent(tmp_path: Path) -> None:
    for subformat in ("monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"):
        qemu_img("create", "-q", "-f", "vmdk", "-o", f"subformat={subformat}", "a.vmdk", "1M", cwd=tmp_path)
        error = refusal((tmp_path / "a.vmdk").read_bytes())
        assert error.field == "extent"
        assert str(error.value).startswith("'a-")


def descriptor(data: bytes, old: bytes, new: bytes) -> bytes:
    """Edit the text inside, which has room to its end at byte 20 * 512."""
    text = data[512:10752].rstrip(b"\0")
    assert old in text
    return data[:512] + text.replace(old, new, 1).ljust(10240, b"\0")[:10240] + data[10752:]


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        (b'"sparse.vmdk"', b'"/etc/passwd"', "extent"),
        (b'"sparse.vmdk"', b'"..\\\\up.vmdk"', "extent"),
        (b'"sparse.vmdk"', b'"nbd:10.0.0.1:99"', "extent"),
        (b"SPARSE", b"FLAT", "extent"),
        (b"SPARSE", b"VMFS", "extent"),
        (b'"sparse.vmdk"', b'"sparse.vmdk"\nRW 16 SPARSE "second.vmdk"', "extent"),
        (b"monolithicSparse", b"monolithicFlat", "createType"),
        (b"createType", b"creatingType", "createType"),
        (b"parentCID=ffffffff", b"parentCID=12345678", "parentFileNameHint"),
        (b"parentCID=ffffffff", b'parentCID=ffffffff\nparentFileNameHint="/etc/passwd"', "parentFileNameHint"),
        (b"RW 16384 SPARSE", b"## 16384 SPARSE", "extent"),
    ],
)
def test_hostile_vmdk_descriptors(image_bytes: dict[str, bytes], old: bytes, new: bytes, field: str) -> None:
    assert refusal(descriptor(image_bytes["sparse.vmdk"], old, new)).field == field


def test_vmdk_with_a_parent_of_the_real_qemu_img(tmp_path: Path) -> None:
    qemu_img("create", "-q", "-f", "vmdk", "base.vmdk", "1M", cwd=tmp_path)
    qemu_img("create", "-q", "-f", "vmdk", "-b", "base.vmdk", "-F", "vmdk", "a.vmdk", cwd=tmp_path)
    assert refusal((tmp_path / "a.vmdk").read_bytes()).message == "image names a parent 'base.vmdk'"


@pytest.mark.parametrize(
    ("offset", "value", "field"),
    [
        (4, struct.pack("<I", 4), "version"),
        (12, struct.pack("<Q", 0), "capacity"),
        (12, struct.pack("<Q", 0xFFFFFFFFFFFFFFFF), "grain directory"),
        (20, struct.pack("<Q", 0), "grain size"),
        (20, struct.pack("<Q", 127), "grain size"),
        (20, struct.pack("<Q", 1 << 40), "grain size"),
        (28, struct.pack("<Q", 0), "descriptor"),
        (28, struct.pack("<Q", 1 << 60), "descriptor"),
        (36, struct.pack("<Q", 1 << 60), "descriptor"),
        (44, struct.pack("<I", 0), "grain table size"),
        (44, struct.pack("<I", 0xFFFFFFFF), "grain table size"),
        (56, struct.pack("<Q", 1 << 50), "grain directory"),
        (56, struct.pack("<Q", 0xFFFFFFFFFFFFFFFF), "footer"),
        (64, struct.pack("<Q", 1 << 50), "overhead"),
        (77, struct.pack("<H", 2), "compression"),
    ],
)
def test_hostile_vmdk_fields(image_bytes: dict[str, bytes], offset: int, value: bytes, field: str) -> None:
    assert refusal(changed(image_bytes["sparse.vmdk"], (offset, value))).field == field
