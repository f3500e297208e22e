"""The steps that a machine's host can do: one class each, and the table that names them.

Each is idempotent: doing it again after it was killed half-way, or done, has the same result.
"""

from __future__ import annotations

from dataclasses import dataclass

from guesthouse.model.machine import DiskSpec, NicSpec
from guesthouse.model.resources import Disk, Snapshot


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
class ApplyNetworks(Step):
    """Have the networks that the machine is on as they are wanted: what changed may be its place there."""


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
class TakeSnapshot(Step):
    """Put the machine's state away, and let its disks go on in their new layers; both at the same moment."""

    snapshot: Snapshot


@dataclass(frozen=True)
class ShareLayers(Step):
    """Let another machine's disk have the layers that it begins with."""

    disk: Disk


@dataclass(frozen=True)
class GiveIdentity(Step):
    """Make somebody of its own of a guest that went on from another machine."""


@dataclass(frozen=True)
class GiveWay(Step):
    """End the process for one that goes on from the snapshot, once it is sure that one can."""

    snapshot: Snapshot


@dataclass(frozen=True)
class MergeLayer(Step):
    """Take into a layer all that lies between it and the one that is wanted under it."""

    disk: Disk
    layer: str


@dataclass(frozen=True)
class RemoveLayer(Step):
    """Remove the file of a layer that nothing stands on."""

    disk: Disk
    layer: str


@dataclass(frozen=True)
class RemoveSnapshot(Step):
    snapshot: Snapshot


@dataclass(frozen=True)
class SettleMemory(Step):
    """Turn the stream of a snapshot's memory into a file that is gone on from at once, and shared by all who do."""

    snapshot: Snapshot


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
    ApplyNetworks: StepRow("apply-networks", "changing networks"),
    SetMemory: StepRow("set-memory", "moving the balloon"),
    RemoveDisk: StepRow("remove-disk", "removing disk"),
    RemoveFolder: StepRow("remove-folder", "removing files"),
    TakeSnapshot: StepRow("take-snapshot", "taking the snapshot"),
    ShareLayers: StepRow("share-layers", "sharing disks"),
    GiveIdentity: StepRow("give-identity", "giving it a name of its own"),
    GiveWay: StepRow("give-way", "stopping"),
    MergeLayer: StepRow("merge-layer", "merging", interruptible=True),
    RemoveLayer: StepRow("remove-layer", "removing what is of no more use"),
    RemoveSnapshot: StepRow("remove-snapshot", "removing the snapshot"),
    SettleMemory: StepRow("settle-memory", "settling memory", interruptible=True),
}
