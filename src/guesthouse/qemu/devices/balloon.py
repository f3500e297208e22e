"""virtio-balloon: memory given back, on request and by itself.

``free-page-reporting`` returns what the guest has freed without being asked; ``deflate-on-oom`` gives back to a
guest that would otherwise kill its programs.
"""

from __future__ import annotations

from typing import ClassVar

from guesthouse.qemu.devices.device import BuiltIn, Mapping


class Balloon(BuiltIn, frozen=True, kw_only=True, tag="virtio-balloon"):
    driver: ClassVar[str] = "virtio-balloon-pci"

    def settings(self) -> Mapping:
        return {"deflate-on-oom": True, "free-page-reporting": True}
