"""A disk on virtio-blk: the default, and the fastest."""

from __future__ import annotations

from typing import ClassVar

from guesthouse.model.machine import Bus
from guesthouse.qemu.devices.device import OnPort
from guesthouse.qemu.devices.disk import DiskDevice


class VirtioDisk(DiskDevice, OnPort, frozen=True, kw_only=True, tag="virtio-blk"):
    """Alone behind a root port: it can be plugged and unplugged while the machine runs."""

    driver: ClassVar[str] = "virtio-blk-pci"
    bus: ClassVar[Bus] = Bus.VIRTIO
