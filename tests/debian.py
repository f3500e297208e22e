"""The Debian image for tests that need cloud-init itself: built once, kept between sessions by its recipe's digest."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests import bare_qemu
from tests.caches import alone

from guesthouse.host.images import debian, debian_tree
from guesthouse.host.images.built import BuiltImage
from guesthouse.host.images.debian_tunings import TUNINGS
from guesthouse.host.processes import run

_FIRMWARE = Path("/usr/share/OVMF")
# An emulated processor has no side channels to defend against, and page table isolation would double the time.
EMULATED = "mitigations=off"


def _say_nothing(phase: str, percent: float | None = None) -> None:
    pass


def kept() -> Path:
    """Where images and packages stay between sessions."""
    told = os.environ.get("GUESTHOUSE_TEST_CACHE")
    return Path(told) if told else Path.home() / ".cache/guesthouse-tests"


async def _cached(cache: Path) -> BuiltImage:
    sources = await debian_tree.host_sources(debian.TREE.release)
    folder = cache / f"debian-{debian.digest(sources)}"
    if folder.exists():
        return debian.described(folder, TUNINGS)
    for outdated in cache.glob("debian-*/"):
        shutil.rmtree(outdated)
    return await debian.build_debian(folder, cache, _say_nothing)


@pytest.fixture(scope="session")
def debian_image() -> BuiltImage:
    """The Debian image as users get it."""
    with alone(kept()):
        return asyncio.run(_cached(kept()))


@contextmanager
def running(
    image: BuiltImage, seed: Mapping[str, str], folder: Path, firmware: str = "direct"
) -> Iterator[bare_qemu.Machine]:
    """A machine on an overlay of 4 GiB, started `direct`, by `bios` or by `uefi`."""
    disk = folder / "disk.qcow2"
    base = image.folder / (image.disk or "")
    asyncio.run(run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(base), "-F", "qcow2", str(disk), "4G"]))
    cdrom = bare_qemu.write_seed(folder / "seed.iso", seed)
    options = [
        *("-machine", "q35", "-drive", f"if=none,id=disk,file={disk},format=qcow2"),
        *("-device", "virtio-blk-pci,drive=disk", "-device", "virtio-blk-pci,drive=seed"),
        *("-drive", f"if=none,id=seed,file={cdrom},format=raw,readonly=on"),
        *("-netdev", "user,id=network,hostfwd=tcp:127.0.0.1:0-:22", "-device", "virtio-net-pci,netdev=network"),
        *(_uefi(folder) if firmware == "uefi" else ()),
    ]
    booted = image if firmware == "direct" else replace(image, kernel=None, initrd=None)
    with bare_qemu.running(booted, options, memory_mib=768, append=EMULATED) as machine:
        machine.console.settimeout(None)
        reader = threading.Thread(target=_read_out, args=(machine.console,))
        reader.start()
        yield machine
    reader.join()


def _read_out(console: socket.socket) -> None:
    """Read what the guest writes, until it is gone: a console that nobody reads stops the guest when it is full."""
    with contextlib.suppress(OSError):
        while console.recv(1 << 16):
            pass


def _uefi(folder: Path) -> tuple[str, ...]:
    variables = shutil.copyfile(_FIRMWARE / "OVMF_VARS_4M.fd", folder / "variables.fd")
    return (
        *("-drive", f"if=pflash,format=raw,readonly=on,file={_FIRMWARE / 'OVMF_CODE_4M.fd'}"),
        *("-drive", f"if=pflash,format=raw,file={variables}"),
    )
