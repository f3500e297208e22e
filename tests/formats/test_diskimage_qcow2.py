"""qcow2 of the real qemu-img, and hostile ones made from it."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from tests.diskimages import (
    changed,
    qemu_img,
    read,
    refusal,
)


def with_backing(image_bytes: dict[str, bytes], name: bytes) -> bytes:
    return changed(image_bytes["v3.qcow2"], (8, struct.pack(">QI", 0x300, len(name))), (0x300, name))


@pytest.mark.parametrize(
    "name",
    [
        b"/etc/passwd",
        b'json:{"driver":"nbd","host":"10.0.0.1"}',
        b"nbd://10.0.0.1/x",
        b"\x1b[2J\xff\x00",
        b"a" * 1023,
    ],
)
def test_qcow2_backing_files_are_named(image_bytes: dict[str, bytes], name: bytes) -> None:
    error = refusal(with_backing(image_bytes, name))
    assert error.field == "backing file"
    assert error.message.startswith("image names a backing file '")
    assert len(error.message) < 600


def test_qcow2_backing_file_of_the_real_qemu_img(tmp_path: Path) -> None:
    qemu_img("create", "-q", "-f", "qcow2", "-u", "-b", "/etc/passwd", "-F", "raw", str(tmp_path / "a"), "1M")
    assert refusal((tmp_path / "a").read_bytes()).message == "image names a backing file '/etc/passwd'"


def test_qcow2_external_data_file_of_the_real_qemu_img(tmp_path: Path) -> None:
    options = "data_file=other.raw,data_file_raw=on"
    qemu_img("create", "-q", "-f", "qcow2", "-o", options, "a", "1M", cwd=tmp_path)
    data = (tmp_path / "a").read_bytes()
    assert refusal(data).message == "image keeps its data in another file 'other.raw'"
    without_name = changed(data, (data.index(b"DATA\0\0\0\x09"), b"\0\0\0\0"))
    assert refusal(without_name).field == "external data file"
    without_bit = changed(data, (72, bytes(8)))
    assert refusal(without_bit).field == "external data file"


# qemu-img measures the processor before it makes a LUKS key, and fails on a busy one: the method is set by hand.
@pytest.mark.parametrize("method", [1, 2])
def test_qcow2_encryption_is_refused(tmp_path: Path, method: int) -> None:
    qemu_img("create", "-q", "-f", "qcow2", "a", "1M", cwd=tmp_path)
    encrypted = changed((tmp_path / "a").read_bytes(), (32, method.to_bytes(4, "big")))
    assert refusal(encrypted).message == "image is encrypted"


def test_qcow2_snapshots_are_counted_and_their_tables_checked(tmp_path: Path) -> None:
    image = tmp_path / "a"
    qemu_img("create", "-q", "-f", "qcow2", str(image), "1M")
    for name in ("one", "two"):
        qemu_img("snapshot", "-c", name, str(image))
    data = image.read_bytes()
    assert read(data).snapshots == 2
    (table,) = struct.unpack_from(">Q", data, 64)
    assert refusal(changed(data, (table + 8, b"\x7f\xff\xff\xff"))).field == "snapshot table"
    assert refusal(changed(data, (table, b"\x7f" * 8))).field == "L1 table of a snapshot"
    assert refusal(changed(data, (60, b"\xff\xff\xff\xff"))).field == "nb_snapshots"
    assert refusal(changed(data, (64, b"\xff" * 8))).field == "snapshot table"


@pytest.mark.parametrize(
    ("offset", "value", "field"),
    [
        (4, struct.pack(">I", 4), "version"),
        (20, struct.pack(">I", 8), "cluster_bits"),
        (20, struct.pack(">I", 63), "cluster_bits"),
        (24, struct.pack(">Q", 0), "virtual size"),
        (24, struct.pack(">Q", (64 << 40) + 512), "L1 table"),
        (24, struct.pack(">Q", 0xFFFFFFFFFFFFFFFF), "L1 table"),
        (36, struct.pack(">I", 0xFFFFFFFF), "L1 table"),
        (40, struct.pack(">Q", 0x30001), "L1 table"),
        (40, struct.pack(">Q", 0xFFFFFFFFFFFF0000), "L1 table"),
        (48, struct.pack(">Q", 0xFFFFFFFFFFFF0000), "refcount table"),
        (56, struct.pack(">I", 0xFFFFFFFF), "refcount table"),
        (72, struct.pack(">Q", 1 << 1), "incompatible_features"),
        (72, struct.pack(">Q", 1 << 2), "external data file"),
        (72, struct.pack(">Q", 1 << 63), "incompatible_features"),
        (96, struct.pack(">I", 7), "refcount_order"),
        (100, struct.pack(">I", 72), "header_length"),
        (100, struct.pack(">I", 0xFFFFFFFF), "header_length"),
        (112, struct.pack(">II", 0x6803F857, 0xFFFFFFFF), "header extension"),
    ],
)
def test_hostile_qcow2_fields(image_bytes: dict[str, bytes], offset: int, value: bytes, field: str) -> None:
    assert refusal(changed(image_bytes["v3.qcow2"], (offset, value))).field == field


def test_qcow2_with_endless_extensions_is_refused(image_bytes: dict[str, bytes]) -> None:
    data = changed(image_bytes["v3.qcow2"], (112, struct.pack(">II", 1, 0) * 1000))
    assert refusal(data).message == "image has too many header extensions"


def test_a_huge_qcow2_is_the_virtual_limits_matter(tmp_path: Path) -> None:
    qemu_img("create", "-q", "-f", "qcow2", "-o", "cluster_size=2M", str(tmp_path / "a"), "65T")
    assert refusal((tmp_path / "a").read_bytes()).field == "virtual size"
