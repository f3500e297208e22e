"""A disk on the AHCI controller that q35 has on board: for guests without virtio. No hot-plug."""

from __future__ import annotations

from typing import ClassVar

from guesthouse.model.machine import Bus
from guesthouse.qemu.devices.device import Mapping
from guesthouse.qemu.devices.disk import DiskDevice


class IdeDisk(DiskDevice, frozen=True, kw_only=True, tag="ide-hd"):
    """One of six ports, each a bus of its own."""

    driver: ClassVar[str] = "ide-hd"
    bus: ClassVar[Bus] = Bus.IDE
    kind: ClassVar[str] = "ahci"

    def address(self) -> Mapping:
        return {"bus": f"ide.{self.seat}", "unit": 0}
