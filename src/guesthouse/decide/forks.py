"""Machines that go on from another one: what they begin with, and what becomes theirs.

Rules
-----
1. A fork's disks begin with the layers that the snapshot holds: the same files under names of its own. Each is written
   to in a new layer on those.
2. The machine that is forked lets the layers be had, in its own time: nothing else is done with its disks then. Until
   that is done, and the memory kept, its forks wait.
3. Devices stay where they are. A disk is known by its new id, a NIC by its new MAC address.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from guesthouse.decide.layers import downward, layers_of
from guesthouse.decide.observed import Desired, DiskSeen, Observed
from guesthouse.model.machine import DiskSpec, Forward, MachineSpec, NicModel, NicSpec
from guesthouse.model.resources import Disk, Held, Snapshot, SnapshotState


class Lineage(NamedTuple):
    """What was whose: ids of disks and MAC addresses of the machine that was forked, with those of its fork."""

    disks: dict[str, str]
    macs: dict[str, str]


def lineage(desired: Desired) -> Lineage:
    """Of a fork whose snapshot is still there."""
    assert desired.source is not None
    nics = zip(desired.source.spec.nics, desired.machine.spec.nics, strict=True)
    return Lineage({disk.origin: disk.id for disk in desired.disks}, {old.mac: new.mac for old, new in nics})


def forked_disk(disk: Disk, held: Held, id: str, layer: str, machine: str, name: str) -> Disk:
    """The disk of a fork that begins with what a snapshot holds of a disk."""
    layers = layers_of(disk)
    under = {each: layers[each] for each in downward(layers, held.layer)}
    return msgspec.structs.replace(
        disk,
        id=id,
        name=name,
        machine=machine,
        size_mib=held.size_mib,
        layer=layer,
        layers={**under, layer: held.layer},
        origin=disk.id,
        shared=tuple(under),
        created_at=0.0,
    )


def forked_spec(spec: MachineSpec, name: str, disks: dict[str, str]) -> MachineSpec:
    """The description of a fork: its own name and disks, ports of the host and MAC addresses that are to be chosen.

    It is not protected, whatever the machine is that it is forked from.
    """
    return msgspec.structs.replace(
        spec,
        name=name,
        protected=False,
        disks=tuple(_own_disk(disk, disks) for disk in spec.disks),
        nics=tuple(_own_nic(nic) for nic in spec.nics),
    )


def handed_on(spec: MachineSpec, lineage: Lineage, name: str) -> MachineSpec:
    """What a process of the machine that was forked had, as its fork's process has it; as yet without forwards."""
    return msgspec.structs.replace(
        spec,
        name=name,
        disks=tuple(_own_disk(disk, lineage.disks) for disk in spec.disks),
        nics=tuple(msgspec.structs.replace(nic, mac=lineage.macs[nic.mac], forwards=()) for nic in spec.nics),
    )


def keeps_address(spec: MachineSpec) -> str:
    """The first NIC whose running guest could not be given another MAC address, as it is called; else empty.

    QEMU gives a virtio NIC the one of its own command line at each reset. The EEPROM of an e1000 is saved state.
    """
    return next((nic.mac for nic in spec.nics if nic.model is not NicModel.VIRTIO), "")


def waits(desired: Desired, observed: Observed) -> bool:
    """Whether a fork that has not begun lacks something that it is to begin with."""
    if observed.process is not None:
        return False
    if any(disk.origin and not _can_begin(disk, observed.disks.get(disk.id)) for disk in desired.disks):
        return True
    source = desired.source
    foreign = desired.machine.origin and desired.machine.restore
    return bool(foreign) and (source is None or source.state is not SnapshotState.READY)


def unshared(disk: Disk, seen: DiskSeen | None) -> tuple[str, ...]:
    """What is still shared of the layers that were."""
    return tuple(layer for layer in disk.shared if seen is None or layer in seen.shared)


def shared_from(disk: Disk, snapshots: Iterable[Snapshot]) -> Snapshot | None:
    """The snapshot whose layers a fork's disk begins with."""
    layer = begins_with(disk)
    held = ((snapshot, snapshot.disks.get(disk.origin)) for snapshot in snapshots)
    return next((snapshot for snapshot, of_disk in held if of_disk is not None and of_disk.layer == layer), None)


def begins_with(disk: Disk) -> str:
    """The layer on which a fork's disk is first written to."""
    layer = layers_of(disk)[disk.layer]
    assert layer is not None, "a fork's disk begins with something"
    return layer


def _can_begin(disk: Disk, seen: DiskSeen | None) -> bool:
    return seen is not None and (disk.layer in seen.layers or layers_of(disk)[disk.layer] in seen.layers)


def _own_disk(disk: DiskSpec, disks: dict[str, str]) -> DiskSpec:
    return msgspec.structs.replace(disk, disk=disks[disk.disk])


def _own_nic(nic: NicSpec) -> NicSpec:
    forwards = tuple(Forward(guest_port=forward.guest_port, protocol=forward.protocol) for forward in nic.forwards)
    return msgspec.structs.replace(nic, mac="", address="", forwards=forwards)
