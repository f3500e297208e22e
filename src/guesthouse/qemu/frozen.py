"""Which devices of a tree a frozen machine has already.

Memory and device state can be restored only into the very same tree: same devices, same addresses, same properties.
What may differ is what the guest does not see of a device while it does not ask: ids, block nodes, serial numbers.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from guesthouse.qemu.devices import AnyDevice, Device, DiskDevice, NicDevice, Seed
from guesthouse.qemu.devices.device import Seated
from guesthouse.qemu.place import disk_id, nic_id
from guesthouse.qemu.placed import Placed

_OWN = frozenset({"id", "drive", "serial"})


def handed_on(placed: Placed, disks: Mapping[str, str], macs: Mapping[str, str]) -> Placed:
    """The tree when another machine has it: nothing moves, disks are known by new ids and NICs by new MAC addresses."""

    def own(device: AnyDevice) -> AnyDevice:
        if isinstance(device, DiskDevice):
            return msgspec.structs.replace(device, id=disk_id(disks[device.disk]), disk=disks[device.disk])
        if isinstance(device, NicDevice):
            return msgspec.structs.replace(device, id=nic_id(macs[device.mac]), mac=macs[device.mac])
        return device

    return msgspec.structs.replace(placed, devices=tuple(map(own, placed.devices)))


def without_identity(placed: Placed) -> Placed:
    """The tree of a machine that is to be frozen: no NIC, no seed."""
    return placed.only({device.id for device in placed.devices if not isinstance(device, NicDevice | Seed)})


def match(placed: Placed, frozen: Placed) -> frozenset[str] | None:
    """The ids of the devices in `placed` that the frozen machine had; None when it cannot become this machine."""
    same = ("machine_type", "vcpus", "memory_mib")
    if any(getattr(placed, name) != getattr(frozen, name) for name in same):
        return None
    had = [_shape(device) for device in frozen.devices]
    found = {device.id: device for device in placed.devices if _shape(device) in had}
    others = [device for device in placed.devices if device.id not in found]
    if len(found) != len(had) or not all(_pluggable(device) for device in others):
        return None
    return frozenset(found)


def _shape(device: Device) -> dict[str, object]:
    return {name: value for name, value in device.mapping().items() if name not in _OWN}


def _pluggable(device: Device) -> bool:
    return isinstance(device, Seated) and (device.kind != "ahci" or not isinstance(device, DiskDevice))
