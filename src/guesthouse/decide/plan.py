"""From what is wanted and what is seen to what is to be done: `plan(desired, observed)`.

Rules
-----
1. `plan` is pure and total. Planning again after every step succeeded yields nothing.
2. Steps come in an order in which each may be killed at any point: the next plan starts from what is there.
3. A machine that is to go is stopped by force first, then its disks (those that go with it), then its folder.
4. Disks exist in their size before a process does; the seed is written before the first start. A disk that is to
   leave is removed only while no process has it.
5. A running process is changed live where QEMU can (`LIVE`); the other differences wait for the next start
   and are named by `waiting_for_restart`. They never cause a step.
6. A process starts with its vCPUs standing still: they go on by the step that ends a pause.
7. A restart is a stop and a start, so that waiting changes take effect. `restart_epoch` tells one from another.
8. A guest that powered itself off, a process that is gone without our doing, or vCPUs that stand still because
   a disk could not be written, is no plan: `lapse` says so and the engine writes a new desired state first.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from guesthouse.model.machine import Deleting, DiskSpec, Forward, Machine, MachineSpec, NicSpec, Outcome, Power, Stage
from guesthouse.model.resources import Disk, Image, Template


@dataclass(frozen=True)
class Desired:
    """All that the host needs to know of a machine: the record and the resources that its spec names.

    `disks` are the records behind `machine.spec.disks`, in that order; `leaving` are disks of this machine that are
    to be removed: an undone operation made them. `authorized_keys` are public keys of the project beside those of
    the spec. `template` is what its first start may be forked from.
    """

    machine: Machine
    disks: tuple[Disk, ...]
    image: Image | None = None
    images: tuple[Image, ...] = ()
    authorized_keys: tuple[str, ...] = ()
    project_number: int = 0
    leaving: tuple[Disk, ...] = ()
    template: Template | None = None


@dataclass(frozen=True)
class DiskSeen:
    """A disk's file as it is: virtual size in MiB."""

    size_mib: int


@dataclass(frozen=True)
class ProcessSeen:
    """A QEMU process of a machine. `spec` is what it realises now: as started, and hot-plugged since.

    `runstate` is QEMU's own word (``running``, ``paused``, ``shutdown``, ``internal-error``, ``io-error`` ...).
    `boot_memory_mib` is the memory it was started with; the balloon moves below it. `forked`: it began as a fork.
    """

    pid: int
    runstate: str
    spec: MachineSpec
    restart_epoch: int
    boot_memory_mib: int
    started_at: float = 0.0
    accelerator: str = ""
    forwards: tuple[Forward, ...] = ()
    ssh_port: int = 0
    screen: str = ""
    memory_actual_mib: int = 0
    stage: Stage = Stage.RUNNING
    outcome: Outcome | None = None
    forked: bool = False


@dataclass(frozen=True)
class Observed:
    """What the host sees of a machine: files, and the process if there is one."""

    disks: dict[str, DiskSeen] = field(default_factory=dict)
    folder: bool = False
    seeded: bool = False
    host_key: str = ""
    process: ProcessSeen | None = None


@dataclass(frozen=True)
class Step:
    """One idempotent piece of work on the host. An `interruptible` one gives way to a newer desired state."""

    @property
    def name(self) -> str:
        """The step's word in operations, events and tests: ``make-disk``."""
        return STEPS[type(self)].name

    @property
    def interruptible(self) -> bool:
        return STEPS[type(self)].interruptible

    @property
    def phase(self) -> str:
        """What people read while it runs."""
        return STEPS[type(self)].phase


@dataclass(frozen=True)
class MakeDisk(Step):
    disk: Disk


@dataclass(frozen=True)
class GrowDisk(Step):
    disk: Disk


@dataclass(frozen=True)
class WriteSeed(Step):
    pass


@dataclass(frozen=True)
class Start(Step):
    """Start the process with its ports forwarded and its vCPUs standing still; `Resume` follows."""


@dataclass(frozen=True)
class Resume(Step):
    pass


@dataclass(frozen=True)
class Pause(Step):
    pass


@dataclass(frozen=True)
class Shutdown(Step):
    """Ask the guest, wait for the process's end at most `timeout_s`, then kill."""

    timeout_s: int


@dataclass(frozen=True)
class Kill(Step):
    pass


@dataclass(frozen=True)
class PlugDisk(Step):
    disk: DiskSpec


