"""Devices that are plugged at the gate, all at once: given to their drivers in the order of their addresses.

The firmware tells of the highest slot first. Drivers that took devices as they come would call the last NIC eth0 and
the seed vda, and a machine would have other names as a fork than after a boot.

Source: Linux's sysfs of the buses "pci" (slots) and "virtio" (drivers_autoprobe, drivers_probe).
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .guest import Guest

_SLOTS = "/sys/bus/pci/slots"
_DEVICES = "/sys/bus/pci/devices"
_VIRTIO = "/sys/bus/virtio"
_VIRTIO_VENDOR = "0x1af4"
SUBSYSTEMS = ("pci", "virtio")
"""Of what kernel events tell when `let_in` may have something to do."""


class Plugged:
    """Devices in slots that are empty now. From now on a virtio device waits for its driver until it is let in."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self._done = self._full()
        self._waiting: set[str] = set()
        self._came = False
        self._hold(True)

    @property
    def whole(self) -> bool:
        """Whether something came, and all of it has been to its driver."""
        return self._came and not self._waiting

    def let_in(self) -> None:
        """Give the devices to their drivers, once the kernel has seen all that lie in the slots."""
        self._waiting = self._waiting or self._full() - self._done
        self._came = self._came or bool(self._waiting)
        if not all(self._has_come(address) for address in self._waiting):
            return
        refused = {address for address in sorted(self._waiting) if not self._let_in(address)}
        self._done |= self._waiting - refused
        self._waiting = refused

    def _let_in(self, address: str) -> bool:
        """Whether all that lies there has been to its driver."""
        return all(self._probe(name) for name in self._virtio(address))

    def let_go(self) -> None:
        """Let drivers take devices as they come, as ever, and what came just now."""
        self._hold(False)
        devices = self.guest.path(f"{_VIRTIO}/devices")
        for name in sorted(os.listdir(devices)) if os.path.isdir(devices) else ():
            if not self.guest.exists(f"{_VIRTIO}/devices/{name}/driver"):
                self._probe(name)

    def _probe(self, name: str) -> bool:
        """Whether the kernel gave it to its driver; it does not while it is still making it known itself."""
        try:
            self.guest.tell(f"{_VIRTIO}/drivers_probe", name)
        except OSError:
            return False
        return True

    def _hold(self, hold: bool) -> None:
        self.guest.tell(f"{_VIRTIO}/drivers_autoprobe", "0" if hold else "1")

    def _full(self) -> set[str]:
        """Addresses (domain:bus:device) of slots with something in them, as the hardware says."""
        slots = self.guest.path(_SLOTS)
        return {
            self.guest.read(f"{_SLOTS}/{slot}/address").strip()
            for slot in (os.listdir(slots) if os.path.isdir(slots) else ())
            if self.guest.read(f"{_SLOTS}/{slot}/adapter").strip() == "1"
        }

    def _has_come(self, address: str) -> bool:
        device = f"{_DEVICES}/{address}.0"
        vendor = self.guest.read(f"{device}/vendor").strip()
        return bool(vendor) and (vendor != _VIRTIO_VENDOR or bool(self._virtio(address)))

    def _virtio(self, address: str) -> list[str]:
        names = os.listdir(self.guest.path(f"{_DEVICES}/{address}.0"))
        return [name for name in names if name.startswith("virtio")]
