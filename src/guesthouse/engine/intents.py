"""What may be asked of a house, whatever the dialect of the door that heard it.

Rules
-----
1. A door parses its dialect into one of these and hands it to `Engine.accept`; it never writes state itself.
2. A thing is named by its name or its id (`machine`, `disk`, `image` fields). Empty strings are "not said".
3. The role that an intent needs and the function that accepts it stand in one row of `engine.accept.INTENTS`.
"""

from __future__ import annotations

import msgspec

from guesthouse.decide.placement import Way
from guesthouse.model.machine import (
    Bus,
    Cache,
    Datasource,
    DiskFormat,
    Encoding,
    Firmware,
    Forward,
    MachineSpec,
    NicSpec,
    OnShutdown,
    Power,
)
from guesthouse.model.metadata import Dialect
from guesthouse.model.resources import Quota, Role


class Asker(msgspec.Struct, frozen=True):
    """Who asks: a role in a project. `house` is the operator of the whole house (the unix socket's owner)."""

    project: str
    role: Role
    house: bool = False


class Intent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all intents: immutable, unknown fields refused."""


# --- machines ------------------------------------------------------------------------------------------------


class Launch(Intent, frozen=True, kw_only=True):
    """Make a machine. An empty name is generated; without disks it gets a root disk if its image has one.

    It is forked from a template that fits, if there is one; `cold` boots it all the same. `host` and `zone` say where
    it is to run, else the house chooses: `way` tells whether machines are spread over hosts or packed.
    """

    spec: MachineSpec
    start: bool = True
    cold: bool = False
    host: str = ""
    zone: str = ""
    way: Way = Way.SPREAD


class Fork(Intent, frozen=True, kw_only=True):
    """Make machines that go on from where one is now, or was at a `snapshot` of it.

    Several are called by `name` (the machine's where it is not said) and a number; one alone by `name` as it is.
    """

    machine: str
    name: str = ""
    count: int = 1
    snapshot: str = ""


class Start(Intent, frozen=True, kw_only=True):
    """Start a machine. One that is hibernated goes on; `cold` boots it, and its memory is lost."""

    machine: str
    cold: bool = False


class Stop(Intent, frozen=True, kw_only=True):
    """Shut down gracefully within `timeout_s`, then by force; `force` does not ask the guest at all.

    `hibernate` keeps the machine's memory instead, and the next start goes on from it.
    """

    machine: str
    timeout_s: int = 60
    force: bool = False
    hibernate: bool = False


class Interrupt(Intent, frozen=True, kw_only=True):
    """End a spot machine to give its place away: its guest is told, `notice_s` later it is deleted or stopped."""

    machine: str
    notice_s: int = 120


class EndInterrupted(Intent, frozen=True, kw_only=True):
    """End a machine whose notice is over."""

    machine: str


class Restart(Intent, frozen=True, kw_only=True):
    machine: str
    timeout_s: int = 60
    force: bool = False


class Pause(Intent, frozen=True, kw_only=True):
    machine: str


class Resume(Intent, frozen=True, kw_only=True):
    machine: str


class Delete(Intent, frozen=True, kw_only=True):
    machine: str
    keep_disks: bool = False


class Rename(Intent, frozen=True, kw_only=True):
    machine: str
    name: str


class MetadataChange(Intent, frozen=True, kw_only=True):
    """Change what the metadata service does for a machine (`MetadataOptions`): fields that are None stay."""

    enabled: bool | None = None
    tokens_required: bool | None = None
    hop_limit: int | None = None
    ipv6: bool | None = None
    labels: bool | None = None
    dialects: tuple[Dialect, ...] | None = None


class Change(Intent, frozen=True, kw_only=True):
    """Change a machine: fields that are None stay. What cannot change live waits for the next start.

    `type` is a cloud's name of its size. `keep` says of its disks, by their names in it, whether they outlast it.
    User-data can be changed where the metadata service tells it.
    """

    machine: str
    type: str | None = None
    vcpus: int | None = None
    memory_mib: int | None = None
    firmware: Firmware | None = None
    nics: tuple[NicSpec, ...] | None = None
    balloon: bool | None = None
    rng: bool | None = None
    agent: bool | None = None
    vmgenid: bool | None = None
    screen: bool | None = None
    autostart: bool | None = None
    protected: bool | None = None
    on_shutdown: OnShutdown | None = None
    labels: dict[str, str] | None = None
    metadata: MetadataChange | None = None
    keep: dict[str, bool] | None = None
    user_data: str | None = None
    user_data_encoding: Encoding | None = None


class Apply(Intent, frozen=True, kw_only=True):
    """Make the machine that the document describes, or change the one of that name into it."""

    spec: MachineSpec


class ForwardAdd(Intent, frozen=True, kw_only=True):
    """Forward a port of the host's loopback to a machine's first NIC."""

    machine: str
    forward: Forward


class ForwardRemove(Intent, frozen=True, kw_only=True):
    machine: str
    guest_port: int
    protocol: str = "tcp"


# --- snapshots -----------------------------------------------------------------------------------------------


class SnapshotCreate(Intent, frozen=True, kw_only=True):
    """Keep a machine as it is now. An empty name is chosen; `disks_only` leaves memory and devices out.

    `quiesce` has the guest's agent freeze its file systems meanwhile; it is for disks alone.
    """

    machine: str
    name: str = ""
    description: str = ""
    disks_only: bool = False
    quiesce: bool = False


class SnapshotRevert(Intent, frozen=True, kw_only=True):
    """Make a machine what it was; what it is now is lost. `power` None is as it was."""

    machine: str
    snapshot: str
    power: Power | None = None


class SnapshotDelete(Intent, frozen=True, kw_only=True):
    """Forget a snapshot; those that were taken after it stay as they are."""

    machine: str
    snapshot: str


class SnapshotRename(Intent, frozen=True, kw_only=True):
    machine: str
    snapshot: str
    name: str


# --- disks ---------------------------------------------------------------------------------------------------


class DiskCreate(Intent, frozen=True, kw_only=True):
    """Make a disk, empty or with what an `image` has, by default as large as that. An empty name is chosen."""

    name: str = ""
    size_mib: int = 0
    image: str = ""
    format: DiskFormat = DiskFormat.QCOW2
    thin: bool = True


class DiskAttach(Intent, frozen=True, kw_only=True):
    """Give a disk to a machine, which calls it by `name`, or as the disk is called; one to `keep` outlasts it."""

    disk: str
    machine: str
    name: str = ""
    bus: Bus = Bus.VIRTIO
    cache: Cache = Cache.WRITEBACK
    keep: bool = False


class DiskDetach(Intent, frozen=True, kw_only=True):
    disk: str


class DiskResize(Intent, frozen=True, kw_only=True):
    disk: str
    size_mib: int


class DiskConvert(Intent, frozen=True, kw_only=True):
    disk: str
    format: DiskFormat


class DiskDelete(Intent, frozen=True, kw_only=True):
    disk: str


# --- images --------------------------------------------------------------------------------------------------


class ImageBuild(Intent, frozen=True, kw_only=True):
    """Build an image from the host's own Debian packages; `recipe` is ``debian`` or ``micro``."""

    recipe: str
    name: str = ""


class TemplateCreate(Intent, frozen=True, kw_only=True):
    """Boot an image once to its gate and freeze it, for launches with this hardware to be forked from.

    An empty name becomes that of the image with vCPUs and memory. A `public` one serves every project, whose machines
    then share memory: only the operator of the house can make one, of a public image.
    """

    image: str
    name: str = ""
    vcpus: int = 1
    memory_mib: int = 512
    firmware: Firmware = Firmware.AUTO
    datasource: Datasource = Datasource.SEED
    public: bool = False


class TemplateDelete(Intent, frozen=True, kw_only=True):
    """Delete a template; machines that were forked from it are their own."""

    template: str


class ImageImport(Intent, frozen=True, kw_only=True):
    """Take a disk image from a file of the host or a URL. `format` is found out unless said."""

    source: str
    name: str
    sha256: str = ""
    format: str = ""
    family: str = ""
    user: str = ""
    public: bool = False


class ImagePull(Intent, frozen=True, kw_only=True):
    """Fetch an image like ``debian:12`` from an image server in simplestreams layout."""

    reference: str
    server: str = ""
    name: str = ""
    public: bool = False


class ImageCreate(Intent, frozen=True, kw_only=True):
    """Make an image of a disk, or of a machine's root disk, as it is now, or as a `snapshot` of the machine holds it.

    The machine that has it runs on. `quiesce` has the guest's agent freeze its file systems for the moment that the
    image shows; `pause` has its vCPUs stand still while the disk is read; with `reboot` it is shut down for that
    moment, and started again. Images of one machine that are asked for together show the same moment.

    A stopped machine is left alone until its disk has been read; `by_snapshot` has it get a snapshot for that, as one
    that runs does, so that it can be started meanwhile.

    The image of a disk that never had a system is `data`, others where that is said. An empty name is chosen.
    """

    machine: str = ""
    disk: str = ""
    name: str = ""
    snapshot: str = ""
    data: bool = False
    quiesce: bool = False
    pause: bool = False
    reboot: bool = False
    by_snapshot: bool = False


class ImageCopy(Intent, frozen=True, kw_only=True):
    """Make an image of the project's own of one that it may use. `data` None is as that is."""

    image: str
    name: str = ""
    data: bool | None = None


class ImageChange(Intent, frozen=True, kw_only=True):
    """Change what an image is for: fields that are None stay."""

    image: str
    public: bool | None = None
    data: bool | None = None


class ImageShare(Intent, frozen=True, kw_only=True):
    """Let another project use an image; `project` is its name, its id or its number."""

    image: str
    project: str


class ImageUnshare(Intent, frozen=True, kw_only=True):
    """Let another project use an image no more; what it has made of it stays."""

    image: str
    project: str


class ImagePrepare(Intent, frozen=True, kw_only=True):
    """Make an image with a gate of one without, for templates to be made of it. An empty name is chosen."""

    image: str
    name: str = ""
    public: bool = False


class ImageExport(Intent, frozen=True, kw_only=True):
    image: str
    path: str
    format: str = "qcow2"
    compress: bool = False


class ImageDelete(Intent, frozen=True, kw_only=True):
    """Delete an image. `when_free`: nothing new is made of it from now on, and it goes when nothing stands on it."""

    image: str
    when_free: bool = False


# --- operations, projects, tokens, keys ----------------------------------------------------------------------


class OperationCancel(Intent, frozen=True, kw_only=True):
    operation: str


class ProjectCreate(Intent, frozen=True, kw_only=True):
    name: str
    quota: Quota = Quota()


class ProjectChange(Intent, frozen=True, kw_only=True):
    """Set a project's limits; the whole quota is replaced."""

    project: str
    quota: Quota


class ProjectDelete(Intent, frozen=True, kw_only=True):
    project: str


class TokenCreate(Intent, frozen=True, kw_only=True):
    """Make a bearer token; its secret is told once and kept only as a digest.

    A `house` token is an operator of the whole house, in any project; only such an operator can make one.
    """

    name: str
    role: Role = Role.OPERATOR
    house: bool = False


class TokenDelete(Intent, frozen=True, kw_only=True):
    token: str


class KeyAdd(Intent, frozen=True, kw_only=True):
    """Add an SSH key. One `on_request` is given to those machines alone that name it."""

    name: str
    public: str
    on_request: bool = False


class KeyDelete(Intent, frozen=True, kw_only=True):
    key: str
