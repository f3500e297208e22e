"""Disk images for the tests of their readers: made by the real qemu-img, small, with a recognisable content."""

from __future__ import annotations

import json
import os
import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

from guesthouse.formats.diskimage import Facts, read_facts
from guesthouse.formats.diskimage.crc32c import crc32c
from guesthouse.model.errors import Invalid

VIRTUAL_BYTES = 8 << 20
KIB, MIB = 1 << 10, 1 << 20


class Made(NamedTuple):
    """A row: how qemu-img makes the image, and the format and variant that the reader must find in it."""

    driver: str
    options: str
    format: str
    variant: str = ""


MADE: dict[str, Made] = {
    "v3.qcow2": Made("qcow2", "compat=1.1", "qcow2"),
    "v2.qcow2": Made("qcow2", "compat=0.10", "qcow2"),
    "small-clusters.qcow2": Made("qcow2", "cluster_size=512", "qcow2"),
    "zstd.qcow2": Made("qcow2", "compression_type=zstd,cluster_size=2M", "qcow2"),
    "extended.qcow2": Made("qcow2", "extended_l2=on", "qcow2"),
    "disk.raw": Made("raw", "", "raw", "mbr"),
    "sparse.vmdk": Made("vmdk", "subformat=monolithicSparse", "vmdk", "monolithicSparse"),
    "stream.vmdk": Made("vmdk", "subformat=streamOptimized", "vmdk", "streamOptimized"),
    "footer.vmdk": Made("vmdk", "subformat=streamOptimized", "vmdk", "streamOptimized"),
    "fixed.vhd": Made("vpc", "subformat=fixed,force_size=on", "vhd", "fixed"),
    "dynamic.vhd": Made("vpc", "subformat=dynamic,force_size=on", "vhd", "dynamic"),
    "disk.vhdx": Made("vhdx", "", "vhdx", "dynamic"),
    "fixed.vhdx": Made("vhdx", "subformat=fixed", "vhdx", "dynamic"),
    "dynamic.vdi": Made("vdi", "", "vdi", "dynamic"),
    "fixed.vdi": Made("vdi", "static=on", "vdi", "fixed"),
}


@dataclass(frozen=True)
class Bytes:
    """A reader over bytes that notes whether anything was asked for beyond its end."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def read_at(self, offset: int, length: int) -> bytes:
        assert offset >= 0
        assert 0 <= length <= 32 << 20
        return self.data[offset : offset + length]


def content() -> bytes:
    """A disk of 8 MiB with a partition table, some data at both ends and a hole in the middle."""
    disk = bytearray(VIRTUAL_BYTES)
    disk[446:462] = bytes((0x80, 0, 2, 0, 0x83, 0, 0, 0, 8, 0, 0, 0, 0, 0x30, 0, 0))
    disk[510:512] = b"\x55\xaa"
    disk[1 << 20 : (1 << 20) + 200_000] = bytes(range(250)) * 800
    disk[-4096:] = b"the last page..." * 256
    return bytes(disk)


def make_all(folder: Path) -> dict[str, Path]:
    """Every image of `MADE`, by name, with `content()` in it."""
    raw = folder / "disk.raw"
    raw.write_bytes(content())
    for name, made in MADE.items():
        if name == raw.name:
            continue
        options = ("-o", made.options) if made.options else ()
        qemu_img("convert", "-f", "raw", "-O", made.driver, *options, str(raw), str(folder / name))
    stream = folder / "footer.vmdk"
    stream.write_bytes(with_footer(stream.read_bytes()))
    return {name: folder / name for name in MADE}


def with_footer(stream: bytes) -> bytes:
    """A streamOptimized VMDK as VMware writes it: the valid header is the footer, the one in front defers to it."""
    front = bytearray(stream[:512])
    front[56:64] = b"\xff" * 8
    marker = struct.pack("<QII", 1, 0, 3).ljust(512, b"\0")
    return bytes(front) + stream[512:] + marker + stream[:512] + bytes(512)


def qemu_img(*arguments: str, cwd: Path | None = None) -> str:
    """Run qemu-img and return what it says."""
    done = subprocess.run(("qemu-img", *arguments), capture_output=True, text=True, cwd=cwd, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def info(path: Path, driver: str) -> dict[str, object]:
    """What qemu-img tells of an image."""
    return dict(json.loads(qemu_img("info", "--output=json", "-f", driver, str(path))))


def changed(data: bytes, *edits: tuple[int, bytes], then: Callable[[bytearray], None] | None = None) -> bytes:
    """A copy of `data` with bytes overwritten at offsets; `then` may mend checksums afterwards."""
    copy = bytearray(data)
    for offset, new in edits:
        copy[offset : offset + len(new)] = new
    if then is not None:
        then(copy)
    return bytes(copy)


class Told:
    """A `Progress` that remembers."""

    def __init__(self) -> None:
        self.reports: list[tuple[str, float | None]] = []

    def __call__(self, phase: str, percent: float | None = None) -> None:
        self.reports.append((phase, percent))

    def phases(self) -> list[str]:
        return list(dict.fromkeys(phase for phase, _ in self.reports))


@pytest.fixture(scope="session")
def disk_images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every image of `MADE`, by name; not to be changed."""
    return make_all(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="session")
def image_bytes(disk_images: dict[str, Path]) -> dict[str, bytes]:
    """What is in every image of `MADE`."""
    return {name: path.read_bytes() for name, path in disk_images.items()}


def read(data: bytes, **options: object) -> Facts:
    """The facts of an image."""
    return read_facts(Bytes(data), name="image", **options)  # type: ignore[arg-type]


def refusal(data: bytes, **options: object) -> Invalid:
    """Why the reader refuses: an `Invalid` that names a field and fits on a line."""
    with pytest.raises(Invalid) as caught:
        read(data, **options)
    assert caught.value.field
    assert caught.value.message.isprintable()
    return caught.value


def sum_vhd(data: bytearray) -> None:
    """Mend the checksums of a VHD's footers and header, as a careful attacker does."""
    header = data.find(b"cxsparse")
    for start, length, at in ((len(data) - 512, 512, 64), (0, 512, 64), (header, 1024, 36)):
        if start >= 0 and data[start : start + 8] in (b"conectix", b"cxsparse"):
            data[start + at : start + at + 4] = bytes(4)
            data[start + at : start + at + 4] = struct.pack(">I", ~sum(data[start : start + length]) & 0xFFFFFFFF)


def sum_vhdx(data: bytearray) -> None:
    """Mend the checksums of a VHDX's headers and region tables."""
    for start, length in ((64 * KIB, 4 * KIB), (128 * KIB, 4 * KIB), (192 * KIB, 64 * KIB), (256 * KIB, 64 * KIB)):
        data[start + 4 : start + 8] = bytes(4)
        data[start + 4 : start + 8] = struct.pack("<I", crc32c(bytes(data[start : start + length])))


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB; mounting it takes root."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)), check=True)
    yield folder
    subprocess.run(("umount", str(folder)), check=True)


def noise(folder: Path) -> Path:
    """A raw disk of 6 MiB, each of which takes room."""
    path = folder / "noise.raw"
    path.write_bytes(os.urandom(6 << 20))
    return path


def holds_content(disk: Path) -> bool:
    raw = disk.with_name("out.raw")
    qemu_img("convert", "-f", "qcow2", "-O", "raw", str(disk), str(raw))
    same = raw.read_bytes() == content()
    raw.unlink()
    return same
