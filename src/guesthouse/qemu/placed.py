"""A machine's hardware, down to the last address.

It is kept with the machine (``msgspec.json``) and read back equal: a hot-plugged device, a snapshot and the
other side of a migration all need the very same tree.
"""

from __future__ import annotations

from collections.abc import Container

import msgspec

from guesthouse.model.errors import NotFound
from guesthouse.qemu.devices import AnyDevice, Device, DiskDevice, NicDevice, ScsiController


class Placed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The concrete device tree. `machine_type` has its version (``pc-q35-7.2``) and never changes by itself."""

    machine_type: str
    vcpus: int
    memory_mib: int
    devices: tuple[AnyDevice, ...]

    @property
    def disks(self) -> tuple[DiskDevice, ...]:
        """The machine's disks (the seed is none)."""
        return tuple(device for device in self.devices if isinstance(device, DiskDevice))

    @property
    def nics(self) -> tuple[NicDevice, ...]:
        return tuple(device for device in self.devices if isinstance(device, NicDevice))

    @property
    def scsi(self) -> ScsiController | None:
        """The SCSI controller, where there is one."""
        return next((device for device in self.devices if isinstance(device, ScsiController)), None)

    def only(self, ids: Container[str]) -> Placed:
        """The tree without the devices of other ids."""
        return msgspec.structs.replace(self, devices=tuple(device for device in self.devices if device.id in ids))

    def get(self, id: str) -> Device | None:
        """The device of that id (QEMU's, as events name it), or None."""
        return next((device for device in self.devices if device.id == id), None)

    def disk(self, disk: str) -> DiskDevice:
        """The device of a disk resource, by its id; raises `NotFound`."""
        for device in self.disks:
            if device.disk == disk:
                return device
        raise NotFound(f"the machine has no disk {disk}", field="disks", value=disk)

    def nic(self, mac: str) -> NicDevice:
        """The NIC with that MAC address; raises `NotFound`."""
        for device in self.nics:
            if device.mac == mac:
                return device
        raise NotFound(f"the machine has no NIC {mac}", field="nics", value=mac)
