"""The seams by which engine, host, store and cluster meet; each a Protocol of one to four methods."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from guesthouse.decide.observed import Desired, Observed
from guesthouse.decide.steps import Step
from guesthouse.formats.pictures import Picture
from guesthouse.model.dialect import AccessKey, DoorRecord, Tag
from guesthouse.model.hosts import HostRecord, Load
from guesthouse.model.machine import Machine, MachineRow
from guesthouse.model.network import Elastic, Group, Network, NetworkWanted, Pool, Port, Subnet
from guesthouse.model.resources import (
    Disk,
    Event,
    Image,
    Key,
    Operation,
    OperationRow,
    Project,
    Share,
    Snapshot,
    SnapshotRow,
    Template,
    TemplateRow,
    Token,
)

Record = TypeVar("Record")
Row = TypeVar("Row")


class Progress(Protocol):
    """Told by long work how far it is; whoever started the work shows it."""

    def __call__(self, phase: str, percent: float | None = None) -> None:
        """`phase` is a word or two for people ("converting"); `percent` is 0-100, None where unknown."""


# --- host: what touches this box -----------------------------------------------------------------------------


class MachineHost(Protocol):
    """Machines as processes and files of this box."""

    async def observe(self, desired: Desired) -> Observed:
        """Look at the machine's files and process; adopts a process that an earlier daemon left running."""

    async def perform(self, step: Step, desired: Desired, progress: Progress) -> None:
        """Do one step; doing it again after it was killed half-way, or done, has the same result."""

    def follow(self) -> AsyncIterator[str]:
        """Ids of machines in which something happened: a process ended, a guest reported, vCPUs stopped."""


class ImageHost(Protocol):
    """Images as folders of this box. `context` is the operation's: what a step leaves for the next ones."""

    async def perform(
        self, kind: str, step: str, image: Image, context: Mapping[str, Any], progress: Progress
    ) -> Mapping[str, Any]:
        """Do one step of an image operation, return what to add to its context; see `engine.kinds`."""

    async def discard(self, image: Image, context: Mapping[str, Any]) -> None:
        """Remove all that the steps of this image made; it may be nothing."""


class DiskHost(Protocol):
    """Disks that no process holds. Those of a running machine change through `MachineHost`."""

    async def perform(self, kind: str, step: str, disk: Disk, context: Mapping[str, Any], progress: Progress) -> None:
        """Do one step of a disk operation; idempotent."""

    async def describe(self, disk: Disk, image: Image | None) -> Mapping[str, Any]:
        """Format, virtual and file bytes, and the chain below, as they are on the storage."""


class TemplateHost(Protocol):
    """Templates as folders of this box. `context` is the operation's, with the template's image."""

    async def perform(
        self, kind: str, step: str, template: Template, context: Mapping[str, Any], progress: Progress
    ) -> Mapping[str, Any]:
        """Do one step of a template operation, return what to add to its context; idempotent."""

    async def discard(self, template: Template) -> None:
        """Remove all that is there of it; it may be nothing."""

    async def frozen_by(self) -> str:
        """Who freezes here and can go on from what was frozen: accelerator, QEMU's version, processor."""


class MetadataDoor(Protocol):
    """Who answers machines that ask for their metadata."""

    async def open(self, network: str, sockets: Sequence[socket.socket]) -> None:
        """Answer on a network (an id) at these sockets of streams, which are closed with it."""

    async def close(self, network: str) -> None:
        """Answer there no more."""


class NetworkHost(Protocol):
    """Networks as links, rules and services of this box."""

    async def apply(self, wanted: NetworkWanted) -> None:
        """Have the network as it is wanted, whatever there was; what is there already is left, and so are connections.

        Raises `Conflict` or `Failed` where this box cannot have it, before anything has changed.
        """

    async def differs(self, wanted: NetworkWanted) -> Sequence[str]:
        """What of the network is not as it is wanted, in words; nothing when it is."""

    async def remove(self, network: Network) -> None:
        """Have no such network any more; there is none is as good."""

    def follow(self) -> AsyncIterator[str]:
        """Ids of networks that are no longer as they were applied."""


@dataclass(frozen=True)
class Lease:
    """An address that a machine has asked for and got; `mac` is empty with IPv6."""

    address: str
    mac: str
    expires_at: float


@dataclass(frozen=True)
class HostAddresses:
    """What this box has without our networks: addresses of its own, and blocks to which it knows a way."""

    own: tuple[str, ...] = ()
    reached: tuple[str, ...] = ()


