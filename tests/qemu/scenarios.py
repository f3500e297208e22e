"""Machines of every sort, as they are rendered into golden files and started by a real QEMU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guesthouse.model.machine import Bus, Cache, Datasource, DiskFormat, DiskSpec, MachineSpec, NicModel, NicSpec
from guesthouse.qemu.block import DiskFile
from guesthouse.qemu.boot import Bios, Boot, Direct, MemoryFile, Sockets, Uefi
from guesthouse.qemu.capabilities import Capabilities
from guesthouse.qemu.place import place
from guesthouse.qemu.placed import Placed

MACHINE_TYPE = "pc-q35-7.2"
ID = "3f2b8c1e-5d64-4a0b-9e77-1c2d3e4f5a6b"
DISK = "0d9f6a52-7c1b-4e83-{:04d}-a1b2c3d4e5f6"
MAC = "52:54:00:00:00:{:02x}"
FOLDER = Path("/house/machines/first")
IMAGE = Path("/house/images/debian/disk.qcow2")
DEVICES = frozenset(
    "VGA e1000 ide-hd isa-serial pcie-root-port qemu-xhci scsi-hd usb-tablet virtio-balloon-pci virtio-blk-pci "
    "virtio-net-pci virtio-rng-pci virtio-scsi-pci virtio-serial-pci virtserialport vmgenid".split()
)
CAPABILITIES = Capabilities(
    version=(7, 2, 22), machine_types={"q35": MACHINE_TYPE, MACHINE_TYPE: MACHINE_TYPE}, devices=DEVICES
)

BIOS = Bios()


@dataclass(frozen=True)
class Scenario:
    """A machine to be rendered; `backed` numbers the disks that have the image under them.

    `bare` ones have no seed yet; `more` are settings of the boot beside the ordinary ones.
    """

    spec: MachineSpec
    firmware: Direct | Bios | Uefi = BIOS
    accelerator: str = "tcg"
    backed: frozenset[int] = frozenset()
    folder: Path = FOLDER
    image: Path = IMAGE
    bare: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def placed(self) -> Placed:
        placed = place(self.spec, machine_type=MACHINE_TYPE)
        return placed.only({device.id for device in placed.devices} - {"seed"}) if self.bare else placed

    def disks(self) -> Mapping[str, DiskFile]:
        backing = DiskFile(self.image, DiskFormat.QCOW2)
        return {
            disk.disk: DiskFile(
                self.folder / f"{disk.disk}.{disk.format}", disk.format, backing if number in self.backed else None
            )
            for number, disk in enumerate(self.spec.disks)
        }

    def boot(self) -> Boot:
        return Boot(
            id=ID,
            name=self.spec.name,
            accelerator=self.accelerator,
            capabilities=CAPABILITIES,
            firmware=self.firmware,
            sockets=Sockets(qmp=10, console=11, agent=12, report=13),
            disks=self.disks(),
            seed=self.folder / "seed.iso",
            console_log=self.folder / "console.log",
            pidfile=self.folder / "qemu.pid",
            screen=self.folder / "screen.sock" if self.spec.screen else None,
            **self.more,
        )


def disk(number: int = 1, **settings: object) -> DiskSpec:
    return DiskSpec(disk=DISK.format(number), name=f"d{number}", size_mib=64, **settings)  # type: ignore[arg-type]


def nic(number: int = 1, model: NicModel = NicModel.VIRTIO) -> NicSpec:
    return NicSpec(mac=MAC.format(number), model=model)


MICRO = Direct(Path("/house/images/micro/kernel"), Path("/house/images/micro/initrd"), "console=ttyS0 quiet")
UEFI = Uefi(Path("/usr/share/OVMF/OVMF_CODE_4M.fd"), FOLDER / "variables.fd")

SCENARIOS: dict[str, Scenario] = {
    "micro": Scenario(MachineSpec(name="first", memory_mib=128, nics=(nic(),)), MICRO),
    "micro-kvm": Scenario(MachineSpec(name="first", vcpus=2, memory_mib=128, nics=(nic(),)), MICRO, "kvm"),
    "debian-bios": Scenario(
        MachineSpec(name="web", vcpus=2, memory_mib=1024, disks=(disk(),), nics=(nic(),)), backed=frozenset({0})
    ),
    "debian-uefi": Scenario(
        MachineSpec(name="web", vcpus=2, memory_mib=1024, disks=(disk(),), nics=(nic(),)),
        UEFI,
        backed=frozenset({0}),
    ),
    "every-bus": Scenario(
        MachineSpec(
            name="stores",
            disks=(
                disk(1, bus=Bus.IDE, format=DiskFormat.RAW, cache=Cache.WRITETHROUGH),
                disk(2, bus=Bus.SCSI, thin=False),
                disk(3, bus=Bus.SCSI, cache=Cache.NONE),
                disk(4, cache=Cache.UNSAFE),
                disk(5, bus=Bus.IDE),
            ),
            nics=(nic(),),
        )
    ),
    "template": Scenario(
        MachineSpec(name="template", memory_mib=128, nics=()),
        MICRO,
        bare=True,
        more={"family": "template", "memory": MemoryFile(Path("/house/templates/t/memory"), shared=True)},
    ),
    "fork": Scenario(
        MachineSpec(name="fork", memory_mib=128, nics=()),
        MICRO,
        bare=True,
        more={"memory": MemoryFile(Path("/proc/self/fd/14"), shared=False), "incoming": True},
    ),
    "networks": Scenario(
        MachineSpec(
            name="router",
            nics=(
                nic(1),
                NicSpec(mac=MAC.format(2), network="back"),
                NicSpec(mac=MAC.format(3), network="front", model=NicModel.E1000),
            ),
        ),
        MICRO,
        more={"taps": {MAC.format(2): 21, MAC.format(3): 22}},
    ),
    "metadata": Scenario(
        MachineSpec(name="asks", memory_mib=128, nics=(nic(),), datasource=Datasource.METADATA),
        MICRO,
        more={"datasource": Datasource.METADATA},
    ),
    "two-nics": Scenario(MachineSpec(name="router", nics=(nic(1), nic(2, NicModel.E1000))), MICRO),
    "screen": Scenario(MachineSpec(name="desk", disks=(disk(),), nics=(nic(),), screen=True)),
    "bare": Scenario(
        MachineSpec(name="bare", nics=(), rng=False, vmgenid=False, balloon=False, agent=False),
        Direct(Path("/house/images/micro/kernel")),
    ),
    "odd-paths": Scenario(
        MachineSpec(name="odd", disks=(disk(),), nics=(), screen=True),
        Direct(Path("/my house, really/kernel"), None, "a=b,c"),
        folder=Path("/my house, really"),
    ),
}


def shown(argv: tuple[str, ...]) -> str:
    """One option a line, its value beside it."""
    lines = [argv[0]]
    for word in argv[1:]:
        if word.startswith("-"):
            lines.append(word)
        else:
            lines[-1] += f" {word}"
    return "\n".join(lines) + "\n"
