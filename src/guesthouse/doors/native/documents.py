"""The shapes of the native door that are not the model's own: parameters of views, and answers.

Rules
-----
1. A parameter that may be left out has a default or is `UNSET`: ``null`` is no text that means nothing.
2. An answer that shows a record extends the record, so that lists and single documents have the same fields.
3. What must not leave the house is left out by shape: a token's digest, what an operation's steps keep for
   themselves.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from guesthouse.doors.native.rows import Wait
from guesthouse.engine.snapshot_views import HeldDisk
from guesthouse.model.dialect import AccessKey
from guesthouse.model.machine import Machine, MachineSpec, State
from guesthouse.model.resources import Disk, Image, OperationRow, Project, Quota, Role, SnapshotRow, Template

MAX_LOG_BYTES = 4 * 1024 * 1024


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the parameters of views and of their bodies: unknown ones are refused."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Base of answers that show no record."""


# --- parameters ----------------------------------------------------------------------------------------------


class MachineFilter(Asked, frozen=True, kw_only=True):
    state: State | UnsetType = UNSET
    label: Annotated[str, Meta(pattern="^[^=]+=", description="name=value")] = ""


class TypeFilter(Asked, frozen=True, kw_only=True):
    family: Annotated[str, Meta(description="what stands before the point in their names")] = ""
    fits: Annotated[bool, Meta(description="only those that the host can have")] = False


class OfMachine(Asked, frozen=True, kw_only=True):
    machine: str


class OfPort(OfMachine, frozen=True, kw_only=True):
    port: Annotated[int, Meta(ge=1, le=65535, description="a TCP port of the machine")]


class MachineWait(OfMachine, frozen=True, kw_only=True):
    until: Literal["running", "reachable", "configured"] = "configured"
    wait_s: Wait = 30


class LogTail(OfMachine, frozen=True, kw_only=True):
    bytes: Annotated[int, Meta(ge=1, le=MAX_LOG_BYTES, description="how much of its end")] = 64 * 1024
    qemu: Annotated[bool, Meta(description="what QEMU had to say instead of the guest")] = False


class FileRef(OfMachine, frozen=True, kw_only=True):
    path: Annotated[str, Meta(pattern="^/", description="absolute path in the guest")]


class FilePut(FileRef, frozen=True, kw_only=True):
    mode: Annotated[str, Meta(pattern="^[0-7]{3,4}$", description="permissions, octal")] = "0644"


class OfSnapshot(OfMachine, frozen=True, kw_only=True):
    snapshot: str


class OfDisk(Asked, frozen=True, kw_only=True):
    disk: str


class OfImage(Asked, frozen=True, kw_only=True):
    image: str


class OfTemplate(Asked, frozen=True, kw_only=True):
    template: str


class OfProject(Asked, frozen=True, kw_only=True):
    project: str


class OfAccessKey(Asked, frozen=True, kw_only=True):
    access_key: str


class OfDoor(Asked, frozen=True, kw_only=True):
    door: str


class OperationFilter(Asked, frozen=True, kw_only=True):
    all: Annotated[bool, Meta(description="ended ones too")] = False


class OperationWait(Asked, frozen=True, kw_only=True):
    operation: str
    wait_s: Wait = 0
    after: Annotated[str, Meta(description="the `stamp` last seen; anything newer is told at once")] = ""


class EventRange(Asked, frozen=True, kw_only=True):
    after: Annotated[int, Meta(ge=0, description="number of the last event seen")] = 0
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class EventFollow(Asked, frozen=True, kw_only=True):
    after: Annotated[int, Meta(ge=0, description="number of the last event seen")] | UnsetType = UNSET


class Command(Asked, frozen=True, kw_only=True):
    """A program to run in the guest: `argv` is no shell line, `environment` has ``NAME=value`` strings.

    `stdin` is base64.
    """

    argv: Annotated[tuple[str, ...], Meta(min_length=1)]
    stdin: bytes = b""
    environment: tuple[str, ...] = ()
    timeout_s: Annotated[float, Meta(gt=0)] | None = None


# --- answers -------------------------------------------------------------------------------------------------


class HouseDocument(Answer, frozen=True, kw_only=True):
    """The daemon that answers. `home` and `pid` are told to the house's own operators only."""

    version: str
    api: str
    project: str
    accelerator: str
    home: str = ""
    pid: int = 0


