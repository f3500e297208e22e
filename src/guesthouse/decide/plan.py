"""From what is wanted and what is seen to what is to be done: `plan(desired, observed)`.

Rules
-----
1. `plan` is pure and total. Planning again after every step succeeded yields nothing.
2. Steps come in an order in which each may be killed at any point: the next plan starts from what is there.
3. A machine that is to go is stopped by force first, then its disks (but for those to keep), then its folder.
4. Disks exist in their size before a process does; the seed, of a machine that is to have one, is written before the
   first start. A disk that is to leave is removed only while no process has it.
5. A running process is changed live where QEMU can (`LIVE`); the other differences wait for the next start
   and are named by `waiting_for_restart`. They never cause a step. What a NIC on a network may do, its forwards too, is
   the network's to know: a machine that runs has its networks as they are wanted (`ApplyNetworks`).
   A NIC that is elsewhere than it is wanted is unplugged and plugged: its other end is another one.
6. A process starts with its vCPUs standing still: they go on by the step that ends a pause.
7. A restart is a stop and a start, so that waiting changes take effect. `restart_epoch` tells one from another.
8. A snapshot is taken first, after a pause that is wanted, and then forks get its layers: all else comes later. One
   with memory that is wanted along with a stop is taken before, and the guest does nothing in between: it is hibernated
   so. One that is wanted along with a restart is taken between the stop and the start. Who
   goes on from one ends what runs by force, as soon as it is sure that it can (`GiveWay`). Layers are merged and files
   removed last (`layers.upkeep`), and not while somebody else reads them; after that memory is settled.
9. A fork's guest learns who it is (`GiveIdentity`) as soon as its vCPUs run.
10. A guest that powered itself off, a process that is gone without our doing, or vCPUs that stand still because
   a disk could not be written, is no plan: `lapse` says so and the engine writes a new desired state first.
"""

from __future__ import annotations

import msgspec

from guesthouse.decide.forks import begins_with
from guesthouse.decide.layers import FIRST, upkeep_of
from guesthouse.decide.observed import Desired, Observed, ProcessSeen
from guesthouse.decide.steps import (
    ApplyNetworks,
    GiveIdentity,
    GiveWay,
    GrowDisk,
    Kill,
    MakeDisk,
    Pause,
    PlugDisk,
    PlugNic,
    RemoveDisk,
    RemoveFolder,
    RemoveSnapshot,
    Resume,
    SetForwards,
    SetMemory,
    SettleMemory,
    ShareLayers,
    Shutdown,
    Start,
    Step,
    TakeSnapshot,
    UnplugDisk,
    UnplugNic,
    WriteSeed,
)
from guesthouse.model.machine import Datasource, Deleting, DiskSpec, MachineSpec, NicSpec, Power
from guesthouse.model.resources import Disk, Snapshot, SnapshotState

_STANDS_STILL = frozenset({"paused", "prelaunch", "io-error", "suspended", "postmigrate"})
_HAS_ENDED = frozenset({"shutdown", "internal-error", "guest-panicked"})


def plan(desired: Desired, observed: Observed, *, upkeep: bool = True, settling: bool = True) -> tuple[Step, ...]:
    """The steps that lead from `observed` to `desired`, in order; empty when they agree.

    Without `upkeep` what nobody waits for is put off: layers that could be merged or removed. Without `settling` the
    memory of snapshots stays as it is.
    """
    machine, process = desired.machine, observed.process
    if machine.deleting:
        return _removal(desired, observed)
    steps = [] if _rests_for_snapshot(desired, observed) else _snapshots(desired, observed)
    if process and (machine.power is Power.STOPPED or process.restart_epoch != machine.restart_epoch):
        steps += _end(desired, process)
        process = None
        if _rests_for_snapshot(desired, observed):
            steps += _snapshots(desired, observed)
    steps += _disks(desired, observed)
    steps += _leaving(desired, observed, process)
    if machine.power is not Power.STOPPED:
        if process is None:
            return (*steps, *_seed(machine.spec, observed), Start())
        steps += _live(machine.spec, process)
        steps += _networks(desired, observed)
        steps += [step for step in _vcpus(machine.power, process) if step not in steps]
    if upkeep and not desired.read:
        steps += _upkeep(desired, observed, process)
    if settling:
        steps += _to_settle(desired, observed)
    return tuple(steps)


def _seed(spec: MachineSpec, observed: Observed) -> list[Step]:
    return [WriteSeed()] if spec.datasource is Datasource.SEED and not observed.seeded else []


