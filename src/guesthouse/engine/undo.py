"""Undoing an operation on a machine: what its context keeps for that, and the desired state that takes it back.

Rules
-----
1. Undo only writes records: a desired state, and disks that are to go. The plan leads there, as it does forward.
2. Disks that the operation made go with it. One that it found is left: free again, or with the machine as before.
3. A snapshot that could not be taken leaves no trace but a layer, which is merged; one that could not be reverted to
   leaves the machine as it was, or stopped where it had been ended. What is deleted comes back while it is whole.
4. Places of its NICs on networks are as before; their networks have work by that. One that is new goes at once, though
   the guest may still be there: nobody else is let through from its port.
   A machine that could not be hibernated runs on; one that ended when its memory was kept is hibernated all the same.
5. Disks that it grew are wanted as large as before; a file that has grown already stays so.
6. A machine has one operation at a time, and its generation tells whether another wish came: undo writes over none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from guesthouse.decide.layers import layers_of
from guesthouse.decide.observed import Observed
from guesthouse.engine import network_undo
from guesthouse.engine.described import columns
from guesthouse.engine.kinds import BY_ITSELF, KINDS, Undo
from guesthouse.engine.network_undo import Former
from guesthouse.engine.snapshots import settle_no_more, want_as_seen
from guesthouse.engine.wanted import touch
from guesthouse.model.machine import Deleting, Machine, MachineSpec, Power
from guesthouse.model.resources import Disk, DiskState, Operation, Snapshot, SnapshotState
from guesthouse.ports import Transaction


class Touched(msgspec.Struct, frozen=True, kw_only=True):
    """What an operation did to disks: ids of those that it `made`, former sizes (MiB) by id of those that `grew`."""

    made: tuple[str, ...] = ()
    grew: dict[str, int] = {}


UNTOUCHED = Touched()
# Operations that end what runs.
_ENDS = frozenset({"machine.restart", "machine.hibernate", "snapshot.revert"})
_STOOD = ("restart_epoch", "snapshot", "restore", "restore_epoch")


def kept(touched: Touched, machine: Machine | None = None, places: Sequence[Former] = ()) -> dict[str, Any]:
    """The context of an operation: the disks it touched, and of a machine that was there its desired state before.

    `places` is how places of its NICs were that it changed.
    """
    context: dict[str, Any] = {"disks": msgspec.to_builtins(touched)}
    if places:
        context["before"] = msgspec.to_builtins(places)
    if machine is not None:
        context["previous"] = {"power": machine.power.value, "spec": msgspec.to_builtins(machine.spec)}
    return context


def kept_state(machine: Machine, disks: Iterable[Disk]) -> dict[str, Any]:
    """The context of an operation on snapshots, beside that: how the machine stood, and the layers of its disks."""
    return {
        "stood": {name: getattr(machine, name) for name in _STOOD},
        "layers": {
            disk.id: {"layer": disk.layer, "layers": layers_of(disk), "size_mib": disk.size_mib} for disk in disks
        },
    }


async def take_back_disks(tx: Transaction, operation: Operation) -> None:
    """Mark the disks that the operation made as leaving, and want those that it grew in their former size."""
    touched = msgspec.convert(operation.context.get("disks", {}), Touched)
    for disk in touched.made:
        await tx.disks.update(disk, {}, state=DiskState.DELETING)
    for disk, size_mib in touched.grew.items():
        await tx.disks.update(disk, {}, size_mib=size_mib)


async def take_back_places(tx: Transaction, operation: Operation) -> list[str]:
    """Have the places of NICs as they were before the operation; the ids of networks that have work by that."""
    found = [await tx.ports.get(former["id"]) for former in operation.context.get("before", ())]
    await network_undo.write_back(tx, operation)
    networks = list(dict.fromkeys(port.network for port in found if port is not None))
    for id in networks:
        if (network := await tx.networks.get(id)) is not None:
            await touch(tx, network)
    return networks


def desired_before(operation: Operation, observed: Observed) -> dict[str, Any]:
    """The columns of the machine that undo the operation: its former desired state, or its removal."""
    if operation.kind in BY_ITSELF.values():
        return {}
    if KINDS[operation.kind].undo is Undo.REMOVE:
        # Its own disks are marked as leaving; those that it took over must outlast it.
        return {"deleting": Deleting.KEEP_DISKS, "power": Power.STOPPED}
    previous = operation.context["previous"]
    spec = msgspec.convert(previous["spec"], MachineSpec)
    stood = dict(operation.context.get("stood", {}))
    power = Power(previous["power"])
    if operation.kind == "machine.hibernate" and _sleeps(operation, observed):
        return {"power": Power.STOPPED}
    if operation.kind == "machine.start" and stood:
        # What may have gone on from the memory at this epoch does not do so again: the next one will.
        stood["restart_epoch"] += 1
        stood["restore_epoch"] = stood["restart_epoch"] + 1
    if operation.kind in _ENDS and not _still_runs(operation, observed):
        # It has stopped the guest: there is no way back to the one that ran.
        power = Power.STOPPED
        stood.pop("restart_epoch", None)
    return {
        **stood,
        "power": power,
        "spec": spec,
        "name": spec.name,
        **columns(spec),
    }


def _still_runs(operation: Operation, observed: Observed) -> bool:
    """Whether what ran before the operation was not ended by it."""
    process, stood = observed.process, operation.context.get("stood")
    return process is not None and stood is not None and process.restart_epoch == stood["restart_epoch"]


def _sleeps(operation: Operation, observed: Observed) -> bool:
    """Whether a machine has ended, and the memory that was to be kept of it is there."""
    return observed.process is None and operation.context["snapshot"] in observed.snapshots


async def take_back_snapshot(tx: Transaction, machine: Machine, operation: Operation, observed: Observed) -> None:
    """Undo what an operation did to snapshots and layers, as far as what is seen allows it."""
    if operation.kind in _SNAPSHOTS:
        await _SNAPSHOTS[operation.kind](tx, machine, operation, observed)


async def _untake(tx: Transaction, machine: Machine, operation: Operation, observed: Observed) -> None:
    """Its files go. A disk goes on in the layer that is written to, which is merged later if it is the new one.

    Where nobody can say which that is, it is the new one if that is there: it may have been written to.
    """
    await tx.snapshots.update(operation.context["snapshot"], {}, state=SnapshotState.DELETING)
    written = observed.process.layers if observed.process else {}
    for id, before in operation.context["layers"].items():
        disk, seen = await tx.disks.get(id), observed.disks.get(id)
        if disk is not None:
            is_there = seen is not None and disk.layer in seen.layers
            layer = written.get(id, disk.layer if is_there else before["layer"])
            await tx.disks.update(id, {}, layer=layer)


async def _unfork(tx: Transaction, machine: Machine, operation: Operation, observed: Observed) -> None:
    """The machine goes on as if a snapshot of it had been tried; one that somebody has named stays as it is."""
    snapshot = await tx.snapshots.get(operation.context["snapshot"])
    if snapshot is not None and snapshot.passing:
        await _untake(tx, machine, operation, observed)


async def _unrevert(tx: Transaction, machine: Machine, operation: Operation, observed: Observed) -> None:
    """The layers of before are still there, as they were."""
    for disk, before in operation.context["layers"].items():
        await tx.disks.update(disk, {}, **before)


async def _unhibernate(tx: Transaction, machine: Machine, operation: Operation, observed: Observed) -> None:
    """Its memory goes, or stays where the machine has ended: then it is hibernated."""
    state = SnapshotState.READY if _sleeps(operation, observed) else SnapshotState.DELETING
    await tx.snapshots.update(operation.context["snapshot"], {}, state=state)


async def _unstart(tx: Transaction, machine: Machine, operation: Operation, observed: Observed) -> None:
    """One that was hibernated is so again: nobody has written to the layers of before."""
    if "layers" in operation.context:
        await _unrevert(tx, machine, operation, observed)


async def _undelete(tx: Transaction, machine: Machine, operation: Operation, observed: Observed) -> None:
    """It is there again if all that it held still is; else it stays gone, and nothing more is merged."""
    snapshot = await tx.snapshots.get(operation.context["snapshot"])
    if snapshot is not None and _is_whole(snapshot, observed):
        await tx.snapshots.update(snapshot.id, {}, state=SnapshotState.READY)
        for child in operation.context["children"]:
            await tx.snapshots.update(child, {}, parent=snapshot.id)
    elif snapshot is not None and operation.context["stood"]["snapshot"] == snapshot.id:
        await tx.machines.update(machine.id, {}, snapshot=snapshot.parent)
    await want_as_seen(tx, machine, observed)


def _is_whole(snapshot: Snapshot, observed: Observed) -> bool:
    layers_there = all(
        disk in observed.disks and held.layer in observed.disks[disk].layers for disk, held in snapshot.disks.items()
    )
    return layers_there and snapshot.id in observed.snapshots


async def _unmerge(tx: Transaction, machine: Machine, operation: Operation, observed: Observed) -> None:
    await want_as_seen(tx, machine, observed)


async def _unsettle(tx: Transaction, machine: Machine, operation: Operation, observed: Observed) -> None:
    await settle_no_more(tx, machine, observed)


_SNAPSHOTS = {
    "machine.fork": _unfork,
    "machine.hibernate": _unhibernate,
    "machine.start": _unstart,
    "snapshot.create": _untake,
    "snapshot.revert": _unrevert,
    "snapshot.delete": _undelete,
    "snapshot.merge": _unmerge,
    "snapshot.settle": _unsettle,
}
