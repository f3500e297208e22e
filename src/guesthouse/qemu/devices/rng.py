"""virtio-rng: entropy from the host's getrandom(2), so that a young guest need not wait for any."""

from __future__ import annotations

from typing import ClassVar

from guesthouse.qemu.devices.device import BuiltIn, Mapping


class Rng(BuiltIn, frozen=True, kw_only=True, tag="virtio-rng"):
    driver: ClassVar[str] = "virtio-rng-pci"

    def objects(self) -> tuple[Mapping, ...]:
        return ({"qom-type": "rng-builtin", "id": "entropy"},)

    def settings(self) -> Mapping:
        return {"rng": "entropy"}
