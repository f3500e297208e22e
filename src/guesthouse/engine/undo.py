"""Undoing an operation on a machine: what its context keeps for that, and the desired state that takes it back.

Rules
-----
1. Undo only writes records: a desired state, and disks that are to go. The plan leads there, as it does forward.
2. Disks that the operation made go with it. One that it found is left: free again, or with the machine as before.
3. Disks that it grew are wanted as large as before; a file that has grown already stays so.
"""

from __future__ import annotations

from typing import Any

import msgspec

from guesthouse.engine.kinds import KINDS, Undo
from guesthouse.model.machine import Deleting, Machine, MachineSpec, Power
from guesthouse.model.resources import DiskState, Operation
from guesthouse.ports import Transaction


class Touched(msgspec.Struct, frozen=True, kw_only=True):
    """What an operation did to disks: ids of those that it `made`, former sizes (MiB) by id of those that `grew`."""

    made: tuple[str, ...] = ()
    grew: dict[str, int] = {}


UNTOUCHED = Touched()


def kept(touched: Touched, machine: Machine | None = None) -> dict[str, Any]:
    """The context of an operation: the disks it touched, and of a machine that was there its desired state before."""
    context: dict[str, Any] = {"disks": msgspec.to_builtins(touched)}
    if machine is not None:
        context["previous"] = {"power": machine.power.value, "spec": msgspec.to_builtins(machine.spec)}
    return context


async def take_back_disks(tx: Transaction, operation: Operation) -> None:
    """Mark the disks that the operation made as leaving, and want those that it grew in their former size."""
    touched = msgspec.convert(operation.context.get("disks", {}), Touched)
    for disk in touched.made:
        await tx.disks.update(disk, {}, state=DiskState.DELETING)
    for disk, size_mib in touched.grew.items():
        await tx.disks.update(disk, {}, size_mib=size_mib)


def desired_before(operation: Operation) -> dict[str, Any]:
    """The columns of the machine that undo the operation: its former desired state, or its removal."""
    if KINDS[operation.kind].undo is Undo.REMOVE:
        # Its own disks are marked as leaving; those that it took over must outlast it.
        return {"deleting": Deleting.KEEP_DISKS, "power": Power.STOPPED}
    previous = operation.context["previous"]
    spec = msgspec.convert(previous["spec"], MachineSpec)
    return {
        # A restart that failed has stopped the guest: there is no way back to the one that ran.
        "power": Power.STOPPED if operation.kind == "machine.restart" else Power(previous["power"]),
        "spec": spec,
        "name": spec.name,
        "vcpus": spec.vcpus,
        "memory_mib": spec.memory_mib,
        "nics": len(spec.nics),
        "autostart": spec.autostart,
    }
