"""Disks on virtio-scsi: one controller behind a root port, up to 64 disks as its logical units."""

from __future__ import annotations

from typing import ClassVar

from guesthouse.model.machine import Bus
from guesthouse.qemu.devices.device import Mapping, OnPort
from guesthouse.qemu.devices.disk import DiskDevice


class ScsiController(OnPort, frozen=True, kw_only=True, tag="virtio-scsi"):
    """The controller: there from the first SCSI disk on, be it at boot or hot-plugged, and for good."""

    driver: ClassVar[str] = "virtio-scsi-pci"


class ScsiDisk(DiskDevice, frozen=True, kw_only=True, tag="scsi-hd"):
    """A logical unit of the controller; unplugging one needs no help of the guest."""

    driver: ClassVar[str] = "scsi-hd"
    bus: ClassVar[Bus] = Bus.SCSI
    kind: ClassVar[str] = "lun"

    def address(self) -> Mapping:
        return {"bus": "scsi.0", "channel": 0, "scsi-id": 0, "lun": self.seat}