def _snapshots(desired: Desired, observed: Observed) -> list[Step]:
    """The snapshots to take, and the layers to share; a guest that is to stand still does so before."""
    to_take = _to_take(desired, observed)
    taken: list[Step] = [TakeSnapshot(snapshot) for snapshot in to_take]
    shared: list[Step] = [ShareLayers(disk) for disk in _to_share(desired, observed)]
    power = desired.machine.power
    stands = power is Power.PAUSED or (power is Power.STOPPED and any(snapshot.memory for snapshot in to_take))
    if taken and observed.process and stands:
        return [*_vcpus(Power.PAUSED, observed.process), *taken, *shared]
    return [*taken, *shared]


def _rests_for_snapshot(desired: Desired, observed: Observed) -> bool:
    """Whether the guest is to be shut down for a snapshot, and started again."""
    machine, process = desired.machine, observed.process
    restarts = process is not None and process.restart_epoch != machine.restart_epoch
    return restarts and machine.power is not Power.STOPPED and bool(_to_take(desired, observed))


def _to_take(desired: Desired, observed: Observed) -> list[Snapshot]:
    making = (snapshot for snapshot in desired.snapshots if snapshot.state is SnapshotState.MAKING)
    return [snapshot for snapshot in making if snapshot.id not in observed.snapshots]


def _to_share(desired: Desired, observed: Observed) -> list[Disk]:
    seen = observed.disks
    return [disk for disk in desired.forks if disk.id not in seen or begins_with(disk) not in seen[disk.id].layers]


def _end(desired: Desired, process: ProcessSeen) -> list[Step]:
    if desired.restore is not None:
        return [GiveWay(desired.restore)]
    return _stop(desired.machine.stop_timeout_s, process)


def _upkeep(desired: Desired, observed: Observed, process: ProcessSeen | None) -> list[Step]:
    """What nobody waits for: layers that are merged or removed, and what is left of a snapshot that is to go."""
    written = process.layers if process else {}
    steps: list[Step] = []
    for disk in desired.disks:
        if (seen := observed.disks.get(disk.id)) is not None:
            steps += upkeep_of(disk, seen, written.get(disk.id, FIRST) if process else None)
    return [*steps, *_aside(desired, observed), *_unwanted(desired, observed)]


def _aside(desired: Desired, observed: Observed) -> list[Step]:
    """The upkeep of disks that no process has."""
    seen = observed.disks
    return [step for disk in desired.aside if disk.id in seen for step in upkeep_of(disk, seen[disk.id], None)]


def _unwanted(desired: Desired, observed: Observed) -> list[Step]:
    going = (snapshot for snapshot in desired.snapshots if snapshot.state is SnapshotState.DELETING)
    return [RemoveSnapshot(snapshot) for snapshot in going if snapshot.id in observed.snapshots]


def _to_settle(desired: Desired, observed: Observed) -> list[Step]:
    wanted = (each for each in desired.snapshots if each.settle and each.state is SnapshotState.READY)
    return [
        SettleMemory(each) for each in wanted if each.id in observed.snapshots and observed.snapshots[each.id].unsettled
    ]


def _removal(desired: Desired, observed: Observed) -> tuple[Step, ...]:
    steps: list[Step] = [Kill()] if observed.process else []
    going = {disk.id: disk for disk in desired.leaving}
    if desired.machine.deleting is Deleting.WITH_DISKS:
        kept = kept_disks(desired.machine.spec)
        going |= {disk.id: disk for disk in desired.disks if disk.id not in kept}
    steps += [RemoveDisk(disk) for disk in going.values() if disk.id in observed.disks]
    steps += _aside(desired, observed)
    steps += [RemoveSnapshot(snapshot) for snapshot in desired.snapshots if snapshot.id in observed.snapshots]
    if observed.folder:
        steps.append(RemoveFolder())
    return tuple(steps)


def kept_disks(spec: MachineSpec) -> set[str]:
    """The ids of disks that outlast their machine, though it goes with its disks."""
    return {disk.disk for disk in spec.disks if disk.keep}


def _stop(timeout_s: int, process: ProcessSeen) -> list[Step]:
    if timeout_s == 0 or process.runstate in _HAS_ENDED:
        return [Kill()]
    if process.runstate in _STANDS_STILL:
        return [Resume(), Shutdown(timeout_s)]
    return [Shutdown(timeout_s)]


def _disks(desired: Desired, observed: Observed) -> list[Step]:
    steps: list[Step] = []
    for disk in desired.disks:
        seen = observed.disks.get(disk.id)
        if seen is None or disk.layer not in seen.layers:
            steps.append(MakeDisk(disk))
        elif seen.size_mib < disk.size_mib:
            steps.append(GrowDisk(disk))
    return steps


