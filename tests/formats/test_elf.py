"""ELF files: a real program of this host, a module made by hand, and damaged ones."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.formats import elf
from guesthouse.model.errors import Invalid

SHELL = Path(shutil.which("sh") or "").resolve().read_bytes()


def elf_file(sections: dict[str, bytes]) -> bytes:
    """An ELF file of nothing but sections, the table of names last."""
    contents = {"": b"", **sections}
    names = b"\0" + b"".join(name.encode() + b"\0" for name in [*sections, ".shstrtab"])
    contents[".shstrtab"] = names
    body, rows = b"", b""
    for name, data in contents.items():
        row = (names.index(name.encode() + b"\0"), 1, 0, 0, 64 + len(body), len(data), 0, 0, 1, 0)
        rows += struct.pack("<IIQQQQIIQQ", *row)
        body += data
    header = (
        b"\x7fELF\x02\x01\x01"
        + bytes(9)
        + struct.pack(
            "<HHIQQQIHHHHHH", 1, 62, 1, 0, 0, 64 + len(body), 0, 64, 0, 0, 64, len(contents), len(contents) - 1
        )
    )
    return header + body + rows


def test_a_program_of_this_host_is_read_as_the_loader_reads_it() -> None:
    said = subprocess.run(
        ["ldd", str(Path(shutil.which("sh") or "").resolve())], check=True, capture_output=True, text=True
    )
    assert elf.needed(SHELL)
    assert all(name in said.stdout for name in elf.needed(SHELL))
    assert elf.interpreter(SHELL) == "/lib64/ld-linux-x86-64.so.2"
    assert list(elf.module_information(SHELL)) == []


def test_a_module_tells_of_itself() -> None:
    module = elf_file({".modinfo": b"depends=a,b\0alias=pci:x*\0\0license=GPL\0"})
    assert list(elf.module_information(module)) == [("depends", "a,b"), ("alias", "pci:x*"), ("license", "GPL")]
    assert elf.needed(module) == ()
    assert elf.interpreter(module) is None


@pytest.mark.parametrize("data", [b"", b"#!/bin/sh\n", b"\x7fELF\x01\x01" + bytes(100)])
def test_other_files_are_refused(data: bytes) -> None:
    assert not elf.is_elf(data)
    with pytest.raises(Invalid, match="not a 64-bit"):
        elf.needed(data)


@given(st.integers(min_value=0, max_value=len(SHELL) - 1), st.integers(min_value=0, max_value=255))
def test_a_damaged_file_is_read_or_refused(position: int, value: int) -> None:
    for data in (SHELL[:position], SHELL[:position] + bytes([value]) + SHELL[position + 1 :]):
        try:
            assert isinstance(elf.needed(data), tuple)
            elf.interpreter(data)
        except Invalid:
            pass
