"""Everything that a start needs beside the hardware: files, sockets, accelerator. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from guesthouse.model.machine import Datasource
from guesthouse.qemu.block import DiskFile
from guesthouse.qemu.capabilities import Capabilities


@dataclass(frozen=True)
class Direct:
    """QEMU itself loads the kernel: the fastest way."""

    kernel: Path
    initrd: Path | None = None
    cmdline: str = ""


@dataclass(frozen=True)
class Bios:
    """SeaBIOS starts from the first disk."""


@dataclass(frozen=True)
class Uefi:
    """OVMF starts from the first disk: `code` is shared and read-only, `variables` the machine's own copy (raw)."""

    code: Path
    variables: Path


@dataclass(frozen=True)
class Sockets:
    """Descriptors of listening unix sockets that QEMU inherits; bound before it starts, so nobody has to retry."""

    qmp: int
    console: int
    agent: int
    report: int


@dataclass(frozen=True)
class MemoryFile:
    """A file as the guest's memory: `shared`, what the guest writes is written to it; else it is copied on write."""

    path: Path
    shared: bool


@dataclass(frozen=True)
class Boot:
    """One start of a machine. `disks` are files by the id of their disk; `screen` is where VNC will listen.

    `accelerator` is ``kvm`` or ``tcg``; `translation_mib` bounds TCG's cache of translated code, which is only
    used up as far as the guest runs different code. `family` is what the guest reads as its product family;
    `datasource` is where its cloud-init is to look (`smbios`). `memory` is a file in place of anonymous memory. With
    `blank` disks and seed have no files: the vCPUs of that QEMU never run. With `incoming` QEMU waits to be told where
    its state comes from (`migration.restore`) instead of beginning at its firmware; `networks` are then the numbers
    that the state has for its networks, by MAC address. `taps` are descriptors by MAC address.
    """

    id: str
    name: str
    accelerator: str
    capabilities: Capabilities
    firmware: Direct | Bios | Uefi
    sockets: Sockets
    disks: Mapping[str, DiskFile]
    seed: Path
    console_log: Path
    pidfile: Path
    screen: Path | None = None
    family: str = ""
    datasource: Datasource = Datasource.SEED
    memory: MemoryFile | None = None
    incoming: bool = False
    blank: bool = False
    networks: Mapping[str, int] = field(default_factory=dict)
    taps: Mapping[str, int] = field(default_factory=dict)
    translation_mib: int = 128
    binary: str = "qemu-system-x86_64"