def _leaving(desired: Desired, observed: Observed, process: ProcessSeen | None) -> list[Step]:
    held = {disk.disk for disk in process.spec.disks} if process else set()
    return [RemoveDisk(disk) for disk in desired.leaving if disk.id in observed.disks and disk.id not in held]


def _live(wanted: MachineSpec, process: ProcessSeen) -> list[Step]:
    """Hot changes, in the order unplug, plug, memory."""
    has = process.spec
    old_disks, new_disks = {d.disk: d for d in has.disks}, {d.disk: d for d in wanted.disks}
    old_nics, new_nics = {n.mac: n for n in has.nics}, {n.mac: n for n in wanted.nics}
    steps: list[Step] = [
        UnplugDisk(disk) for key, disk in old_disks.items() if key not in new_disks and hot_pluggable(disk)
    ]
    leaving = {mac for mac, nic in old_nics.items() if mac not in new_nics or is_moved(nic, new_nics[mac])}
    steps += [UnplugNic(nic) for mac, nic in old_nics.items() if mac in leaving]
    steps += [PlugDisk(disk) for key, disk in new_disks.items() if key not in old_disks and hot_pluggable(disk)]
    staying = old_nics.keys() - leaving
    steps += [PlugNic(nic) for mac, nic in new_nics.items() if mac not in staying]
    steps += [
        SetForwards(nic)
        for mac, nic in new_nics.items()
        if mac in staying and nic.forwards != old_nics[mac].forwards and not nic.network
    ]
    target = min(wanted.memory_mib, process.boot_memory_mib)
    if has.balloon and target != has.memory_mib:
        steps.append(SetMemory(target))
    return steps


def is_moved(one: NicSpec, other: NicSpec) -> bool:
    """Whether a NIC is in another place: the same MAC address, and another network, subnet or address."""
    return (one.network, one.subnet, one.address) != (other.network, other.subnet, other.address)


def _networks(desired: Desired, observed: Observed) -> list[Step]:
    behind = (each.network.generation > observed.networks.get(each.network.id, 0) for each in desired.networks)
    return [ApplyNetworks()] if any(behind) else []


def _vcpus(power: Power, process: ProcessSeen) -> list[Step]:
    still = process.runstate in _STANDS_STILL
    if power is Power.RUNNING:
        return [*([Resume()] if still else []), *([GiveIdentity()] if process.nameless else [])]
    if power is Power.PAUSED and not still:
        return [Pause()]
    return []


def hot_pluggable(disk: DiskSpec) -> bool:
    """IDE has no hot-plug; virtio-blk (PCI Express) and SCSI have."""
    return disk.bus != "ide"


_NEXT_START = ("vcpus", "firmware", "rng", "vmgenid", "balloon", "agent", "screen", "image")


def waiting_for_restart(wanted: MachineSpec, process: ProcessSeen) -> tuple[str, ...]:
    """The fields whose wanted value the running process will have only after its next start, sorted."""
    has = process.spec
    fields = {name for name in _NEXT_START if getattr(wanted, name) != getattr(has, name)}
    if wanted.memory_mib > process.boot_memory_mib or (not has.balloon and wanted.memory_mib != has.memory_mib):
        fields.add("memory_mib")
    old, new = {d.disk: d for d in has.disks}, {d.disk: d for d in wanted.disks}
    if any(key not in new and not hot_pluggable(disk) for key, disk in old.items()):
        fields.add("disks")
    if any(key not in old and not hot_pluggable(disk) for key, disk in new.items()):
        fields.add("disks")
    if any(msgspec.structs.replace(old[key], keep=disk.keep) != disk for key, disk in new.items() if key in old):
        fields.add("disks")
    return tuple(sorted(fields))


class Lapse:
    """Why a machine no longer runs though nobody asked for it."""

    POWERED_OFF = "powered-off"
    CRASHED = "crashed"
    STUCK = "stuck"


def lapse(desired: Desired, observed: Observed) -> str:
    """How the guest ended by itself, or that a write to its disk failed and it stands still; else empty.

    Only a machine whose wanted state had been reached can lapse: before that a missing process is one that
    is still to be started.
    """
    machine, process = desired.machine, observed.process
    if machine.deleting or machine.power is Power.STOPPED or machine.observed_generation != machine.generation:
        return ""
    if process is None:
        return Lapse.CRASHED
    if process.runstate in _HAS_ENDED:
        return Lapse.POWERED_OFF if process.runstate == "shutdown" else Lapse.CRASHED
    return Lapse.STUCK if process.runstate == "io-error" and machine.power is Power.RUNNING else ""
