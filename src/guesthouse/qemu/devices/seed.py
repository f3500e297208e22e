"""The seed: a small read-only disk with what cloud-init is to do (NoCloud, volume label ``cidata``).

It stays for good: cloud-init looks for it at every boot. It sits on the last root port, so that the guest
numbers its own disks before it and the first of them is /dev/vda. A machine that asks the metadata service has none.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from guesthouse.qemu.devices.device import Mapping, OnPort


class Seed(OnPort, frozen=True, kw_only=True, tag="seed"):
    """The seed as a virtio disk."""

    driver: ClassVar[str] = "virtio-blk-pci"

    def settings(self) -> Mapping:
        return {"drive": "seed", "serial": "seed"}

    @staticmethod
    def blockdev(path: Path) -> Mapping:
        """Its block node; nobody may write to it."""
        file = {"driver": "file", "node-name": "seed-file", "filename": str(path), "read-only": True}
        return {"driver": "raw", "node-name": "seed", "read-only": True, "file": file}
