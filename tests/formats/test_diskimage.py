"""Every reader of disk-image headers: real files, files cut short, noise, and what the user says they are."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.diskimages import (
    KIB,
    MADE,
    MIB,
    VIRTUAL_BYTES,
    Bytes,
    changed,
    read,
    refusal,
    sum_vhd,
    sum_vhdx,
)

from guesthouse.formats.diskimage import FORMATS, read_facts, recognise
from guesthouse.model.errors import Invalid


@pytest.mark.parametrize("name", MADE)
def test_real_images_are_recognised_and_read(image_bytes: dict[str, bytes], name: str) -> None:
    made = MADE[name]
    facts = read(image_bytes[name])
    assert (facts.format, facts.variant, facts.virtual_bytes) == (made.format, made.variant, VIRTUAL_BYTES)
    assert read(image_bytes[name], declared_format=made.format) == facts
    assert FORMATS[made.format].driver == made.driver


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("declared", FORMATS)
def test_a_contradicting_declaration_is_refused(image_bytes: dict[str, bytes], name: str, declared: str) -> None:
    actual = MADE[name].format
    if declared == actual:
        return
    error = refusal(image_bytes[name], declared_format=declared)
    assert error.field == "format"
    assert f"is said to be {declared}, but is {actual}" in error.message


def test_an_unknown_declaration_names_the_known() -> None:
    assert "qcow2" in refusal(b"x" * 512, declared_format="floppy").hint


@pytest.mark.parametrize("name", [name for name in MADE if name != "disk.raw"])
@pytest.mark.parametrize("length", [1, 3, 8, 63, 100, 511, 512, 600, 1000])
def test_headers_cut_anywhere_are_refused(image_bytes: dict[str, bytes], name: str, length: int) -> None:
    refusal(image_bytes[name][:length], declared_format=MADE[name].format)


@pytest.mark.parametrize("name", ["footer.vmdk", "fixed.vhd", "dynamic.vhd", "dynamic.vdi", "fixed.vdi"])
@pytest.mark.parametrize("lost", [1, 512, 100_000])
def test_a_download_that_ended_early_is_refused(image_bytes: dict[str, bytes], name: str, lost: int) -> None:
    error = refusal(image_bytes[name][:-lost], declared_format=MADE[name].format)
    assert "truncated" in error.message or "does not look like it" in error.message or "is raw" in error.message


def test_a_fixed_vhd_without_its_footer_does_not_pass_for_raw(image_bytes: dict[str, bytes]) -> None:
    cut = Bytes(image_bytes["fixed.vhd"][:-MIB])
    with pytest.raises(Invalid, match=r"disk.vhd is called .vhd, but shows only a partition table: truncated"):
        read_facts(cut, name="disk.vhd")
    assert read_facts(cut, name="disk.vhd", declared_format="raw").format == "raw"
    assert read_facts(cut, name="disk.img").format == "raw"


def test_an_empty_file_is_refused() -> None:
    assert refusal(b"").message == "image is empty"


def test_the_limit_on_the_virtual_size_is_the_callers(image_bytes: dict[str, bytes]) -> None:
    for data in image_bytes.values():
        assert read(data, virtual_limit_bytes=VIRTUAL_BYTES)
        assert refusal(data, virtual_limit_bytes=VIRTUAL_BYTES - 1).field == "virtual size"


@given(data=st.data())
@settings(max_examples=600)
def test_no_mutation_makes_a_reader_fail_otherwise_than_by_refusing(
    image_bytes: dict[str, bytes], data: st.DataObject
) -> None:
    """Bytes changed where formats keep their fields, checksums mended or not, the file cut or not."""
    name = data.draw(st.sampled_from(sorted(image_bytes)))
    original = image_bytes[name]
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
@settings(max_examples=300)
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
