"""A root file system as a disk that boots: GPT, GRUB for BIOS and for UEFI, one ext4 that can grow.

Rules
-----
1. No loop device, no mount, no root: the file systems are written into the disk's file by the programs that make
   file systems, at their offsets; owners and device nodes are kept by fakeroot.
2. The root partition is number 1 and the last on the disk, so that it grows with it.
3. Everything happens in a folder that the caller removes.

Source: mke2fs(8) ``-d`` and ``-E offset``; mkfs.fat(8) ``--offset``; GRUB manual, "BIOS installation".
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from uuid import UUID, uuid5

from guesthouse.formats import gpt, grub
from guesthouse.host.images import qemuimg
from guesthouse.host.processes import run
from guesthouse.ports import Progress

ROOT_LABEL = "root"
_GRUB = Path("/usr/lib/grub")
_MIB = 1 << 20
_SECTORS_PER_MIB = _MIB // gpt.SECTOR_BYTES
_FIRST_MIB, _BIOS_MIB, _EFI_MIB, _TABLE_MIB = 1, 1, 64, 1


class Layout(NamedTuple):
    """Where the partitions of a disk lie, in MiB from its start."""

    bios_mib: int
    efi_mib: int
    root_mib: int
    end_mib: int
    disk_mib: int


def layout(disk_mib: int) -> Layout:
    """BIOS boot code, EFI system partition, and the root file system in all that is left."""
    bios = _FIRST_MIB
    efi = bios + _BIOS_MIB
    root = efi + _EFI_MIB
    return Layout(bios, efi, root, disk_mib - _TABLE_MIB, disk_mib)


def partitions(places: Layout, namespace: UUID) -> tuple[gpt.Partition, ...]:
    """The rows of the partition table, numbered as Debian's cloud images have them."""

    def row(number: int, kind: UUID, start_mib: int, end_mib: int, name: str) -> gpt.Partition:
        first, sectors = start_mib * _SECTORS_PER_MIB, (end_mib - start_mib) * _SECTORS_PER_MIB
        return gpt.Partition(number, kind, uuid5(namespace, name), first, sectors, name)

    return (
        row(1, gpt.LINUX_ROOT_X86_64, places.root_mib, places.end_mib, ROOT_LABEL),
        row(14, gpt.BIOS_BOOT, places.bios_mib, places.efi_mib, "bios"),
        row(15, gpt.EFI_SYSTEM, places.efi_mib, places.root_mib, "efi"),
    )


@dataclass(frozen=True)
class Tree:
    """An unpacked root file system, and the state in which fakeroot keeps its owners and device nodes."""

    root: Path
    state: Path

    async def run(self, *argv: str) -> None:
        """Run a program that sees the tree with its owners; what it changes is kept."""
        state = ["-i", str(self.state)] if self.state.exists() else []
        await run(["fakeroot", *state, "-s", str(self.state), "--", *argv])


async def unpack(archives: Sequence[Path], work: Path) -> Tree:
    """Unpack tar archives, one over the other."""
    tree = Tree(work / "tree", work / "tree.fakeroot")
    tree.root.mkdir()
    for archive in archives:
        await tree.run(
            *("tar", "--extract", f"--file={archive}", f"--directory={tree.root}", "--preserve-permissions"),
            *("--numeric-owner", "--keep-directory-symlink"),
        )
    return tree


async def write(tree: Tree, disk_mib: int, namespace: UUID, work: Path, progress: Progress) -> Path:
    """The disk as a raw, sparse file in `work`. `namespace` gives the partitions their identities."""
    disk, places = work / "disk.raw", layout(disk_mib)
    with disk.open("xb") as file:
        file.truncate(disk_mib * _MIB)
    progress("making the file system")
    await tree.run(
        *("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-L", ROOT_LABEL, "-e", "remount-ro"),
        *("-U", str(uuid5(namespace, "file system")), "-d", str(tree.root)),
        *("-E", f"offset={places.root_mib * _MIB},assume_storage_prezeroed=1,nodiscard"),
        *(str(disk), f"{(places.end_mib - places.root_mib)}M"),
    )
    progress("making it boot")
    await _efi(disk, places, work)
    core = await _grub_image("i386-pc", grub.BIOS_MODULES, work / "core.img")
    await asyncio.to_thread(_write_tables_and_code, disk, places, namespace, core)
    return disk


async def _efi(disk: Path, places: Layout, work: Path) -> None:
    offset_sectors = places.efi_mib * _SECTORS_PER_MIB
    size_kib = (places.root_mib - places.efi_mib) * 1024
    program = work / "bootx64.efi"
    await _grub_image("x86_64-efi", grub.MODULES, program)
    # A cluster a sector: with fewer clusters, 64 MiB would be read as FAT16, whatever the label says.
    form = ("-F", "32", "-s", "1", "-n", "EFI", "--invariant", "--offset", str(offset_sectors))
    await run(["mkfs.vfat", *form, str(disk), str(size_kib)])
    inside = f"{disk}@@{places.efi_mib * _MIB}"
    await run(["mmd", "-i", inside, "::/EFI", "::/EFI/BOOT"])
    await run(["mcopy", "-i", inside, str(program), "::/EFI/BOOT/BOOTX64.EFI"])


async def _grub_image(platform: str, modules: Sequence[str], target: Path) -> bytes:
    await run(
        ["grub-mkimage", "-O", platform, "-d", str(_GRUB / platform), "-p", grub.PREFIX, "-o", str(target), *modules]
    )
    return await asyncio.to_thread(target.read_bytes)


def _write_tables_and_code(disk: Path, places: Layout, namespace: UUID, core: bytes) -> None:
    core_sector = places.bios_mib * _SECTORS_PER_MIB
    tables = gpt.tables(places.disk_mib * _SECTORS_PER_MIB, uuid5(namespace, "disk"), partitions(places, namespace))
    boot_image = (_GRUB / "i386-pc" / "boot.img").read_bytes()
    mbr, rest = tables.head[: gpt.SECTOR_BYTES], tables.head[gpt.SECTOR_BYTES :]
    with disk.open("r+b") as file:
        file.write(grub.mbr_with_boot_code(mbr, boot_image, core_sector) + rest)
        file.seek(core_sector * gpt.SECTOR_BYTES)
        file.write(grub.placed_core(core, core_sector))
        file.seek(-len(tables.tail), 2)
        file.write(tables.tail)


async def compress(disk: Path, target: Path, progress: Progress) -> None:
    """Write the disk as a qcow2 file whose clusters are compressed with zstd."""
    progress("compressing", 0)
    await run(
        [
            *("qemu-img", "convert", "-p", "-c", "-W", "-m", "8", "-f", "raw", "-O", "qcow2"),
            *("-o", "compression_type=zstd", str(disk), str(target)),
        ],
        on_output=qemuimg.on_percent(progress, "compressing"),
    )
