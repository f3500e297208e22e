"""The readers of disk-image headers, on files of the real qemu-img and on hostile ones made from them."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.diskimages import MADE, VIRTUAL_BYTES, Bytes, changed, make_all, qemu_img

from guesthouse.formats.diskimage import FORMATS, Facts, read_facts, recognise
from guesthouse.formats.diskimage.crc32c import crc32c
from guesthouse.model.errors import Invalid

KIB, MIB = 1 << 10, 1 << 20


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in make_all(tmp_path_factory.mktemp("images")).items()}


def read(data: bytes, **options: object) -> Facts:
    return read_facts(Bytes(data), name="image", **options)  # type: ignore[arg-type]


def refusal(data: bytes, **options: object) -> Invalid:
    with pytest.raises(Invalid) as caught:
        read(data, **options)
    assert caught.value.field
    assert caught.value.message.isprintable()
    return caught.value


@pytest.mark.parametrize("name", MADE)
def test_real_images_are_recognised_and_read(images: dict[str, bytes], name: str) -> None:
    made = MADE[name]
    facts = read(images[name])
    assert (facts.format, facts.variant, facts.virtual_bytes) == (made.format, made.variant, VIRTUAL_BYTES)
    assert read(images[name], declared_format=made.format) == facts
    assert FORMATS[made.format].driver == made.driver


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("declared", FORMATS)
def test_a_contradicting_declaration_is_refused(images: dict[str, bytes], name: str, declared: str) -> None:
    actual = MADE[name].format
    if declared == actual:
        return
    error = refusal(images[name], declared_format=declared)
    assert error.field == "format"
    assert f"is said to be {declared}, but is {actual}" in error.message


def test_an_unknown_declaration_names_the_known() -> None:
    assert "qcow2" in refusal(b"x" * 512, declared_format="floppy").hint


@pytest.mark.parametrize("name", [name for name in MADE if name != "disk.raw"])
@pytest.mark.parametrize("length", [1, 3, 8, 63, 100, 511, 512, 600, 1000])
def test_headers_cut_anywhere_are_refused(images: dict[str, bytes], name: str, length: int) -> None:
    refusal(images[name][:length], declared_format=MADE[name].format)


@pytest.mark.parametrize("name", ["footer.vmdk", "fixed.vhd", "dynamic.vhd", "dynamic.vdi", "fixed.vdi"])
@pytest.mark.parametrize("lost", [1, 512, 100_000])
def test_a_download_that_ended_early_is_refused(images: dict[str, bytes], name: str, lost: int) -> None:
    error = refusal(images[name][:-lost], declared_format=MADE[name].format)
    assert "truncated" in error.message or "does not look like it" in error.message or "is raw" in error.message


def test_a_fixed_vhd_without_its_footer_does_not_pass_for_raw(images: dict[str, bytes]) -> None:
    cut = Bytes(images["fixed.vhd"][:-MIB])
    with pytest.raises(Invalid, match=r"disk.vhd is called .vhd, but shows only a partition table: truncated"):
        read_facts(cut, name="disk.vhd")
    assert read_facts(cut, name="disk.vhd", declared_format="raw").format == "raw"
    assert read_facts(cut, name="disk.img").format == "raw"


def test_an_empty_file_is_refused() -> None:
    assert refusal(b"").message == "image is empty"


def test_the_limit_on_the_virtual_size_is_the_callers(images: dict[str, bytes]) -> None:
    for data in images.values():
        assert read(data, virtual_limit_bytes=VIRTUAL_BYTES)
        assert refusal(data, virtual_limit_bytes=VIRTUAL_BYTES - 1).field == "virtual size"


# ---- raw


def test_raw_is_no_fallback() -> None:
    error = refusal(b"something else entirely" * 100)
    assert "raw" in error.hint
    assert read(b"x" * 1000, declared_format="raw") == Facts("raw", 1024)


def test_a_qcow2_header_in_a_raw_file_is_not_taken_for_the_disk(images: dict[str, bytes]) -> None:
    disguised = images["v3.qcow2"][:512] + images["disk.raw"][512:]
    assert refusal(disguised, declared_format="raw").hint == "say qcow2, or leave the format out"


@pytest.mark.parametrize("sector_bytes", [512, 4096])
def test_gpt_is_recognised_and_its_backup_tells_a_truncation(sector_bytes: int) -> None:
    disk = bytearray(MIB)
    last = MIB // sector_bytes - 1
    disk[sector_bytes : sector_bytes + 40] = struct.pack("<8s24xQ", b"EFI PART", last)
    assert read(bytes(disk)).variant == "gpt"
    assert "truncated" in refusal(bytes(disk[: MIB - sector_bytes])).message


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"QFI\xfb\x00\x00\x00\x01", "qcow image of version 1"),
        (b"QED\x00", "QED"),
        (b"PK\x03\x04", "zip"),
        (b"LUKS\xba\xbe\x00\x01", "LUKS"),
        (b"<!DOCTYPE html><title>404", "web page"),
        (bytes(257) + b"ustar", "tar archive"),
    ],
)
def test_foreign_files_are_called_by_name(head: bytes, what: str) -> None:
    assert what in refusal(head.ljust(4096, b"\0")).message


# ---- qcow2


def with_backing(images: dict[str, bytes], name: bytes) -> bytes:
    return changed(images["v3.qcow2"], (8, struct.pack(">QI", 0x300, len(name))), (0x300, name))


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
def test_qcow2_backing_files_are_named(images: dict[str, bytes], name: bytes) -> None:
    error = refusal(with_backing(images, name))
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


def test_qcow2_encryption_is_refused(tmp_path: Path) -> None:
    secret = ("--object", "secret,id=s,data=hello")
    qemu_img(
        "create",
        "-q",
        *secret,
        "-f",
        "qcow2",
        "-o",
        "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10",
        str(tmp_path / "a"),
        "1M",
    )
    assert refusal((tmp_path / "a").read_bytes()).message == "image is encrypted"


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
def test_hostile_qcow2_fields(images: dict[str, bytes], offset: int, value: bytes, field: str) -> None:
    assert refusal(changed(images["v3.qcow2"], (offset, value))).field == field


def test_qcow2_with_endless_extensions_is_refused(images: dict[str, bytes]) -> None:
    data = changed(images["v3.qcow2"], (112, struct.pack(">II", 1, 0) * 1000))
    assert refusal(data).message == "image has too many header extensions"


def test_a_huge_qcow2_is_the_virtual_limits_matter(tmp_path: Path) -> None:
    qemu_img("create", "-q", "-f", "qcow2", "-o", "cluster_size=2M", str(tmp_path / "a"), "65T")
    assert refusal((tmp_path / "a").read_bytes()).field == "virtual size"


# ---- vmdk


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
def test_hostile_vmdk_descriptors(images: dict[str, bytes], old: bytes, new: bytes, field: str) -> None:
    assert refusal(descriptor(images["sparse.vmdk"], old, new)).field == field


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
def test_hostile_vmdk_fields(images: dict[str, bytes], offset: int, value: bytes, field: str) -> None:
    assert refusal(changed(images["sparse.vmdk"], (offset, value))).field == field


# ---- vhd


def sum_vhd(data: bytearray) -> None:
    """Mend the checksums of a VHD's footers and header, as a careful attacker does."""
    header = data.find(b"cxsparse")
    for start, length, at in ((len(data) - 512, 512, 64), (0, 512, 64), (header, 1024, 36)):
        if data[start : start + 8] in (b"conectix", b"cxsparse") and start >= 0:
            data[start + at : start + at + 4] = bytes(4)
            data[start + at : start + at + 4] = struct.pack(">I", ~sum(data[start : start + length]) & 0xFFFFFFFF)


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
def test_hostile_vhd_footers(images: dict[str, bytes], offset: int, value: bytes, field: str) -> None:
    assert refusal(footers(images["dynamic.vhd"], offset, value)).field == field


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
def test_hostile_vhd_headers(images: dict[str, bytes], offset: int, value: bytes, field: str) -> None:
    assert refusal(changed(images["dynamic.vhd"], (512 + offset, value), then=sum_vhd)).field == field


