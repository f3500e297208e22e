"""GRUB's boot code, patched as grub-bios-setup patches it; offsets are those of GRUB's own image on this host."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from tests.golden.golden import Golden

from guesthouse.formats import grub

_BOOT_IMAGE = Path("/usr/lib/grub/i386-pc/boot.img")


def test_the_menu(golden: Golden) -> None:
    golden("debian/grub.cfg", grub.menu(("root=LABEL=root", "ro", "console=ttyS0,115200")))


def test_the_boot_code_loads_the_core_and_keeps_the_table() -> None:
    table = bytes(range(72))
    boot_image = _BOOT_IMAGE.read_bytes()
    sector = grub.mbr_with_boot_code(bytes(440) + table, boot_image, 2048)
    assert len(sector) == 512
    assert sector[440:] == table
    assert struct.unpack_from("<Q", sector, 0x5C) == (2048,)
    assert sector[0x66:0x68] == b"\x90\x90"
    changed = {at for at in range(440) if sector[at] != boot_image[at]}
    assert changed <= set(range(0x5C, 0x64)) | {0x66, 0x67}


def test_the_core_knows_where_its_rest_lies() -> None:
    core = grub.placed_core(b"\xaa" * 1300, 2048)
    assert len(core) == 3 * 512
    assert struct.unpack_from("<QHH", core, 500) == (2049, 2, 0x820)
    assert core[:500] == b"\xaa" * 500
    assert core[512:1300] == b"\xaa" * 788


def test_a_core_that_fits_no_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="640 KiB"):
        grub.placed_core(bytes(2 << 20), 2048)