class NetworkFacts(Protocol):
    """What of networks this box can have, and has."""

    async def refusal(self) -> Finding | None:
        """Why this box can have no networks; None where it can."""

    async def addresses(self) -> HostAddresses:
        """Addresses that a network must not have, for they are somebody else's here."""

    def leases(self, network: Network) -> Sequence[Lease]:
        """What machines of the network have asked for, as its name server has written it down."""

    def reached(self) -> bool:
        """Whether this box itself reaches machines at their addresses, on networks whose mode lets it."""


@dataclass(frozen=True)
class GuestCommand:
    """A program to run in the guest through its agent."""

    argv: tuple[str, ...]
    stdin: bytes = b""
    environment: tuple[str, ...] = ()
    timeout_s: float | None = None


@dataclass(frozen=True)
class GuestResult:
    """How it ended: exit status (128 + signal when killed by one) and both streams."""

    exit_status: int
    stdout: bytes
    stderr: bytes


class Console(Protocol):
    """An open console: bytes out, bytes in."""

    async def receive(self) -> bytes:
        """The next bytes; empty when the machine is gone."""

    async def send(self, data: bytes) -> None: ...


class Guests(Protocol):
    """The inside of running machines."""

    async def execute(self, machine: str, command: GuestCommand) -> GuestResult:
        """Run a program through the guest agent; raises `Conflict` where none answers."""

    def console(self, machine: str) -> AbstractAsyncContextManager[Console]:
        """Open the serial console; several may look at the same time."""

    async def log(self, machine: str, last_bytes: int, *, qemu: bool = False) -> bytes:
        """The end of what the machine wrote to its console, over restarts; with `qemu`, of QEMU's own words."""

    async def screenshot(self, machine: str) -> Picture:
        """What the machine's screen shows now."""


class Stream(Protocol):
    """A TCP connection to a machine. Each direction ends by itself."""

    async def receive(self) -> bytes:
        """The next bytes; empty when the machine has said all. Raises `Conflict` where the connection broke."""

    async def send(self, data: bytes) -> None:
        """Pass bytes on, and return when there is room for more; raises as `receive`."""

    async def end(self) -> None:
        """Tell the machine that nothing more comes."""


class Streams(Protocol):
    """Connections to machines, from where they are reached."""

    def connect(self, network: Network | None, address: str, port: int) -> AbstractAsyncContextManager[Stream]:
        """Connect to a TCP port from within a network, or from the host itself; it is closed with the block.

        Raises `Conflict` where nobody takes it, `TimedOut` where nobody answers.
        """


class GuestFiles(Protocol):
    """Files inside running machines, through the guest agent."""

    def read(self, machine: str, path: str) -> AsyncIterator[bytes]:
        """A file's bytes in pieces; raises `NotFound` where there is none."""

    async def write(self, machine: str, path: str, chunks: AsyncIterator[bytes], mode: int | None) -> None:
        """Write a file anew; `mode` are its permission bits, None keeps the guest's default."""


@dataclass(frozen=True)
class Capacity:
    """What this box has and what is free of it."""

    cpus: int
    memory_mib: int
    memory_free_mib: int
    disk_free_mib: int
    accelerator: str


@dataclass(frozen=True)
class Finding:
    """One line of ``guest host check``: what was looked at, how it stands, and what mends it."""

    name: str
    level: str
    found: str
    fix: str = ""


class HostFacts(Protocol):
    """What this box is and can."""

    async def capacity(self) -> Capacity: ...

    async def check(self) -> Sequence[Finding]: ...

    async def port_is_free(self, port: int, protocol: str) -> bool: ...


class HouseKeys(Protocol):
    """What the house keeps to itself: an SSH key pair for each project, by which `guest shell` enters, and a secret."""

    async def public(self, project: str) -> str:
        """The public key line; made at the first call."""

    def private_path(self, project: str) -> str: ...

    async def secret(self) -> bytes:
        """Of which the secrets of access keys are made; made at the first call."""


class Host(Protocol):
    """This box, whole: all of its ports."""

    @property
    def machines(self) -> MachineHost: ...
    @property
    def guests(self) -> Guests: ...
    @property
    def files(self) -> GuestFiles: ...
    @property
    def streams(self) -> Streams: ...
    @property
    def images(self) -> ImageHost: ...
    @property
    def disks(self) -> DiskHost: ...
    @property
    def templates(self) -> TemplateHost: ...
    @property
    def networks(self) -> NetworkHost: ...
    @property
    def network_facts(self) -> NetworkFacts: ...
    @property
    def facts(self) -> HostFacts: ...
    @property
    def keys(self) -> HouseKeys: ...


# --- engine: where tests may step in --------------------------------------------------------------------------


class Checkpoint(Protocol):
    """Called before and after every step of every operation: a test may end the daemon there."""

    async def __call__(self, kind: str, step: str, edge: str) -> None: ...


