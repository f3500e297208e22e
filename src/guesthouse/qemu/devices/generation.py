"""VM generation id: tells the guest that it has been restored or copied (Microsoft's specification of 2012).

``auto`` draws a new one at every start of QEMU, and so at every restore too.
"""

from __future__ import annotations

from typing import ClassVar

from guesthouse.qemu.devices.device import Device, Mapping


class GenerationId(Device, frozen=True, kw_only=True, tag="vmgenid"):
    driver: ClassVar[str] = "vmgenid"

    def settings(self) -> Mapping:
        return {"guid": "auto"}
