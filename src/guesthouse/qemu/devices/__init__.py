"""The devices of a machine, one small file each."""

from __future__ import annotations

from guesthouse.qemu.devices.balloon import Balloon
from guesthouse.qemu.devices.channel import Channel, ChannelController
from guesthouse.qemu.devices.console import SerialConsole
from guesthouse.qemu.devices.device import BuiltIn, Device, Mapping, OnPort, Seated
from guesthouse.qemu.devices.disk import DiskDevice
from guesthouse.qemu.devices.e1000 import E1000
from guesthouse.qemu.devices.generation import GenerationId
from guesthouse.qemu.devices.ide_disk import IdeDisk
from guesthouse.qemu.devices.nic import NicDevice
from guesthouse.qemu.devices.rng import Rng
from guesthouse.qemu.devices.root_port import RootPort
from guesthouse.qemu.devices.screen import Screen, Tablet, UsbController
from guesthouse.qemu.devices.scsi import ScsiController, ScsiDisk
from guesthouse.qemu.devices.seed import Seed
from guesthouse.qemu.devices.virtio_disk import VirtioDisk
from guesthouse.qemu.devices.virtio_net import VirtioNet

AnyDevice = (
    RootPort
    | Screen
    | ChannelController
    | Channel
    | SerialConsole
    | Rng
    | Balloon
    | GenerationId
    | UsbController
    | Tablet
    | VirtioNet
    | E1000
    | ScsiController
    | VirtioDisk
    | ScsiDisk
    | IdeDisk
    | Seed
)
"""Every kind of device, told apart by the tag ``device`` when it is read back."""

__all__ = [
    "E1000",
    "AnyDevice",
    "Balloon",
    "BuiltIn",
    "Channel",
    "ChannelController",
    "Device",
    "DiskDevice",
    "GenerationId",
    "IdeDisk",
    "Mapping",
    "NicDevice",
    "OnPort",
    "Rng",
    "RootPort",
    "Screen",
    "ScsiController",
    "ScsiDisk",
    "Seated",
    "Seed",
    "SerialConsole",
    "Tablet",
    "UsbController",
    "VirtioDisk",
    "VirtioNet",
]
