"""A machine: what was asked for, and what was seen.

Rules
-----
1. `MachineSpec` is what a person may say of a machine: the document of ``guest show --yaml`` and
   ``guest apply``. It holds no id of ours but those of resources that it names, and nothing observed.
2. `Machine` is the record: desired state (only the engine writes it; every change adds 1 to `generation`)
   beside observed state (only the host that holds the machine writes it).
3. Sizes are MiB. Unknown fields are refused when a spec is read.
4. What is here never refers to itself, and there are thousands of it: the collector of garbage is not to look at it.
"""

from __future__ import annotations

import base64
from enum import StrEnum

import msgspec

from guesthouse.model.metadata import MetadataOptions

PREPARING_MIB = 1024
"""The memory with which an image is booted to get its gate."""


class Power(StrEnum):
    """What the user wants of the vCPUs."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"


class State(StrEnum):
    """What the host sees of the machine."""

    CREATING = "creating"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    STOPPED = "stopped"
    CRASHED = "crashed"
    DELETING = "deleting"


class Stage(StrEnum):
    """How far a running machine is: its vCPUs execute, it answers, cloud-init is done."""

    NONE = ""
    RUNNING = "running"
    REACHABLE = "reachable"
    CONFIGURED = "configured"


class Deleting(StrEnum):
    """Whether the machine is to go, and what becomes of its disks."""

    NO = ""
    KEEP_DISKS = "keep-disks"
    WITH_DISKS = "with-disks"


class Firmware(StrEnum):
    """How a machine starts: direct kernel boot is fastest; `auto` takes it where the image brings a kernel."""

    AUTO = "auto"
    DIRECT = "direct"
    BIOS = "bios"
    UEFI = "uefi"


class DiskFormat(StrEnum):
    QCOW2 = "qcow2"
    RAW = "raw"


class Bus(StrEnum):
    VIRTIO = "virtio"
    SCSI = "scsi"
    IDE = "ide"


class Cache(StrEnum):
    """QEMU's cache modes; `writeback` honours the guest's flushes, `unsafe` does not and is for throw-aways."""

    WRITEBACK = "writeback"
    WRITETHROUGH = "writethrough"
    NONE = "none"
    UNSAFE = "unsafe"


class NicModel(StrEnum):
    VIRTIO = "virtio"
    E1000 = "e1000"


class Datasource(StrEnum):
    """Where cloud-init finds what it is to do: on a seed disk, or at the metadata service of a network."""

    SEED = "seed"
    METADATA = "metadata"


class OnShutdown(StrEnum):
    """What becomes of a machine whose guest powers itself off, or that is interrupted."""

    STOP = "stop"
    DELETE = "delete"


class Encoding(StrEnum):
    """How bytes are written in a description: as UTF-8, or, where they are no text, in base64 (RFC 4648, 4)."""

    TEXT = "text"
    BASE64 = "base64"


class DiskSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A disk of a machine. `disk` names an existing disk resource; without it one is made, `size_mib` large.

    One to `keep` outlasts the machine. One that is made has the content of an `image`, where one is named.
    """

    name: str = "root"
    disk: str = ""
    image: str = ""
    size_mib: int = 0
    format: DiskFormat = DiskFormat.QCOW2
    thin: bool = True
    bus: Bus = Bus.VIRTIO
    cache: Cache = Cache.WRITEBACK
    keep: bool = False


