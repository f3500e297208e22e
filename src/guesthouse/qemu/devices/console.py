"""The serial console: a 16550A at 0x3f8, ttyS0 to Linux. It works from the firmware's first message on."""

from __future__ import annotations

from typing import ClassVar

from guesthouse.qemu.devices.device import Device, Mapping


class SerialConsole(Device, frozen=True, kw_only=True, tag="isa-serial"):
    driver: ClassVar[str] = "isa-serial"

    def settings(self) -> Mapping:
        return {"chardev": "console", "index": 0}
