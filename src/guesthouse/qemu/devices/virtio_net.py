"""virtio-net: the default NIC."""

from __future__ import annotations

from typing import ClassVar

from guesthouse.qemu.devices.nic import NicDevice


class VirtioNet(NicDevice, frozen=True, kw_only=True, tag="virtio-net"):
    driver: ClassVar[str] = "virtio-net-pci"
