"""Intel 82540EM: a NIC for guests without virtio.

A conventional PCI device, yet behind a root port like every NIC: QEMU and the guests take it there, and it can
be unplugged. (QEMU docs/pcie.txt advises a PCI bridge, whose hot-plug fewer guests know.)
"""

from __future__ import annotations

from typing import ClassVar

from guesthouse.qemu.devices.nic import NicDevice


class E1000(NicDevice, frozen=True, kw_only=True, tag="e1000"):
    driver: ClassVar[str] = "e1000"
