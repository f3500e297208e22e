"""What a description leaves out, filled in: its size by its type, disks, MAC addresses, the way in by SSH.

Rules
-----
1. A machine whose image has a disk gets a root disk on it, `DEFAULT_ROOT_MIB` large or as large as the image.
2. Every NIC has a MAC address. NICs and disks written again by name or place are the same ones as before.
3. The first NIC forwards a port of the host to the guest's SSH, unless a forward to port 22 is written down, or it is
   on a network: there the machine has an address.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from random import Random

import msgspec

from guesthouse.decide.types import with_type
from guesthouse.model.errors import Invalid
from guesthouse.model.machine import DiskSpec, Forward, MachineSpec, NicSpec
from guesthouse.model.names import make_mac
from guesthouse.model.resources import Image

DEFAULT_ROOT_MIB = 10 * 1024
_SSH = 22


def complete(random: Random, spec: MachineSpec, image: Image) -> MachineSpec:
    """Fill in what was left out: the root disk of an image that has a disk, MAC addresses, the way in by SSH."""
    spec = with_type(spec)
    disks = spec.disks
    if image.disk and all(disk.name != "root" for disk in disks):
        disks = (DiskSpec(name="root", size_mib=max(DEFAULT_ROOT_MIB, image.virtual_mib)), *disks)
    disks = tuple(_sized_root(disk, image) for disk in disks)
    nics = spec.nics
    if nics and not nics[0].network and all(f.guest_port != _SSH for nic in nics for f in nic.forwards):
        first = msgspec.structs.replace(nics[0], forwards=(Forward(guest_port=_SSH), *nics[0].forwards))
        nics = (first, *nics[1:])
    return with_macs(random, msgspec.structs.replace(spec, disks=disks, nics=nics))


def _sized_root(disk: DiskSpec, image: Image) -> DiskSpec:
    if disk.name != "root" or disk.disk:
        return disk
    size_mib = disk.size_mib or max(DEFAULT_ROOT_MIB, image.virtual_mib)
    if size_mib < image.virtual_mib:
        raise Invalid(
            f"disk root of {size_mib} MiB is smaller than image {image.name} ({image.virtual_mib} MiB)",
            field="size_mib",
            value=size_mib,
            hint=f"make it {image.virtual_mib}M at least",
        )
    return msgspec.structs.replace(disk, size_mib=size_mib)


def with_kept(spec: MachineSpec, keep: Mapping[str, bool]) -> MachineSpec:
    """The description with what is said of its disks, by their names: whether they outlast the machine."""
    there = {disk.name for disk in spec.disks}
    for name in keep:
        if name not in there:
            raise Invalid(
                f"machine {spec.name} has no disk {name!r}",
                field="keep",
                value=name,
                hint=f"it has {', '.join(sorted(there)) or 'none'}",
            )
    disks = (msgspec.structs.replace(disk, keep=keep.get(disk.name, disk.keep)) for disk in spec.disks)
    return msgspec.structs.replace(spec, disks=tuple(disks))


def with_macs(random: Random, spec: MachineSpec) -> MachineSpec:
    nics = tuple(nic if nic.mac else msgspec.structs.replace(nic, mac=make_mac(random)) for nic in spec.nics)
    return msgspec.structs.replace(spec, nics=nics)


def match_nics(old: MachineSpec, new: MachineSpec) -> MachineSpec:
    """NICs written without a MAC take over those of the old ones on the same network that no other names, in order."""
    named, free = {nic.mac for nic in new.nics}, defaultdict[str, list[str]](list)
    for nic in old.nics:
        if nic.mac not in named:
            free[nic.network].append(nic.mac)

    def known(nic: NicSpec) -> NicSpec:
        macs = free[nic.network]
        return nic if nic.mac or not macs else msgspec.structs.replace(nic, mac=macs.pop(0))

    return msgspec.structs.replace(new, nics=tuple(known(nic) for nic in new.nics))


def match_disks(old: MachineSpec, new: MachineSpec) -> MachineSpec:
    """Disks written by name alone are the machine's own disks of that name."""
    known = {disk.name: disk for disk in old.disks}
    disks = tuple(
        msgspec.structs.replace(disk, disk=known[disk.name].disk, image="")
        if not disk.disk and disk.name in known
        else disk
        for disk in new.disks
    )
    return msgspec.structs.replace(new, disks=disks)
