"""What a disk is to the guest, on whatever bus.

Cache modes are QEMU's own (qemu-img(1), ``-drive cache``) as three switches: does the guest see a write cache
(`write-cache` of the device), does the host cache (`direct`), are flushes obeyed (`no-flush`).
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from guesthouse.model.machine import Bus, Cache
from guesthouse.qemu.devices.device import Mapping, Seated


class CacheRow(NamedTuple):
    """One cache mode: `write_cache` belongs to the device, the others to its block nodes."""

    write_cache: bool
    direct: bool
    no_flush: bool


CACHES: dict[Cache, CacheRow] = {
    Cache.WRITEBACK: CacheRow(write_cache=True, direct=False, no_flush=False),
    Cache.WRITETHROUGH: CacheRow(write_cache=False, direct=False, no_flush=False),
    Cache.NONE: CacheRow(write_cache=True, direct=True, no_flush=False),
    Cache.UNSAFE: CacheRow(write_cache=True, direct=False, no_flush=True),
}


def short(disk: str) -> str:
    """The first 20 digits of a disk's id: as much as a virtio serial number takes (virtio 1.2, 5.2.6.4)."""
    return disk.replace("-", "")[:20]


class DiskDevice(Seated, frozen=True, kw_only=True):
    """A disk of the machine; `disk` is the id of the disk resource.

    `boot_index` orders disks for the firmware. It is unique and, like an address, kept while the disk stays.
    The guest finds the disk by its serial number under /dev/disk/by-id.
    """

    disk: str
    thin: bool = True
    cache: Cache = Cache.WRITEBACK
    boot_index: int

    bus: ClassVar[Bus]

    @property
    def node(self) -> str:
        """The name of its topmost block node (31 characters at most)."""
        return f"disk-{short(self.disk)}"

    def settings(self) -> Mapping:
        # An I/O error of the host is not the guest's: it stands still (run state io-error) until somebody has
        # made room or mended the storage, and then goes on as if nothing had been.
        return {
            "drive": self.node,
            "serial": short(self.disk),
            "bootindex": self.boot_index,
            "write-cache": "on" if CACHES[self.cache].write_cache else "off",
            "werror": "stop",
            "rerror": "stop",
        }