# --- store: what is remembered -------------------------------------------------------------------------------


class Reader(Protocol[Record, Row]):
    """Read records of one noun. Filters are equalities on scalar columns."""

    async def get(self, id: str) -> Record | None: ...

    async def select(self, **equal: object) -> list[Record]:
        """Whole records, oldest first."""

    async def scan(self, **equal: object) -> list[Row]:
        """Scalar columns only, oldest first: what lists use. No document is read."""


class Writer(Protocol[Record]):
    """Write records of one noun."""

    async def insert(self, record: Record) -> Record:
        """Add it and return it as stored, with the database's time; a taken name raises `Conflict`."""

    async def update(self, id: str, expect: Mapping[str, object], **changes: object) -> bool:
        """Change some fields if all of `expect` still hold; False when they do not."""

    async def delete(self, id: str) -> None: ...


class Table(Reader[Record, Row], Writer[Record], Protocol[Record, Row]):
    """A noun's records, inside a transaction."""


class Transaction(Protocol):
    """All tables, as of one transaction."""

    @property
    def hosts(self) -> Table[HostRecord, HostRecord]: ...
    @property
    def projects(self) -> Table[Project, Project]: ...
    @property
    def tokens(self) -> Table[Token, Token]: ...
    @property
    def keys(self) -> Table[Key, Key]: ...
    @property
    def images(self) -> Table[Image, Image]: ...
    @property
    def disks(self) -> Table[Disk, Disk]: ...
    @property
    def templates(self) -> Table[Template, TemplateRow]: ...
    @property
    def machines(self) -> Table[Machine, MachineRow]: ...
    @property
    def snapshots(self) -> Table[Snapshot, SnapshotRow]: ...
    @property
    def networks(self) -> Table[Network, Network]: ...
    @property
    def subnets(self) -> Table[Subnet, Subnet]: ...
    @property
    def groups(self) -> Table[Group, Group]: ...
    @property
    def ports(self) -> Table[Port, Port]: ...
    @property
    def elastics(self) -> Table[Elastic, Elastic]: ...
    @property
    def pools(self) -> Table[Pool, Pool]: ...
    @property
    def access_keys(self) -> Table[AccessKey, AccessKey]: ...
    @property
    def door_records(self) -> Table[DoorRecord, DoorRecord]: ...
    @property
    def tags(self) -> Table[Tag, Tag]: ...
    @property
    def shares(self) -> Table[Share, Share]: ...
    @property
    def operations(self) -> Table[Operation, OperationRow]: ...
    @property
    def events(self) -> EventLog: ...

    async def moment(self) -> Moment:
        """The state that this transaction reads."""

    async def now(self) -> float:
        """Seconds since the epoch by the database's clock."""

    async def promised(self) -> dict[str, int]:
        """Memory in MiB of machines that are to run and have not been seen to, by host."""

    async def loads(self) -> dict[str, Load]:
        """What is placed on each host that has machines."""


class EventLog(Protocol):
    """What happened, in order."""

    async def append(self, event: Event) -> None: ...

    async def after(self, number: int, project: str | None, limit: int) -> list[Event]: ...

    async def last(self) -> int: ...


@dataclass(frozen=True)
class Moment:
    """A state of the store. Where two have the same `number`, no record was written between them.

    `at` is the database's time.
    """

    number: int
    at: float


Touched = Mapping[str, Mapping[str, bool]]
"""Ids of records that were written, by table, in the order of writing; True for new ones."""


class Store(Protocol):
    """Where state is kept. A transaction commits when its block ends well, else it rolls back."""

    def read(self) -> AbstractAsyncContextManager[Transaction]: ...

    def write(self) -> AbstractAsyncContextManager[Transaction]:
        """One writer at a time; serialisable against other writers."""

    async def now(self) -> float:
        """Seconds since the epoch by the database's clock."""


class Journal(Protocol):
    """What has been written, for those who keep what they have read."""

    def touched(self, after: int, until: int) -> Touched | None:
        """What was written between two moments, by their numbers; None where that is not known."""


class JournaledStore(Store, Journal, Protocol):
    """A store that tells what has been written."""


class Leases(Protocol):
    """Who says that it is there."""

    async def renew(self, host: str, instance: str, **facts: object) -> bool:
        """Note what a host has, at the database's time; False where another daemon is that host now.

        Waits for no writer, and is no hint to anybody.
        """


class Changes(Protocol):
    """Who follows what the store keeps."""

    def watch(self) -> AsyncIterator[None]:
        """An item at once, then one whenever something may have been committed: a hint to look, nothing more."""


class Database(JournaledStore, Leases, Changes, Protocol):
    """All that a database does for an engine."""