class Forward(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A port of the host's loopback that leads to a port of the guest; `host_port` 0 is chosen by the house."""

    guest_port: int
    host_port: int = 0
    protocol: str = "tcp"


class NicSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A network card on the `network` of that name, or, without one, on a user-mode network of its own.

    `mac` is chosen by the house when empty. So are, on a network, the `subnet` and the `address` in it. `groups` are
    names of groups of the network. A `public` one has an elastic address of its own as long as it is there.
    """

    model: NicModel = NicModel.VIRTIO
    mac: str = ""
    network: str = ""
    subnet: str = ""
    address: str = ""
    groups: tuple[str, ...] = ()
    forwards: tuple[Forward, ...] = ()
    public: bool = False


class MachineSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A machine as a person describes it.

    `type` is a cloud's name of its size, empty where it is none of a cloud's. `metadata` is what the metadata service
    does for it, whatever its `datasource` is. A `spot` one may be interrupted, after a notice, which ends it as
    `on_interruption` says. A `protected` one cannot be deleted until it is so no more;
    its guest can still end it, where `on_shutdown` has it deleted then. Machines of a project that say the same word in
    `apart` are on different hosts.
    """

    name: str
    image: str = ""
    type: str = ""
    vcpus: int = 1
    memory_mib: int = 512
    firmware: Firmware = Firmware.AUTO
    disks: tuple[DiskSpec, ...] = ()
    nics: tuple[NicSpec, ...] = (NicSpec(),)
    rng: bool = True
    vmgenid: bool = True
    balloon: bool = True
    agent: bool = True
    screen: bool = False
    user_data: str = ""
    user_data_encoding: Encoding = Encoding.TEXT
    datasource: Datasource = Datasource.SEED
    metadata: MetadataOptions = MetadataOptions()
    ssh_keys: tuple[str, ...] = ()
    autostart: bool = False
    spot: bool = False
    on_interruption: OnShutdown = OnShutdown.DELETE
    apart: str = ""
    protected: bool = False
    on_shutdown: OnShutdown = OnShutdown.STOP
    labels: dict[str, str] = {}

    @property
    def user_data_bytes(self) -> bytes:
        """The user-data as the guest gets it; raises `ValueError` where it is not in its encoding."""
        if self.user_data_encoding is Encoding.TEXT:
            return self.user_data.encode()
        return base64.b64decode("".join(self.user_data.split()), validate=True)


class Failure(msgspec.Struct, frozen=True):
    """One module of cloud-init that did not work, with its message."""

    module: str
    message: str


class Outcome(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What cloud-init reported at its end; `log` has its last lines when it went wrong."""

    ok: bool
    source: str = ""
    failures: tuple[Failure, ...] = ()
    log: str = ""


class MachineStatus(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the host saw of a machine; empty where it has seen nothing.

    `ended` is how it ended though nobody asked for that: powered-off (by its guest), crashed, host-restarted.
    """

    pid: int = 0
    accelerator: str = ""
    started_at: float = 0.0
    ssh_port: int = 0
    forwards: tuple[Forward, ...] = ()
    screen: str = ""
    host_key: str = ""
    outcome: Outcome | None = None
    pending_restart: tuple[str, ...] = ()
    memory_actual_mib: int = 0
    boot_id: str = ""
    ended: str = ""
    error: dict[str, str] | None = None


class MachineRow(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """The scalar columns of a machine: all that a list shows. `address` is its first on a network.

    `interrupted_at` is when it is ended to give its place away, or was; 0 where it is not.
    """

    id: str
    project: str
    name: str
    host: str
    image: str = ""
    template: str = ""
    origin: str = ""
    vcpus: int = 1
    memory_mib: int = 512
    nics: int = 1
    address: str = ""
    autostart: bool = False
    apart: str = ""
    power: Power = Power.STOPPED
    generation: int = 1
    restart_epoch: int = 0
    snapshot: str = ""
    restore: str = ""
    restore_epoch: int = 0
    stop_timeout_s: int = 60
    interrupted_at: float = 0.0
    deleting: Deleting = Deleting.NO
    state: State = State.CREATING
    stage: Stage = Stage.NONE
    observed_generation: int = 0
    ssh_port: int = 0
    created_at: float = 0.0


class Machine(MachineRow, kw_only=True, frozen=True, gc=False):
    """A machine's whole record: the row, what was asked for (`spec`) and what was seen (`status`).

    `template` is what its first start is forked from, empty where that is a boot. `origin` is the machine that it was
    forked from, `configured_as` the id under which cloud-init has configured its guest where that is not its own.

    A change of `restart_epoch` asks for a restart. `stop_timeout_s` is how long the guest may take to shut down by
    itself before it is forced; 0 forces at once. `snapshot` is the snapshot that it stands on. The first start of
    `restore_epoch` goes on from the memory of the snapshot `restore`; every later one is a boot. While that start has
    not been asked for the machine is hibernated (`decide.hibernation`).
    """

    spec: MachineSpec
    status: MachineStatus = MachineStatus()
    configured_as: str = ""
