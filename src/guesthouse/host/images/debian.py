"""The Debian image: Debian 12 with cloud-init as Debian ships it; boots by BIOS, UEFI and direct kernel boot.

Rules
-----
1. The image is a folder with `disk.qcow2`, `kernel` and `initrd`; it appears complete or not at all.
2. It has no secrets and no identity: no host key, no machine-id, no password, no seed of random numbers.
3. What is in it are rows: packages here, tunings in `debian_tunings`, files in guestfiles/debian.

Source: cloud-init 22.4; systemd's docs/BUILDING_IMAGES.md; UEFI specification 2.10 (removable media path).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from uuid import UUID

from guesthouse.formats import apt, cpio, grub, kernel_modules, tarball
from guesthouse.host import durable
from guesthouse.host.images import bootdisk, debian_tree
from guesthouse.host.images.built import BuiltImage
from guesthouse.host.images.debian_tunings import TUNINGS, Tuning, kernel_arguments
from guesthouse.host.images.packages import remove
from guesthouse.model.errors import Conflict, Failed
from guesthouse.ports import Progress

DISK_MIB = 2048
_VERSION_FILE = "version"
NAMESPACE = UUID("7a3f0d5e-6f1b-4f43-9d0c-5b1f7f6f2a11")
_CONSOLES = ("console=tty0", "console=ttyS0,115200")
_ROOT = (f"root=LABEL={bootdisk.ROOT_LABEL}",)

TREE = debian_tree.TreeRecipe(
    release="bookworm",
    packages=(
        "busybox-static",
        "ca-certificates",
        "cloud-guest-utils",
        "cloud-init",
        "curl",
        "dbus",
        "e2fsprogs",
        "fdisk",
        "initramfs-tools",
        "iproute2",
        "iputils-ping",
        "kmod",
        "less",
        "linux-image-cloud-amd64",
        "netbase",
        "openssh-server",
        "procps",
        "qemu-guest-agent",
        "sudo",
        "systemd",
        "systemd-resolved",
        "systemd-sysv",
        "udev",
        "vim-tiny",
        "zstd",
    ),
    left_out=("/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/doc/*"),
    kept=("/usr/share/doc/*/copyright", "/usr/share/locale/locale.alias"),
    finally_run=(
        'chroot "$1" groupadd --system netdev',
        'rm -f "$1"/etc/ssh/ssh_host_* "$1"/etc/hostname "$1"/var/lib/dbus/machine-id "$1"/var/lib/systemd/random-seed',
        'rm -f "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/* "$1"/etc/apt/apt.conf.d/99mmdebstrap',
        'rm -f "$1"/etc/dpkg/dpkg.cfg.d/99mmdebstrap "$1"/vmlinuz.old "$1"/initrd.img.old',
    ),
)

# What the initial RAM disk of the direct kernel boot can find a disk with; what the kernel lacks is left out.
BOOT_DRIVERS = ("virtio_pci", "virtio_blk", "virtio_scsi", "sd_mod", "ata_piix", "ahci", "nvme", "ext4")
_APPLETS = ("sh", "mount", "cat", "modprobe", "dd", "tr", "usleep", "switch_root")

_ENABLED = {
    "multi-user.target.wants/systemd-networkd.service": "/lib/systemd/system/systemd-networkd.service",
    "network-online.target.wants/systemd-networkd-wait-online.service": (
        "/lib/systemd/system/systemd-networkd-wait-online.service"
    ),
}

# A unit that is held starts in every boot but a template's, and in that behind the gate.
_LOCALE = "etc/default/locale"
_UNITS = "usr/lib/systemd/system"
_HELD = b"""[Unit]
ConditionFirmware=|!smbios-field(product_family = template)
ConditionPathExists=|/run/guesthouse/released
"""


# Program, or file, of this host that the build needs, and the package that brings it.
NEEDED = {
    "mmdebstrap": "mmdebstrap",
    "fakeroot": "fakeroot",
    "mke2fs": "e2fsprogs",
    "mkfs.vfat": "dosfstools",
    "mcopy": "mtools",
    "grub-mkimage": "grub-common",
    "/usr/lib/grub/i386-pc/boot.img": "grub-pc-bin",
    "/usr/lib/grub/x86_64-efi/moddep.lst": "grub-efi-amd64-bin",
    "qemu-img": "qemu-utils",
    apt.KEYRING: "debian-archive-keyring",
}
_PROGRAM_FOLDERS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


async def build_debian(
    destination: Path, cache: Path, progress: Progress, tunings: tuple[Tuning, ...] = TUNINGS
) -> BuiltImage:
    """Build the image as the folder `destination`; the installed packages are kept in `cache` for the next time.

    Raises `Conflict` when the folder is there, `Failed` when a program is missing on this host, `ChildFailed` when
    packages cannot be had. Whatever ends it early, nothing but the cache is left.
    """
    _check_programs()
    work = await asyncio.to_thread(_begin, destination)
    try:
        sources = await debian_tree.host_sources(TREE.release)
        tar = await debian_tree.root_tar(TREE, sources, cache, progress)
        return await _build(tar, sources, tunings, work, destination, progress)
    finally:
        await asyncio.shield(asyncio.to_thread(remove, work))


def _begin(destination: Path) -> Path:
    """The folder to work in, a neighbour of the image; what a killed build left there is removed."""
    if destination.exists():
        raise Conflict(f"{destination} is there already", subject="image debian", field="destination")
    work = destination.with_name(f".{destination.name}.building")
    remove(work)
    work.mkdir(parents=True)
    return work


async def _build(
    tar: Path,
    sources: tuple[apt.Source, ...],
    tunings: tuple[Tuning, ...],
    work: Path,
    destination: Path,
    progress: Progress,
) -> BuiltImage:
    progress("unpacking")
    over = work / "overlay.tar"
    over.write_bytes(tarball.archive(overlay(sources, tunings)))
    tree = await bootdisk.unpack([tar, over], work)
    image = work / "image"
    image.mkdir()
    kernel = next((tree.root / "boot").glob("vmlinuz-*"))
    await asyncio.to_thread(_write_boot_files, tree.root, kernel, image)
    disk = await bootdisk.write(tree, DISK_MIB, NAMESPACE, work, progress)
    await bootdisk.compress(disk, image / "disk.qcow2", progress)
    version = (tree.root / "etc/debian_version").read_text().strip()
    (image / _VERSION_FILE).write_text(f"{version}\n")
    await asyncio.to_thread(_publish, image, destination)
    return described(destination, tunings, sources)


def described(folder: Path, tunings: tuple[Tuning, ...] = TUNINGS, sources: tuple[apt.Source, ...] = ()) -> BuiltImage:
    """The image that was built as `folder` with these tunings, from these sources."""
    return BuiltImage(
        folder=folder,
        disk="disk.qcow2",
        kernel="kernel",
        initrd="initrd",
        cmdline=" ".join(command_line(tunings)),
        os="debian",
        version=(folder / _VERSION_FILE).read_text().strip(),
        note=apt.left_out(sources),
    )


def digest(sources: tuple[apt.Source, ...], tunings: tuple[Tuning, ...] = TUNINGS) -> str:
    """What an image is made of, in short: two with the same digest differ in the age of their packages alone."""
    made_of = (TREE, overlay(sources, tunings), BOOT_DRIVERS, DISK_MIB, (_guest_files() / "initrd/init").read_bytes())
    return hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]


def command_line(tunings: tuple[Tuning, ...]) -> tuple[str, ...]:
    """The kernel's arguments, the same for every way to boot."""
    return (*_ROOT, "ro", *_CONSOLES, *kernel_arguments(tunings))


