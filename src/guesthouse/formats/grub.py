"""GRUB on a disk image: its two configurations and the boot code of a BIOS disk, placed without `grub-install`.

Rules
-----
1. The image that the firmware loads finds the disk it came from by itself (``(,gpt1)``: "this drive, partition
   1"), never by a label: a machine may have two disks of the same image.
2. Patching what `grub-bios-setup` patches needs neither root nor a block device: the first sector of the boot
   code names the sector of the core image, the core image's first sector names where its rest lies.

Source: GRUB 2.06, util/setup.c, include/grub/i386/pc/boot.h and include/grub/offsets.h.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from guesthouse.formats.gpt import SECTOR_BYTES

MODULES = ("part_gpt", "ext2", "fat", "normal", "linux", "configfile", "serial", "terminal", "echo", "test")
BIOS_MODULES = ("biosdisk", *MODULES)
PREFIX = "(,gpt1)/boot/grub"

_MBR_CODE_BYTES = 440
_KERNEL_SECTOR_AT = 0x5C
_DRIVE_CHECK_AT = 0x66
_NOPS = b"\x90\x90"
_BLOCKLIST_AT = SECTOR_BYTES - 12
_LOAD_SEGMENT = 0x820
_LARGEST_CORE_SECTORS = 0x7F00 // 16  # the loader counts segments of 16 bytes from 0x820 to below 640 KiB


def menu(kernel_arguments: Sequence[str]) -> str:
    """``grub.cfg``: start the newest kernel at once, on the serial line and the screen.

    ``/vmlinuz`` and ``/initrd.img`` are links that Debian's kernel packages keep up to date.
    """
    return "\n".join(
        (
            "serial --unit=0 --speed=115200",
            "terminal_input serial console",
            "terminal_output serial console",
            f"linux /vmlinuz {' '.join(kernel_arguments)}",
            "initrd /initrd.img",
            "boot",
            "",
        )
    )


def mbr_with_boot_code(mbr: bytes, boot_image: bytes, core_sector: int) -> bytes:
    """The disk's first sector with GRUB's code in it, that loads the core image from `core_sector`.

    The partition table stays. As a hard disk is meant, the check that corrects a wrong drive number (for
    firmware that passes a floppy's) is left out, as `grub-bios-setup` does.
    """
    code = bytearray(boot_image[:_MBR_CODE_BYTES])
    struct.pack_into("<Q", code, _KERNEL_SECTOR_AT, core_sector)
    code[_DRIVE_CHECK_AT : _DRIVE_CHECK_AT + len(_NOPS)] = _NOPS
    return bytes(code) + mbr[_MBR_CODE_BYTES:]


def placed_core(core_image: bytes, core_sector: int) -> bytes:
    """The core image, told that its rest follows its first sector; padded to whole sectors."""
    core = bytearray(core_image.ljust(-(-len(core_image) // SECTOR_BYTES) * SECTOR_BYTES, b"\0"))
    rest_sectors = len(core) // SECTOR_BYTES - 1
    if rest_sectors > _LARGEST_CORE_SECTORS:
        raise ValueError(f"a core image of {len(core)} bytes does not fit below 640 KiB")
    struct.pack_into("<QHH", core, _BLOCKLIST_AT, core_sector + 1, rest_sectors, _LOAD_SEGMENT)
    return bytes(core)