def test_vhd_blocks_lie_within_the_file(images: dict[str, bytes]) -> None:
    data = images["dynamic.vhd"]
    (table,) = struct.unpack_from(">Q", data, 512 + 16)
    assert refusal(changed(data, (table, struct.pack(">I", 0xFFFFFFFE)))).field == "last block"


def test_vhd_checksums_and_twins_are_checked(images: dict[str, bytes]) -> None:
    data = images["dynamic.vhd"]
    assert "checksum" in refusal(changed(data, (len(data) - 440, b"other"))).message
    assert refusal(changed(data, (24, b"\x01"), then=sum_vhd)).field == "footer"
    fixed = images["fixed.vhd"]
    assert refusal(changed(fixed, (0, fixed[-512:]))).field == "footer"
    assert refusal(footers(fixed, 48, struct.pack(">Q", 16 << 20))).field == "current size"


def test_vhd_sizes_are_those_qemu_reads(tmp_path: Path) -> None:
    """Without force_size the disk has the size of its geometry, which is rounded."""
    for size in ("1M", "777K", "130M"):
        qemu_img("create", "-q", "-f", "vpc", str(tmp_path / "a"), size)
        told = qemu_img("info", "-f", "vpc", "--output=json", str(tmp_path / "a"))
        assert f'"virtual-size": {read((tmp_path / "a").read_bytes()).virtual_bytes},' in told