class TypeDocument(Answer, frozen=True, kw_only=True):
    """A cloud's name of a size. `price` is in US dollars an hour, `fits` whether the host can have such machines."""

    name: str
    vcpus: int
    memory_mib: int
    disks: str = ""
    graphics: str = ""
    price: float = 0.0
    fits: bool = True


class MachineDocument(Machine, frozen=True, kw_only=True):
    """A machine's whole record with its disks, the name of its image, and the operation under way on it.

    `snapshot_name` is that of the snapshot on which it stands, `origin_name` that of the machine it was forked from. A
    `hibernated` one goes on from its memory when it is started.
    """

    disks: tuple[Disk, ...] = ()
    hibernated: bool = False
    image_name: str = ""
    snapshot_name: str = ""
    origin_name: str = ""
    operation: OperationRow | None = None


class SnapshotItem(SnapshotRow, frozen=True, kw_only=True):
    """A snapshot in the list of its machine's; `current` is the one that the machine stands on."""

    current: bool = False


class SnapshotDocument(SnapshotItem, frozen=True, kw_only=True):
    """A snapshot with its disks, the machine's description as it was, and the names of those around it in the tree."""

    spec: MachineSpec
    disks: tuple[HeldDisk, ...] = ()
    machine_name: str = ""
    parent_name: str = ""
    children: tuple[str, ...] = ()


class DiskDocument(Disk, frozen=True, kw_only=True):
    """A disk, the name of the machine that has it, and its files as they are on the storage."""

    machine_name: str = ""
    chain: dict[str, Any] = msgspec.field(default_factory=dict)


class ImageDocument(Image, frozen=True, kw_only=True):
    """An image, and for its own project the names of the others that may use it."""

    shared_with: tuple[str, ...] = ()


class TemplateDocument(Template, frozen=True, kw_only=True):
    """A template, the name of its image, and those of the machines that were forked from it."""

    image_name: str = ""
    forks: tuple[str, ...] = ()


class ProjectDocument(Project, frozen=True, kw_only=True):
    """A project and what it uses of its quota."""

    used: Quota


class TokenDocument(Answer, frozen=True, kw_only=True):
    """A token without its digest."""

    id: str
    project: str
    name: str
    role: Role
    house: bool
    created_at: float


class NewTokenDocument(Answer, frozen=True, kw_only=True):
    """A token just made; its secret is told this once."""

    token: TokenDocument
    secret: str


class AccessKeyDocument(AccessKey, frozen=True, kw_only=True):
    """An access key with its secret, for whoever signs requests."""

    secret: str


class DoorWanted(Answer, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a cloud's door is to listen: HOST:PORT, and whether over TLS, which it must but on the host's loopback."""

    listen: str
    tls: bool = False


class OperationDocument(OperationRow, frozen=True, kw_only=True):
    """An operation. `stamp` stands for what was seen of it; give it back as `after` to wait for more."""

    error: dict[str, str] | None = None
    result: dict[str, Any] = msgspec.field(default_factory=dict)
    stamp: str = ""


class Ended(Answer, frozen=True, kw_only=True):
    """How a program in the guest ended; the streams are base64. 128 + signal when a signal killed it."""

    exit_status: int
    stdout: bytes
    stderr: bytes


class SshDocument(Answer, frozen=True, kw_only=True):
    """How to log in. `identity_file` is a path on the house's host: told to the house's operators there.

    `known_hosts` is the line by which an SSH client knows the machine. With `tunnel` there is no way but the stream of
    its port 22; `host` is then the machine's name.
    """

    host: str
    port: int
    user: str
    identity_file: str
    known_hosts: str
    tunnel: bool = False


class ScreenDocument(Answer, frozen=True, kw_only=True):
    """The unix socket on which the machine's screen speaks VNC (RFB)."""

    path: str


class ErrorDetail(Answer, frozen=True, kw_only=True):
    """What went wrong, on what, in which field, and what to do; parts that say nothing are left out."""

    code: str
    message: str
    subject: str = ""
    field: str = ""
    value: str = ""
    hint: str = ""


class ErrorDocument(Answer, frozen=True, kw_only=True):
    error: ErrorDetail