def overlay(sources: tuple[apt.Source, ...], tunings: tuple[Tuning, ...]) -> list[cpio.Entry]:
    """What lies over the installed packages: our own files, then those of the tunings, in order."""
    found: dict[str, cpio.Entry] = {}
    for entry in (*_base(sources, tunings), *_tuned(tunings)):
        found[entry.name] = entry
    return list(found.values())


def gate_files() -> list[cpio.Entry]:
    """What an image of somebody else's needs to have a gate: our own files but its locale, and the tunings for that."""
    own = (entry for entry in _files(_guest_files() / "base", "") if entry.name != _LOCALE)
    return [*own, *_tuned(tuple(tuning for tuning in TUNINGS if tuning.for_gate))]


def _base(sources: tuple[apt.Source, ...], tunings: tuple[Tuning, ...]) -> Iterator[cpio.Entry]:
    yield cpio.file("etc/fstab", f"LABEL={bootdisk.ROOT_LABEL} / ext4 errors=remount-ro 0 1\n".encode())
    yield cpio.file("etc/machine-id", b"")
    yield cpio.link("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf")
    yield cpio.file("etc/apt/sources.list.d/debian.sources", apt.deb822(apt.for_guest(sources)).encode())
    yield cpio.folder("boot/grub")
    yield cpio.file("boot/grub/grub.cfg", grub.menu(command_line(tunings)).encode())
    for place, target in _ENABLED.items():
        yield cpio.link(f"etc/systemd/system/{place}", target)
    yield from _files(_guest_files() / "base", "")