# ---- vhdx


def sum_vhdx(data: bytearray) -> None:
    """Mend the checksums of a VHDX's headers and region tables."""
    for start, length in ((64 * KIB, 4 * KIB), (128 * KIB, 4 * KIB), (192 * KIB, 64 * KIB), (256 * KIB, 64 * KIB)):
        data[start + 4 : start + 8] = bytes(4)
        data[start + 4 : start + 8] = struct.pack("<I", crc32c(bytes(data[start : start + length])))


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


def test_hostile_vhdx_headers(images: dict[str, bytes]) -> None:
    data = images["disk.vhdx"]
    assert read(both_headers(data, 0, b"head"))
    assert refusal(both_headers(data, 48, b"\x01" * 16)).field == "log"
    assert refusal(both_headers(data, 66, b"\x02\x00")).field == "version"
    assert refusal(both_headers(data, 72, b"\xff" * 8)).field == "log"
    assert refusal(both_headers(data, 0, b"dead")).field == "header"
    assert refusal(changed(data, (64 * KIB + 9, b"z"), (128 * KIB + 9, b"z"))).field == "header"
    one_damaged = changed(data, (64 * KIB + 9, b"z"))
    assert read(one_damaged)


def test_the_newer_vhdx_header_counts(images: dict[str, bytes]) -> None:
    newest = (128 * KIB + 8, struct.pack("<Q", 1 << 60))
    dirty = (128 * KIB + 48, b"\x01" * 16)
    assert refusal(changed(images["disk.vhdx"], newest, dirty, then=sum_vhdx)).field == "log"


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
def test_hostile_vhdx_regions(images: dict[str, bytes], offset: int, value: bytes, field: str) -> None:
    data = changed(images["disk.vhdx"], (192 * KIB + offset, value), then=sum_vhdx)
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
def test_hostile_vhdx_metadata(images: dict[str, bytes], item: str, offset: int, value: bytes, field: str) -> None:
    _, at = metadata_item(images["disk.vhdx"], item)
    assert refusal(changed(images["disk.vhdx"], (at + offset, value))).field == field


def test_hostile_vhdx_metadata_entries(images: dict[str, bytes]) -> None:
    data = images["disk.vhdx"]
    entry, _ = metadata_item(data, "2fa54224")
    assert refusal(changed(data, (entry, bytes(16)))).field == "metadata"
    assert refusal(changed(data, (entry + 16, struct.pack("<I", 0xFFFFFFFF)))).field == "metadata"
    assert refusal(changed(data, (entry + 20, struct.pack("<I", 0xFFFFFFFF)))).field == "metadata"


