"""Raw disks, and files that are none of ours."""

from __future__ import annotations

import struct

import pytest
from tests.diskimages import (
    MIB,
    read,
    refusal,
)

from guesthouse.formats.diskimage import Facts


def test_raw_is_no_fallback() -> None:
    error = refusal(b"something else entirely" * 100)
    assert "raw" in error.hint
    assert read(b"x" * 1000, declared_format="raw") == Facts("raw", 1024)


def test_a_qcow2_header_in_a_raw_file_is_not_taken_for_the_disk(image_bytes: dict[str, bytes]) -> None:
    disguised = image_bytes["v3.qcow2"][:512] + image_bytes["disk.raw"][512:]
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
