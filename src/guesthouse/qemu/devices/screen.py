"""A screen and a pointer, looked at over VNC.

The standard VGA adapter is in every QEMU and known to every firmware and guest. The tablet reports absolute
positions: the pointer is where the viewer's is.
"""

from __future__ import annotations

from typing import ClassVar

from guesthouse.qemu.devices.device import BuiltIn, Device, Mapping


class Screen(BuiltIn, frozen=True, kw_only=True, tag="vga"):
    driver: ClassVar[str] = "VGA"


class UsbController(BuiltIn, frozen=True, kw_only=True, tag="xhci"):
    driver: ClassVar[str] = "qemu-xhci"


class Tablet(Device, frozen=True, kw_only=True, tag="usb-tablet"):
    driver: ClassVar[str] = "usb-tablet"

    def address(self) -> Mapping:
        return {"bus": "usb.0", "port": "1"}
