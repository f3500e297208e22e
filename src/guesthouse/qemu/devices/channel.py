"""Channels between host and guest over virtio-serial, each a named port (/dev/virtio-ports/NAME in the guest).

The guest reports how far it is through ``org.guesthouse.report.0``; the guest agent listens on
``org.qemu.guest_agent.0``.
"""

from __future__ import annotations

from typing import ClassVar

from guesthouse.qemu.devices.device import BuiltIn, Device, Mapping


class ChannelController(BuiltIn, frozen=True, kw_only=True, tag="virtio-serial"):
    driver: ClassVar[str] = "virtio-serial-pci"


class Channel(Device, frozen=True, kw_only=True, tag="virtserialport"):
    """One port; its `id` is that of its character device too. Number 0 is reserved for consoles."""

    name: str
    number: int

    driver: ClassVar[str] = "virtserialport"

    def address(self) -> Mapping:
        return {"bus": "channels.0", "nr": self.number}

    def settings(self) -> Mapping:
        return {"chardev": self.id.removesuffix("-channel"), "name": self.name}
