"""What is wanted of a machine, and what is seen of it: what `decide.plan` leads from and to."""

from __future__ import annotations

from dataclasses import dataclass, field

from guesthouse.model.machine import Forward, Machine, MachineSpec, Outcome, Stage
from guesthouse.model.network import NetworkWanted
from guesthouse.model.resources import Disk, Image, Snapshot, Template


@dataclass(frozen=True)
class Desired:
    """All that the host needs to know of a machine: the record and the resources that its spec names.

    `disks` are the records behind `machine.spec.disks`, in that order; `leaving` are disks of this machine that are
    to be removed: an undone operation made them. `authorized_keys` are public keys of the project beside those of
    the spec. `template` is what its first start may be forked from. `snapshots` are all of the machine's, `aside` the
    disks that only they name. `source` is the snapshot of another machine that this one goes on from, and `forks` are
    the disks of others that are about to go on in this machine's layers. `read`: layers of its disks are read by
    somebody else, and may not be merged now. `networks` are those that its NICs are on.
    """

    machine: Machine
    disks: tuple[Disk, ...]
    image: Image | None = None
    images: tuple[Image, ...] = ()
    authorized_keys: tuple[str, ...] = ()
    project_number: int = 0
    leaving: tuple[Disk, ...] = ()
    template: Template | None = None
    snapshots: tuple[Snapshot, ...] = ()
    aside: tuple[Disk, ...] = ()
    source: Snapshot | None = None
    forks: tuple[Disk, ...] = ()
    read: bool = False
    networks: tuple[NetworkWanted, ...] = ()

    @property
    def restore(self) -> Snapshot | None:
        """The snapshot whose memory the next start goes on from, if none has yet at this restart epoch."""
        machine = self.machine
        if not machine.restore or machine.restore_epoch != machine.restart_epoch:
            return None
        if self.source is not None and self.source.id == machine.restore:
            return self.source
        return next((snapshot for snapshot in self.snapshots if snapshot.id == machine.restore), None)

    @property
    def wakes(self) -> bool:
        """Whether what the next start goes on from is the machine's own memory, kept when it was hibernated."""
        return self.restore is not None and self.restore.passing and self.source is None


@dataclass(frozen=True)
class DiskSeen:
    """A disk's files as they are: the virtual size in MiB of the layer to be written to, and the layers that are there.

    `layers` has for each the one that its file names as being under it, None where that is none of this disk's. Those
    in `shared` are layers of other disks, too.
    """

    size_mib: int
    layers: dict[str, str | None] = field(default_factory=lambda: {"": None})
    shared: frozenset[str] = frozenset()


@dataclass(frozen=True)
class SnapshotSeen:
    """A snapshot that is there whole: how long the guest stood still for it, and what its memory takes up.

    `unsettled`: its memory is a stream, or one is left of it, and could be settled here.
    """

    pause_ms: int = 0
    memory_bytes: int = 0
    unsettled: bool = False


@dataclass(frozen=True)
class ProcessSeen:
    """A QEMU process of a machine. `spec` is what it realises now: as started, and hot-plugged since.

    `runstate` is QEMU's own word (``running``, ``paused``, ``shutdown``, ``internal-error``, ``io-error`` ...).
    `boot_memory_mib` is the memory it was started with; the balloon moves below it. `forked`: it began as a fork.
    `layers` are the layers that it writes to, by the ids of its disks. `nameless`: it went on from another machine,
    and its guest still takes itself for that.
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
    layers: dict[str, str] = field(default_factory=dict)
    nameless: bool = False


@dataclass(frozen=True)
class Observed:
    """What the host sees of a machine: files, and the process if there is one.

    `networks` are the generations that this host has of those that it is on, by id.
    """

    disks: dict[str, DiskSeen] = field(default_factory=dict)
    folder: bool = False
    seeded: bool = False
    host_key: str = ""
    process: ProcessSeen | None = None
    snapshots: dict[str, SnapshotSeen] = field(default_factory=dict)
    networks: dict[str, int] = field(default_factory=dict)
