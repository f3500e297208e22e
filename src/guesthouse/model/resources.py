"""The other nouns of a house: projects, tokens, keys, images, templates, disks, snapshots, operations, events.

Each is a record as the store keeps it. Scalars are columns; `dict` and `Struct` fields are JSON documents.
Times are seconds since the epoch by the database's clock.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from guesthouse.model.machine import DiskFormat, MachineSpec, Power


class Role(StrEnum):
    """What a token may do in its project; each role may do all that the ones before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


class Quota(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of a project; None is unlimited."""

    machines: int | None = None
    vcpus: int | None = None
    memory_mib: int | None = None
    disk_mib: int | None = None
    addresses: int | None = None
    networks: int | None = None


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant. Its `number` gives the group id that may read its images."""

    id: str
    name: str
    number: int = 0
    quota: Quota = Quota()
    created_at: float = 0.0


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A bearer token of a project; only its SHA-256 is kept. `house` marks the operator of the whole house."""

    id: str
    project: str
    name: str
    role: Role
    digest: str
    house: bool = False
    created_at: float = 0.0


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """An SSH public key of a project, given to every machine launched afterwards, or only `on_request`."""

    id: str
    project: str
    name: str
    public: str
    fingerprint: str
    on_request: bool = False
    created_at: float = 0.0


class ImageState(StrEnum):
    """`retired`: nothing is made of it any more, and it goes when nothing stands on it."""

    MAKING = "making"
    READY = "ready"
    RETIRED = "retired"
    DELETING = "deleting"


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """A read-only disk, or kernel and initrd, or both, to launch from. `public` ones serve every project.

    A `data` one has no system: disks are made of it, and no machine is launched from it.

    Files lie in the image's own folder: `disk`, `kernel`, `initrd` are names in it, empty where it has none.
    `family` groups versions: a reference to a family means its newest ready image. `digest` is the SHA-256
    of the disk (of the initrd where there is no disk). `user` is the login that cloud-init makes.
    `host` is the one that has the files.
    """

    id: str
    project: str
    name: str
    family: str = ""
    version: str = ""
    state: ImageState = ImageState.MAKING
    public: bool = False
    data: bool = False
    host: str = ""
    os: str = ""
    architecture: str = "x86_64"
    format: str = ""
    virtual_mib: int = 0
    file_bytes: int = 0
    digest: str = ""
    source: str = ""
    disk: str = ""
    kernel: str = ""
    initrd: str = ""
    cmdline: str = ""
    user: str = ""
    created_at: float = 0.0


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """That another `project` may use an image as its own project does; it cannot change, share or delete it."""

    id: str
    project: str
    image: str
    created_at: float = 0.0


class TemplateState(StrEnum):
    """`retired`: nothing can be forked from it any more, but disks stand on it."""

    MAKING = "making"
    READY = "ready"
    RETIRED = "retired"
    DELETING = "deleting"


class TemplateRow(msgspec.Struct, frozen=True, kw_only=True):
    """The scalar columns of a template: a machine of an image, booted to its gate and frozen.

    `boot_ms` is what each fork of it saves, `memory_bytes` what they share. `frozen_by` names the QEMU and processor
    that froze it: no other can go on from it. A `public` one serves every project. It is on its `host`.
    """

    id: str
    project: str
    name: str
    image: str
    host: str = ""
    state: TemplateState = TemplateState.MAKING
    vcpus: int = 1
    memory_mib: int = 512
    public: bool = False
    frozen_by: str = ""
    boot_ms: int = 0
    memory_bytes: int = 0
    state_bytes: int = 0
    created_at: float = 0.0


class Template(TemplateRow, frozen=True, kw_only=True):
    """A template whole: `spec` is the hardware that it has, and that a fork must want."""

    spec: MachineSpec


class SnapshotState(StrEnum):
    MAKING = "making"
    READY = "ready"
    DELETING = "deleting"


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot has of a disk: the layer that was written to until then, and the disk's size."""

    layer: str
    size_mib: int


class SnapshotRow(msgspec.Struct, frozen=True, kw_only=True):
    """The scalar columns of a snapshot: a machine as it was. `parent` is the snapshot that the machine stood on.

    `power` is what was wanted of its vCPUs; `memory` tells whether memory and devices are kept, or disks alone.
    `pause_ms` is how long the guest stood still for it, `memory_bytes` what its memory takes up. A `passing` one is
    nobody's to name: it goes when the machines that are forked from it run, or the machine itself that it hibernates.
    `settle` says that its memory is to be turned into what is gone on from at once; where that failed or was cancelled
    it no longer is.
    """

    id: str
    project: str
    machine: str
    name: str
    parent: str = ""
    state: SnapshotState = SnapshotState.MAKING
    description: str = ""
    power: Power = Power.STOPPED
    memory: bool = False
    quiesced: bool = False
    passing: bool = False
    settle: bool = True
    pause_ms: int = 0
    memory_bytes: int = 0
    created_at: float = 0.0


class Snapshot(SnapshotRow, frozen=True, kw_only=True):
    """A snapshot whole: the machine's description as it was, and what is held of each of its disks, by their ids."""

    spec: MachineSpec
    disks: dict[str, Held] = {}


class DiskState(StrEnum):
    MAKING = "making"
    READY = "ready"
    DELETING = "deleting"


class Disk(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A writable disk. `image` is the image under it (qcow2) or copied into it (raw); `machine` who has it.

    `template` is the template whose frozen disk lies between the image and this one.

    A disk lies in layers, of which only `layer` is written to; "" is the one that it began with. `layers` has for each
    the one under it, None under the lowest; it is empty while there is but the first. A fork's disk began with those
    of the disk `origin`; the layers in `shared` are those of other disks, too.
    """

    id: str
    project: str
    name: str
    size_mib: int
    format: DiskFormat = DiskFormat.QCOW2
    thin: bool = True
    state: DiskState = DiskState.MAKING
    image: str = ""
    template: str = ""
    machine: str = ""
    host: str = ""
    layer: str = ""
    layers: dict[str, str | None] = {}
    origin: str = ""
    shared: tuple[str, ...] = ()
    created_at: float = 0.0


class OperationState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    UNDOING = "undoing"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = frozenset({OperationState.DONE, OperationState.FAILED, OperationState.CANCELLED})


class OperationRow(msgspec.Struct, frozen=True, kw_only=True):
    """The scalar columns of an operation.

    `subject` is the id of the machine, image or disk; `generation` the machine's generation that it wants;
    `epoch` counts the daemons that took it up: a write with an older epoch is refused.
    """

    id: str
    project: str
    kind: str
    subject_kind: str
    subject: str
    subject_name: str
    host: str = ""
    state: OperationState = OperationState.WAITING
    generation: int = 0
    epoch: int = 0
    step: str = ""
    phase: str = ""
    percent: float | None = None
    cancel_requested: bool = False
    created_at: float = 0.0
    ended_at: float = 0.0


class Operation(OperationRow, frozen=True, kw_only=True):
    """One durable, resumable piece of work: the row, what its steps need, its error and its result."""

    context: dict[str, Any] = {}
    error: dict[str, str] | None = None
    result: dict[str, Any] = {}

    @property
    def stamp(self) -> str:
        """Stands for what people see of it: another one means that it has moved on."""
        percent = "" if self.percent is None else f"{self.percent:.0f}"
        return f"{self.state.value}/{self.step}/{self.phase}/{percent}"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened, in the order of `number`; `data` is a small document."""

    number: int = 0
    project: str
    kind: str
    subject_kind: str
    subject: str
    subject_name: str
    at: float = 0.0
    data: dict[str, Any] = {}
