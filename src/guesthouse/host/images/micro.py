"""The micro image: Debian's cloud kernel and a system that lives in memory, from the host's package sources.

Rules
-----
1. The image is a folder with `kernel` and `initrd`; it has no disk. It appears complete or not at all.
2. The same packages give the same bytes.
3. Programs and drivers are rows of the tables below; libraries follow from what the programs ask for.

Source: Documentation/filesystems/ramfs-rootfs-initramfs.rst of the Linux kernel.
"""

from __future__ import annotations

import asyncio
import os
import re
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from guesthouse.formats import cpio
from guesthouse.host.images import micro_tree as tree_of
from guesthouse.host.images import packages
from guesthouse.host.images.built import BuiltImage
from guesthouse.host.processes import run
from guesthouse.model.errors import Conflict
from guesthouse.ports import Progress

PACKAGES = (
    "linux-image-cloud-amd64",
    "busybox-static",
    "dropbear-bin",
    "openssh-sftp-server",
    "qemu-guest-agent",
    "python3-yaml",
    "bash",
)
_DEPENDENCIES = re.compile(
    r"z?lib(?!.*(perl|pam|db5|gdbm|sqlite|ssl|tirpc|sem|bsd|fido)).*|python3\.\d+-minimal|linux-image-\d.*"
)
_KERNEL_PACKAGE = re.compile(r"linux-image-\d.*")

# `mitigations=off`: everything in this guest is root's own, and a processor with Meltdown would pay for each system
# call. The emulated one (`-cpu max`) has no such bug, and is as fast either way. `cryptomgr.notests`: the kernel's
# ciphers test themselves for 0.4 s there. `panic=1`: a guest that panics restarts, as an appliance does.
CMDLINE = "console=ttyS0 quiet loglevel=3 mitigations=off audit=0 apparmor=0 no_timer_check cryptomgr.notests panic=1"


async def build_micro(destination: Path, cache: Path, progress: Progress) -> BuiltImage:
    """Build the image as the folder `destination`; package files are kept in `cache` for the next time.

    Raises `Conflict` when the folder is there, `Failed` or `ChildFailed` when packages cannot be had. Whatever
    ends it early, nothing but the cache is left.
    """
    work = await asyncio.to_thread(_begin, destination)
    try:
        files = await packages.fetch(PACKAGES, _is_wanted, cache, work, progress)
        kernel = next(package for name, (package, _) in files.items() if _KERNEL_PACKAGE.fullmatch(name))
        await packages.unpack([path for _, path in files.values()], work / "packages", progress)
        image = work / "image"
        await _assemble(tree_of.Tree(work / "packages"), kernel.version, work, image, progress)
        await asyncio.to_thread(image.rename, destination)
    finally:
        await asyncio.shield(asyncio.to_thread(packages.remove, work))
    return BuiltImage(
        folder=destination,
        disk=None,
        kernel="kernel",
        initrd="initrd",
        cmdline=CMDLINE,
        os="micro",
        version=kernel.version,
    )


def _begin(destination: Path) -> Path:
    """The folder to work in, a neighbour of the image; what a killed build left there is removed."""
    if destination.exists():
        raise Conflict(f"{destination} is there already", subject="micro image", field="destination")
    work = destination.with_name(f".{destination.name}.building")
    packages.remove(work)
    work.mkdir(parents=True)
    return work


def _is_wanted(dependency: str) -> bool:
    return bool(_DEPENDENCIES.fullmatch(dependency))


async def _assemble(tree: tree_of.Tree, version: str, work: Path, image: Path, progress: Progress) -> None:
    progress("compiling")
    sources = await asyncio.to_thread(_stage, tree, work / "python")
    await _compile(tree, work / "python")
    applets = (await run([str(tree.find("usr/bin/busybox")), "--list-full"])).decode().split()
    progress("writing the image", 0)
    await asyncio.to_thread(_write, tree, version, work / "python", sources, applets, image)
    progress("writing the image", 100)


def _stage(tree: tree_of.Tree, folder: Path) -> list[str]:
    """Lay out the guest's Python files to be compiled; returns their places."""
    sources = {place: path.read_bytes() for place, path in tree_of.python_sources(tree)}
    sources |= {place: data for place, data in tree_of.guest_files() if place.endswith(".py")}
    for place, data in sources.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(data)
    return list(sources)


async def _compile(tree: tree_of.Tree, folder: Path) -> None:
    """Compile with the guest's own Python, which may be another version than ours.

    Byte code only and never checked against a source: reading and compiling takes seconds on an emulated
    processor. A fixed hash seed and stripped paths make it the same every time.
    """
    libraries = [str(tree.root / place) for place in ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")]
    loader = tree.find("usr/lib64/ld-linux-x86-64.so.2")
    await run(
        [
            *(str(loader), "--library-path", ":".join(libraries), str(tree.find("usr/bin/python3.*"))),
            *("-s", "-S", "-m", "compileall", "-q", "-b", "--invalidation-mode", "unchecked-hash"),
            *("-s", str(folder), "-p", "/", str(folder)),
        ],
        environment={"PYTHONHOME": str(tree.find("usr/lib/python3.*/os.py").parents[2]), "PYTHONHASHSEED": "0"},
    )


def _write(
    tree: tree_of.Tree, version: str, python: Path, sources: Iterable[str], applets: Iterable[str], image: Path
) -> None:
    image.mkdir()
    entries = _entries(tree, version, python, sources, applets)
    with (image / "initrd").open("xb") as file:
        # zlib by hand, not gzip, whose header would carry the time; a higher level gains 1% and takes 10 s.
        packer = zlib.compressobj(6, wbits=31)
        file.write(packer.compress(cpio.archive(entries)))
        file.write(packer.flush())
        os.fsync(file.fileno())
    with (image / "kernel").open("xb") as file:
        file.write(tree.find("boot/vmlinuz-*").read_bytes())
        os.fsync(file.fileno())


def _entries(
    tree: tree_of.Tree, version: str, python: Path, sources: Iterable[str], applets: Iterable[str]
) -> list[cpio.Entry]:
    own = {place: data for place, data in tree_of.guest_files() if not place.endswith(".py")}
    return [
        *tree_of.base({**own, **_texts(version)}, applets),
        *tree_of.programs(tree),
        *tree_of.drivers(tree),
        *tree_of.python_folders(tree),
        *(cpio.file(f"{place}c", (python / f"{place}c").read_bytes()) for place in sources),
    ]


def _texts(version: str) -> Mapping[str, bytes]:
    return {
        "etc/os-release": f'ID=micro\nNAME="Guesthouse micro"\nVERSION_ID="{version}"\n'.encode(),
        "etc/issue": f"Guesthouse micro, kernel {version}\n".encode(),
    }
