"""PCI Express root ports: where hot-plugged devices go.

QEMU docs/pcie.txt: devices on the root bus itself cannot be hot-plugged; a root port takes one device. Ports
are functions of multifunction slots, eight a slot.
"""

from __future__ import annotations

from typing import ClassVar

from guesthouse.qemu.devices.device import BuiltIn, Mapping


class RootPort(BuiltIn, frozen=True, kw_only=True, tag="pcie-root-port"):
    """Port `number`; its chassis number must be unique in the machine."""

    number: int

    driver: ClassVar[str] = "pcie-root-port"

    def settings(self) -> Mapping:
        # No I/O ports are set aside for empty ports: there are 64 KiB of them in all, 4 KiB a bridge, and the
        # firmware (OVMF above all) runs out at the tenth. Modern virtio devices need none.
        return {"multifunction": True, "chassis": self.number + 1, "port": self.number, "io-reserve": 0}
