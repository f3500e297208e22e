"""What all devices have in common: an id, a driver, one ordered mapping."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

Mapping = dict[str, Any]
"""Names and values in QEMU's types, in the order in which they are shown; nested for block nodes."""


class Device(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="device"):
    """A device at its address, as it is kept in `Placed`."""

    id: str

    driver: ClassVar[str]

    def address(self) -> Mapping:
        """Where it sits: bus, and the place on that bus in the bus's own terms. Empty: it needs none."""
        return {}

    def settings(self) -> Mapping:
        """Its properties beside driver, id and address."""
        return {}

    def objects(self) -> tuple[Mapping, ...]:
        """Objects (``-object``) that must be there before it."""
        return ()

    def mapping(self) -> Mapping:
        """The whole device: the JSON of ``-device`` and the arguments of ``device_add`` alike."""
        return {"driver": self.driver, "id": self.id, **self.address(), **self.settings()}


class BuiltIn(Device, frozen=True, kw_only=True):
    """A device on the root bus, at a slot that it never leaves; it cannot be hot-plugged."""

    slot: int
    function: int = 0

    def address(self) -> Mapping:
        return {"bus": "pcie.0", "addr": f"0x{self.slot:x}.0x{self.function:x}"}


class Seated(Device, frozen=True, kw_only=True):
    """A device that comes and goes: `seat` is its number among the seats of its kind."""

    seat: int

    kind: ClassVar[str]
    """The kind of seat, a row of `place.SEATS`."""


class OnPort(Seated, frozen=True, kw_only=True):
    """A device alone behind a PCI Express root port, where it can be plugged and unplugged."""

    kind: ClassVar[str] = "port"

    def address(self) -> Mapping:
        return {"bus": f"port{self.seat}", "addr": "0x0"}