def _tuned(tunings: tuple[Tuning, ...]) -> Iterator[cpio.Entry]:
    for tuning in tunings:
        if tuning.has_files:
            yield from _files(_guest_files() / "tunings" / tuning.name, "")
        for target, units in tuning.held_units:
            yield from _held(units, target)
        for name in tuning.micro_files:
            data = (resources.files("guesthouse.guestfiles.micro") / "firstboot" / name).read_bytes()
            yield cpio.file(f"usr/lib/guesthouse/firstboot/{name}", data)
        for unit in tuning.masked_units:
            yield cpio.link(f"etc/systemd/system/{unit}", "/dev/null")
        for generator in tuning.masked_generators:
            yield cpio.link(f"etc/systemd/system-generators/{generator}", "/dev/null")


def _held(units: tuple[str, ...], target: str) -> Iterator[cpio.Entry]:
    """What holds units until the gate is passed, and has a target want them then and be reached when they are there."""
    for unit in units:
        yield cpio.file(f"{_UNITS}/{unit}.d/gate.conf", _HELD)
    if target:
        yield cpio.file(f"{_UNITS}/{target}.d/order.conf", f"[Unit]\nAfter={' '.join(units)}\n".encode())
        for unit in units:
            file = re.sub("@.*[.]", "@.", unit)
            yield cpio.link(f"{_UNITS}/{target}.wants/{unit}", f"../{file}")


def _guest_files() -> Traversable:
    return resources.files("guesthouse.guestfiles.debian")


def _files(folder: Traversable, place: str) -> Iterator[cpio.Entry]:
    """Files as they lie; one that begins with ``#!`` is a program."""
    for part in sorted(folder.iterdir(), key=lambda part: part.name):
        if part.is_dir():
            yield from _files(part, f"{place}{part.name}/")
        else:
            data = part.read_bytes()
            yield cpio.file(f"{place}{part.name}", data, 0o755 if data.startswith(b"#!") else 0o644)


def _write_boot_files(root: Path, kernel: Path, image: Path) -> None:
    """The kernel as it is, and an initial RAM disk, not packed: unpacking costs the guest more than memory."""
    (image / "kernel").write_bytes(kernel.read_bytes())
    (image / "initrd").write_bytes(cpio.archive(initrd(root, kernel.name.removeprefix("vmlinuz-"))))


def initrd(root: Path, version: str) -> list[cpio.Entry]:
    """What finds the root file system: busybox, the drivers of disks, and a script."""
    modules = root / "usr/lib/modules" / version
    known = {
        module.name: (module, data)
        for path in sorted(modules.glob("kernel/**/*.ko"))
        for data in [path.read_bytes()]
        for module in [kernel_modules.read(str(path.relative_to(modules)), data)]
    }
    readable = {name: module for name, (module, _) in known.items()}
    ordered = kernel_modules.in_load_order(readable, [name for name in BOOT_DRIVERS if name in known])
    place = f"lib/modules/{version}"
    return [
        *(cpio.folder(name) for name in ("dev", "proc", "sys", "root")),
        cpio.file("init", (_guest_files() / "initrd/init").read_bytes(), 0o755),
        cpio.file("bin/busybox", (root / "usr/bin/busybox").read_bytes(), 0o755),
        *(cpio.link(f"bin/{applet}", "busybox") for applet in _APPLETS),
        cpio.file(f"{place}/modules.dep", kernel_modules.dependency_table(ordered).encode()),
        cpio.file(f"{place}/modules.alias", kernel_modules.alias_table(ordered).encode()),
        *(cpio.file(f"{place}/{module.path}", known[module.name][1]) for module in ordered),
    ]


def _publish(image: Path, destination: Path) -> None:
    for path in image.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    image.rename(destination)
    durable.sync_folder(destination.parent)


def _check_programs() -> None:
    missing = {
        package
        for name, package in NEEDED.items()
        if not (Path(name).exists() if name.startswith("/") else shutil.which(name, path=_PROGRAM_FOLDERS))
    }
    if missing:
        packages = " ".join(sorted(missing))
        raise Failed(
            f"building this image needs {packages}", subject="image debian", hint=f"sudo apt install {packages}"
        )