def test_the_parent_of_a_vhdx_is_named(images: dict[str, bytes]) -> None:
    data = images["disk.vhdx"]
    entry, at = metadata_item(data, "beca12ab")
    locator = bytes.fromhex("2d5fd3a80bb34d45abf7d3d84834ab0c")
    key, value = "relative_path".encode("utf-16-le"), "C:\\base.vhdx".encode("utf-16-le")
    keys_at = 20 + 12
    body = struct.pack("<16s2xHIIHH", bytes(16), 1, keys_at, keys_at + len(key), len(key), len(value)) + key + value
    data = changed(data, (entry, locator), (entry + 20, struct.pack("<I", len(body))), (at, body))
    assert refusal(data).message == "image names a parent 'C:\\\\base.vhdx'"


# ---- vdi


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
def test_hostile_vdi_fields(images: dict[str, bytes], offset: int, value: bytes, field: str) -> None:
    assert refusal(changed(images["dynamic.vdi"], (offset, value))).field == field


# ---- anything


@given(data=st.data())
@settings(max_examples=600, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_mutation_makes_a_reader_fail_otherwise_than_by_refusing(
    images: dict[str, bytes], data: st.DataObject
) -> None:
    """Bytes changed where formats keep their fields, checksums mended or not, the file cut or not."""
    name = data.draw(st.sampled_from(sorted(images)))
    original = images[name]
    interesting = st.one_of(
        st.integers(0, 640),
        st.integers(512, 2600),
        st.integers(max(0, len(original) - 1600), len(original) - 1),
        st.integers(64 * KIB, 64 * KIB + 100),
        st.integers(192 * KIB, 192 * KIB + 100),
        st.integers(0, len(original) - 1),
    )
    values = st.one_of(
        st.binary(min_size=1, max_size=8),
        st.sampled_from([b"\xff" * 8, b"\x00" * 8, b"\x7f" + b"\xff" * 7, b"\x80" + bytes(7), b"\x00\x00\x00\x01"]),
    )
    edits = data.draw(st.lists(st.tuples(interesting, values), max_size=6))
    mend = {"vhd": sum_vhd, "vhdx": sum_vhdx}.get(MADE[name].format) if data.draw(st.booleans()) else None
    mutated = changed(original, *edits, then=mend if len(original) > 320 * KIB else None)
    mutated = mutated[: data.draw(st.one_of(st.none(), st.integers(0, len(mutated))))]
    declared = data.draw(st.one_of(st.none(), st.sampled_from(sorted(FORMATS))))
    try:
        facts = read(mutated, declared_format=declared)
    except Invalid as error:
        assert error.message.startswith("image ")
    else:
        assert 0 < facts.virtual_bytes <= 64 << 40


@given(st.sampled_from(sorted(FORMATS)), st.binary(max_size=2000), st.binary(max_size=1200))
@settings(max_examples=300, deadline=2000)
def test_noise_behind_a_magic_is_read_or_refused(name: str, body: bytes, end: bytes) -> None:
    magic = {"qcow2": b"QFI\xfb\0\0\0\x03", "vmdk": b"KDMV\1\0\0\0", "vhdx": b"vhdxfile", "vhd": b"conectix"}
    noise = magic.get(name, bytes(64) + b"\x7f\x10\xda\xbe") + body + bytes(4096) + end
    try:
        read(noise, declared_format=name)
    except Invalid as error:
        assert error.message.startswith("image ")


def test_recognise_tells_nothing_of_nothing() -> None:
    assert recognise(Bytes(bytes(100_000))) is None


def test_every_driver_is_known_to_qemu_img() -> None:
    told = subprocess.run(("qemu-img", "--help"), capture_output=True, text=True, check=True).stdout
    supported = told.split("Supported formats:")[1].split()
    assert all(format.driver in supported for format in FORMATS.values())
