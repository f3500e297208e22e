"""Machines that are hibernated: stopped, with their memory kept, and to go on from it.

Rules
-----
1. A machine is hibernated as long as it has something to go on from (`restore`) at a restart that has not been asked
   for yet. Its next start is that restart.
2. Memory knows of the hardware around it. A hibernated machine's description changes in `_FREE` alone, and in what is
   not told to QEMU of its NICs and disks.
3. That memory is nobody else's, and good for once: as soon as the machine runs again it goes (`has_woken`).
"""

from __future__ import annotations

import msgspec

from guesthouse.decide.observed import Desired, Observed
from guesthouse.model.machine import DiskSpec, MachineRow, MachineSpec, NicSpec, Power

# What people call a machine, what becomes of it, and what it is told by others.
_FREE = frozenset(
    "name labels autostart protected on_shutdown on_interruption spot apart metadata user_data user_data_encoding "
    "ssh_keys".split()
)


def is_hibernated(machine: MachineRow) -> bool:
    """Whether the next start of a machine goes on from its memory."""
    return bool(machine.restore) and machine.restore_epoch > machine.restart_epoch


def contradicted(has: MachineSpec, wanted: MachineSpec) -> tuple[str, ...]:
    """The fields in which a description contradicts memory that was kept under another one, sorted."""
    told = (name for name in has.__struct_fields__ if name not in _FREE)
    return tuple(sorted(name for name in told if _hardware(has, name) != _hardware(wanted, name)))


def _hardware(spec: MachineSpec, name: str) -> object:
    value = getattr(spec, name)
    if name == "nics":
        return tuple(_nic(nic) for nic in value)
    return tuple(_disk(disk) for disk in value) if name == "disks" else value


def _nic(nic: NicSpec) -> NicSpec:
    return msgspec.structs.replace(nic, groups=(), forwards=(), public=False)


def _disk(disk: DiskSpec) -> DiskSpec:
    return msgspec.structs.replace(disk, keep=False)


def has_woken(desired: Desired, observed: Observed) -> bool:
    """Whether a machine that was hibernated runs again, from its memory or without it."""
    machine = desired.machine
    if machine.power is Power.STOPPED or observed.process is None:
        return False
    return any(each.id == machine.restore and each.passing for each in desired.snapshots)
