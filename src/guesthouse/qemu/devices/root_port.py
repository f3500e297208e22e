"""PCI Express root ports: where hot-plugged devices go.

QEMU docs/pcie.txt: devices on the root bus itself cannot be hot-plugged; a root port takes one device. Ports
are functions of multifunction slots, eight a slot.
"""

from __future__ import annotations

from typing import ClassVar

from guesthouse.qemu.devices.device import BuiltIn, Mapping


class RootPort(BuiltIn, frozen=True, kw_only=True, tag="pcie-root-port"):
    """Port `number`; its chassis number must be unique in the machine.

    `io` sets I/O ports aside for what may be plugged: only conventional PCI devices (e1000) need them. There are
    64 KiB in all and a bridge takes 4, so that the firmware, OVMF above all, runs out where many bridges ask.
    """

    number: int
    io: bool = False

    driver: ClassVar[str] = "pcie-root-port"

    def settings(self) -> Mapping:
        return {
            "multifunction": True,
            "chassis": self.number + 1,
            "port": self.number,
            "io-reserve": 4096 if self.io else 0,
        }