@dataclass(frozen=True)
class UnplugDisk(Step):
    disk: DiskSpec


@dataclass(frozen=True)
class PlugNic(Step):
    nic: NicSpec


@dataclass(frozen=True)
class UnplugNic(Step):
    nic: NicSpec


@dataclass(frozen=True)
class SetForwards(Step):
    nic: NicSpec


@dataclass(frozen=True)
class SetMemory(Step):
    memory_mib: int


@dataclass(frozen=True)
class RemoveDisk(Step):
    disk: Disk


@dataclass(frozen=True)
class RemoveFolder(Step):
    pass


@dataclass(frozen=True)
class StepRow:
    """What is said of a step: its name in operations, its phase for people, whether it may be interrupted."""

    name: str
    phase: str
    interruptible: bool = False


STEPS: dict[type[Step], StepRow] = {
    MakeDisk: StepRow("make-disk", "making disk"),
    GrowDisk: StepRow("grow-disk", "growing disk"),
    WriteSeed: StepRow("write-seed", "writing configuration"),
    Start: StepRow("start", "starting"),
    Resume: StepRow("resume", "resuming"),
    Pause: StepRow("pause", "pausing"),
    Shutdown: StepRow("shutdown", "shutting down", interruptible=True),
    Kill: StepRow("kill", "stopping"),
    PlugDisk: StepRow("plug-disk", "attaching disk"),
    UnplugDisk: StepRow("unplug-disk", "detaching disk"),
    PlugNic: StepRow("plug-nic", "attaching NIC"),
    UnplugNic: StepRow("unplug-nic", "detaching NIC"),
    SetForwards: StepRow("set-forwards", "forwarding ports"),
    SetMemory: StepRow("set-memory", "moving the balloon"),
    RemoveDisk: StepRow("remove-disk", "removing disk"),
    RemoveFolder: StepRow("remove-folder", "removing files"),
}

_STANDS_STILL = frozenset({"paused", "prelaunch", "io-error", "suspended"})
_HAS_ENDED = frozenset({"shutdown", "internal-error", "guest-panicked"})


def plan(desired: Desired, observed: Observed) -> tuple[Step, ...]:
    """The steps that lead from `observed` to `desired`, in order; empty when they agree."""
    machine, process = desired.machine, observed.process
    if machine.deleting:
        return _removal(desired, observed)
    steps: list[Step] = []
    if process and (machine.power is Power.STOPPED or process.restart_epoch != machine.restart_epoch):
        steps += _stop(machine.stop_timeout_s, process)
        process = None
    steps += _disks(desired, observed)
    steps += _leaving(desired, observed, process)
    if machine.power is Power.STOPPED:
        return tuple(steps)
    if process is None:
        if not observed.seeded:
            steps.append(WriteSeed())
        steps.append(Start())
        return tuple(steps)
    return (*steps, *_live(machine.spec, process), *_vcpus(machine.power, process))


def _removal(desired: Desired, observed: Observed) -> tuple[Step, ...]:
    steps: list[Step] = [Kill()] if observed.process else []
    going = {disk.id: disk for disk in desired.leaving}
    if desired.machine.deleting is Deleting.WITH_DISKS:
        going |= {disk.id: disk for disk in desired.disks}
    steps += [RemoveDisk(disk) for disk in going.values() if disk.id in observed.disks]
    if observed.folder:
        steps.append(RemoveFolder())
    return tuple(steps)


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
        if seen is None:
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
    steps += [UnplugNic(nic) for mac, nic in old_nics.items() if mac not in new_nics]
    steps += [PlugDisk(disk) for key, disk in new_disks.items() if key not in old_disks and hot_pluggable(disk)]
    steps += [PlugNic(nic) for mac, nic in new_nics.items() if mac not in old_nics]
    steps += [
        SetForwards(nic) for mac, nic in new_nics.items() if mac in old_nics and nic.forwards != old_nics[mac].forwards
    ]
    target = min(wanted.memory_mib, process.boot_memory_mib)
    if has.balloon and target != has.memory_mib:
        steps.append(SetMemory(target))
    return steps


def _vcpus(power: Power, process: ProcessSeen) -> list[Step]:
    still = process.runstate in _STANDS_STILL
    if power is Power.RUNNING and still:
        return [Resume()]
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
    if any(old[key] != disk for key, disk in new.items() if key in old):
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
