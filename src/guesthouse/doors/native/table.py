"""The native door as a table: one row an operation. Paths are below ``/v1``.

To add an operation, add a row. Routing, docs/api.md, the OpenAPI document and the tests read this table; nothing
else knows the operations.
"""

from __future__ import annotations

from typing import Any

from guesthouse.doors.native import cloud_views, host_views, metrics, network_views, sessions, views
from guesthouse.doors.native.documents import (
    AccessKeyDocument,
    Command,
    DiskDocument,
    DoorWanted,
    Ended,
    EventFollow,
    EventRange,
    FilePut,
    FileRef,
    HouseDocument,
    ImageDocument,
    LogTail,
    MachineDocument,
    MachineFilter,
    MachineWait,
    NewTokenDocument,
    OfAccessKey,
    OfDisk,
    OfDoor,
    OfImage,
    OfMachine,
    OfPort,
    OfProject,
    OfSnapshot,
    OfTemplate,
    OperationDocument,
    OperationFilter,
    OperationWait,
    ProjectDocument,
    ScreenDocument,
    SnapshotDocument,
    SnapshotItem,
    SshDocument,
    TemplateDocument,
    TokenDocument,
    TypeDocument,
    TypeFilter,
)
from guesthouse.doors.native.host_documents import HostDocument, OfHost, PlaceDocument
from guesthouse.doors.native.network_documents import (
    AddressDocument,
    GroupDocument,
    NetworkDocument,
    NetworkItem,
    NicItem,
    OfAddress,
    OfGroup,
    OfNetwork,
)
from guesthouse.doors.native.rows import DOCUMENT_BYTES, OCTETS, PNG, STDIN_BYTES, TEXT, Content, Row, ask, follow, see
from guesthouse.engine import door_intents, intents, network_intents, nic_intents
from guesthouse.engine.accept import Removed
from guesthouse.engine.host_intents import HostChange
from guesthouse.model.dialect import AccessKey, OpenDoor
from guesthouse.model.hosts import HostRecord
from guesthouse.model.machine import MachineRow
from guesthouse.model.network import Elastic, Group, Pool, Subnet
from guesthouse.model.resources import (
    Disk,
    Event,
    Image,
    Key,
    OperationRow,
    Project,
    Role,
    Share,
    SnapshotRow,
    TemplateRow,
)
from guesthouse.ports import Capacity, Finding

_LATER: dict[str, Any] = {"answer": OperationDocument, "status": 202, "waits": True}
_INSIDE: dict[str, Any] = {"role": Role.OPERATOR}

HOUSE = (
    see("GET", "/house", views.house, "The daemon: version, accelerator, and who it takes you for", HouseDocument),
    see("GET", "/host", views.capacity, "What the host has and what is free of it", Capacity, house=True),
    see("GET", "/host/check", views.findings, "What was looked at on the host, and what mends it", list[Finding],
        house=True),
    see("GET", "/openapi.json", views.openapi, "This door as an OpenAPI 3.1 document", dict[str, Any]),
    see("GET", "/metrics", metrics.scrape, "Metrics for Prometheus; those of the host for the house's operators",
        Content(metrics.MEDIA_TYPE)),
)  # fmt: skip

HOSTS = (
    see("GET", "/hosts", host_views.hosts, "List the hosts of the house", list[HostDocument], house=True),
    see("GET", "/hosts/{host}", host_views.host, "Show a host; `here` is the one that answers", HostDocument, OfHost,
        house=True),
    ask("PATCH", "/hosts/{host}", HostChange, "Say where a host is, and how much it may promise", HostRecord),
    see("POST", "/placements", host_views.placements, "Tell where a machine would be placed, and why",
        list[PlaceDocument], body=intents.Launch, role=Role.OPERATOR, house=True, body_limit_bytes=DOCUMENT_BYTES),
)  # fmt: skip

MACHINES = (
    ask("POST", "/machines", intents.Launch, "Make a machine and start it", **_LATER,
        body_limit_bytes=DOCUMENT_BYTES),
    see("GET", "/machines", views.machines, "List machines", list[MachineRow], MachineFilter),
    see("GET", "/machines/{machine}", views.machine, "Show a machine", MachineDocument, OfMachine),
    ask("PUT", "/machines/{name}", intents.Apply, "Make the machine described, or change the one there into it",
        **_LATER, build=views.apply_named, body_limit_bytes=DOCUMENT_BYTES),
    ask("PATCH", "/machines/{machine}", intents.Change, "Change a machine; fields not said stay", **_LATER),
    ask("DELETE", "/machines/{machine}", intents.Delete, "Delete a machine, with or without its disks", **_LATER),
    ask("POST", "/machines/{machine}/forks", intents.Fork, "Make machines that go on from where one is", **_LATER),
    ask("POST", "/machines/{machine}/start", intents.Start, "Start a machine", **_LATER),
    ask("POST", "/machines/{machine}/stop", intents.Stop, "Shut a machine down, by force when it takes too long",
        **_LATER),
    ask("POST", "/machines/{machine}/restart", intents.Restart, "Stop a machine and start it again", **_LATER),
    ask("POST", "/machines/{machine}/interrupt", intents.Interrupt,
        "End a spot machine after a notice, which its guest gets by the metadata service", **_LATER),
    ask("POST", "/machines/{machine}/pause", intents.Pause, "Halt a machine's vCPUs", **_LATER),
    ask("POST", "/machines/{machine}/resume", intents.Resume, "Let a paused machine go on", **_LATER),
    ask("POST", "/machines/{machine}/rename", intents.Rename, "Give a machine another name", **_LATER),
    ask("POST", "/machines/{machine}/forwards", intents.ForwardAdd, "Forward a port of the host to a machine",
        **_LATER),
    ask("DELETE", "/machines/{machine}/forwards/{protocol}/{guest_port}", intents.ForwardRemove,
        "Take a port forward away", **_LATER),
    see("GET", "/machines/{machine}/nics", network_views.nics, "List a machine's NICs", list[NicItem], OfMachine),
    ask("POST", "/machines/{machine}/nics", nic_intents.NicAdd, "Give a machine a NIC more", **_LATER),
    ask("PATCH", "/machines/{machine}/nics/{nic}", nic_intents.NicChange, "Have a NIC be in other groups", **_LATER),
    ask("POST", "/machines/{machine}/nics/{nic}/move", nic_intents.NicMove,
        "Have a NIC be on another network, or elsewhere on its own", **_LATER),
    ask("DELETE", "/machines/{machine}/nics/{nic}", nic_intents.NicRemove, "Take a NIC from a machine", **_LATER),
    see("GET", "/types", views.types, "List sizes of machines by the names that clouds have for them",
        list[TypeDocument], TypeFilter),
    see("GET", "/machines/{machine}/wait", views.wait_machine,
        "The machine, once it is so far, or can no more be, or the time is over", MachineDocument, MachineWait,
        waits=True),
)  # fmt: skip

SNAPSHOTS = (
    ask("POST", "/machines/{machine}/snapshots", intents.SnapshotCreate, "Keep a machine as it is now", **_LATER),
    see("GET", "/machines/{machine}/snapshots", views.snapshots, "List a machine's snapshots, oldest first",
        list[SnapshotItem], OfMachine),
    see("GET", "/machines/{machine}/snapshots/{snapshot}", views.snapshot, "Show a snapshot", SnapshotDocument,
        OfSnapshot),
    ask("PATCH", "/machines/{machine}/snapshots/{snapshot}", intents.SnapshotRename,
        "Give a snapshot another name", SnapshotRow),
    ask("DELETE", "/machines/{machine}/snapshots/{snapshot}", intents.SnapshotDelete,
        "Delete a snapshot; those that were taken after it stay", **_LATER),
    ask("POST", "/machines/{machine}/snapshots/{snapshot}/revert", intents.SnapshotRevert,
        "Make a machine what it was; what it is now is lost", **_LATER),
)  # fmt: skip

INSIDE = (
    see("GET", "/machines/{machine}/ssh", views.ssh, "How to log in to a machine", SshDocument, OfMachine, **_INSIDE),
    see("GET", "/machines/{machine}/log", views.log, "The end of what a machine wrote to its console", TEXT, LogTail,
        **_INSIDE),
    see("POST", "/machines/{machine}/exec", views.execute, "Run a program in the guest, through its agent", Ended,
        OfMachine, body=Command, body_limit_bytes=STDIN_BYTES, waits=True, **_INSIDE),
    see("GET", "/machines/{machine}/files", views.read_file, "Read a file of the guest, through its agent", OCTETS,
        FileRef, **_INSIDE),
    see("PUT", "/machines/{machine}/files", views.write_file, "Write a file in the guest, through its agent", None,
        FilePut, body=OCTETS, status=204, waits=True, **_INSIDE),
    see("GET", "/machines/{machine}/screen", views.screen, "Where the machine's screen is", ScreenDocument, OfMachine,
        local=True, **_INSIDE),
    see("GET", "/machines/{machine}/screenshot", views.screenshot, "What the machine's screen shows now", PNG,
        OfMachine, **_INSIDE),
    follow("/machines/{machine}/console", sessions.console, "The serial console: binary frames both ways", OfMachine,
        OCTETS, **_INSIDE),
    follow("/machines/{machine}/ports/{port}/stream", sessions.stream,
        "A connection to a TCP port of the machine: binary frames both ways, an empty one ends its direction", OfPort,
        OCTETS, **_INSIDE),
)  # fmt: skip

DISKS = (
    ask("POST", "/disks", intents.DiskCreate, "Make a disk, empty or of an image", **_LATER),
    see("GET", "/disks", views.disks, "List disks", list[Disk]),
    see("GET", "/disks/{disk}", views.disk, "Show a disk and its files", DiskDocument, OfDisk),
    ask("DELETE", "/disks/{disk}", intents.DiskDelete, "Delete a disk that no machine has", **_LATER),
    ask("POST", "/disks/{disk}/attach", intents.DiskAttach, "Give a disk to a machine, live where that can be",
        **_LATER),
    ask("POST", "/disks/{disk}/detach", intents.DiskDetach, "Take a disk from its machine", **_LATER),
    ask("POST", "/disks/{disk}/resize", intents.DiskResize, "Make a disk larger", **_LATER),
    ask("POST", "/disks/{disk}/convert", intents.DiskConvert, "Change a disk's format", **_LATER),
)  # fmt: skip

IMAGES = (
    see("GET", "/images", views.images, "List images: the project's own, shared and public ones", list[Image]),
    see("GET", "/images/{image}", views.image, "Show an image, by name, id or family", ImageDocument, OfImage),
    ask("POST", "/images/build", intents.ImageBuild, "Build an image from the host's Debian packages", **_LATER),
    ask(
        "POST", "/images/import", intents.ImageImport, "Take a disk image from a file of the host or a URL", **_LATER
    ),
    ask("POST", "/images/pull", intents.ImagePull, "Fetch an image from an image server", **_LATER),
    ask("POST", "/images/create", intents.ImageCreate, "Make an image of a disk", **_LATER),
    ask("POST", "/images/{image}/copy", intents.ImageCopy, "Make an image of the project's own of another", **_LATER),
    ask("POST", "/images/{image}/change", intents.ImageChange, "Change what an image is for", Image),
    ask("POST", "/images/{image}/share", intents.ImageShare, "Let another project use an image", Share),
    ask("POST", "/images/{image}/unshare", intents.ImageUnshare, "Let another project use it no more", Removed),
    ask("POST", "/images/{image}/prepare", intents.ImagePrepare, "Make an image with a gate of one without", **_LATER),
    ask("POST", "/images/{image}/export", intents.ImageExport, "Write an image to a file of the host", **_LATER),
    ask("DELETE", "/images/{image}", intents.ImageDelete, "Delete an image that no machine uses", **_LATER),
)  # fmt: skip

TEMPLATES = (
    see("GET", "/templates", views.templates, "List templates", list[TemplateRow]),
    see("GET", "/templates/{template}", views.template, "Show a template", TemplateDocument, OfTemplate),
    ask("POST", "/templates", intents.TemplateCreate, "Boot an image and freeze it, for machines to be forked from",
        **_LATER),
    ask("DELETE", "/templates/{template}", intents.TemplateDelete, "Delete a template under no disk", **_LATER),
)  # fmt: skip

NETWORKS = (
    see("GET", "/networks", network_views.networks, "List networks: the project's own and shared ones",
        list[NetworkItem]),
    see("GET", "/networks/{network}", network_views.network, "Show a network, what is on it, and its leases",
        NetworkDocument, OfNetwork),
    ask("POST", "/networks", network_intents.NetworkCreate, "Make a network", **_LATER),
    ask("PATCH", "/networks/{network}", network_intents.NetworkChange, "Change a network; fields not said stay",
        **_LATER),
    ask("DELETE", "/networks/{network}", network_intents.NetworkDelete, "Delete a network that no machine is on",
        **_LATER),
    see("GET", "/networks/{network}/subnets", network_views.subnets, "List a network's subnets", list[Subnet],
        OfNetwork),
    ask("POST", "/networks/{network}/subnets", network_intents.SubnetCreate, "Give a private network a subnet more",
        **_LATER),
    ask("PATCH", "/networks/{network}/subnets/{subnet}", network_intents.SubnetChange,
        "Change which ways lead outside from a subnet; fields not said stay", **_LATER),
    ask("DELETE", "/networks/{network}/subnets/{subnet}", network_intents.SubnetDelete,
        "Delete a subnet that no machine is on", **_LATER),
    see("GET", "/networks/{network}/groups", network_views.groups, "List the project's groups on a network",
        list[Group], OfNetwork),
    see("GET", "/networks/{network}/groups/{group}", network_views.group, "Show a group, and which machines are in it",
        GroupDocument, OfGroup),
    ask("POST", "/networks/{network}/groups", network_intents.GroupCreate, "Make a group of rules", **_LATER),
    ask("DELETE", "/networks/{network}/groups/{group}", network_intents.GroupDelete,
        "Delete a group that no machine is in", **_LATER),
    ask("POST", "/networks/{network}/groups/{group}/rules", network_intents.RuleAdd,
        "Let something through to the machines of a group, or from them", **_LATER),
    ask("DELETE", "/networks/{network}/groups/{group}/rules/{rule}", network_intents.RuleRemove,
        "Let something no longer through", **_LATER),
)  # fmt: skip

ADDRESSES = (
    see("GET", "/addresses", network_views.addresses, "List the project's elastic addresses", list[AddressDocument]),
    see("GET", "/addresses/{address}", network_views.address, "Show an elastic address", AddressDocument, OfAddress),
    ask("POST", "/addresses", network_intents.AddressAllocate, "Take an elastic address", Elastic, status=201),
    ask("POST", "/addresses/{address}/attach", network_intents.AddressAttach,
        "Have an elastic address lead to a machine", **_LATER),
    ask("POST", "/addresses/{address}/detach", network_intents.AddressDetach,
        "Have an elastic address lead nowhere", **_LATER),
    ask("DELETE", "/addresses/{address}", network_intents.AddressRelease, "Give an elastic address back", Removed),
    see("GET", "/address-pools", network_views.pools, "List the pools that elastic addresses are from", list[Pool],
        house=True),
    ask("POST", "/address-pools", network_intents.PoolAdd, "Let projects have the addresses of a block", Pool,
        status=201),
    ask("DELETE", "/address-pools", network_intents.PoolRemove, "Take back a pool of which nobody has an address",
        Removed),
)  # fmt: skip

KEYS = (
    ask("POST", "/keys", intents.KeyAdd, "Add an SSH key: machines launched afterwards get it", Key, status=201),
    see("GET", "/keys", views.keys, "List SSH keys", list[Key]),
    ask("DELETE", "/keys/{key}", intents.KeyDelete, "Delete an SSH key", Removed),
)

PROJECTS = (
    ask("POST", "/projects", intents.ProjectCreate, "Make a project", Project, status=201),
    see("GET", "/projects", views.projects, "List projects", list[Project]),
    see("GET", "/projects/{project}", views.project, "Show a project, its quota and what it uses", ProjectDocument,
        OfProject),
    ask("PATCH", "/projects/{project}", intents.ProjectChange, "Set a project's quota", Project),
    ask("DELETE", "/projects/{project}", intents.ProjectDelete, "Delete an empty project", Removed),
    ask("POST", "/tokens", intents.TokenCreate, "Make a bearer token; its secret is told once", NewTokenDocument,
        status=201),
    see("GET", "/tokens", views.tokens, "List tokens", list[TokenDocument], role=Role.ADMIN),
    ask("DELETE", "/tokens/{token}", intents.TokenDelete, "Delete a token", Removed),
)  # fmt: skip

CLOUDS = (
    see("GET", "/doors", cloud_views.doors, "List the doors of clouds that are open", list[OpenDoor]),
    see("GET", "/doors/{door}", cloud_views.door, "Show where a cloud's door listens", OpenDoor, OfDoor),
    see("PUT", "/doors/{door}", cloud_views.open_door, "Open a cloud's door, or have it listen elsewhere", OpenDoor,
        OfDoor, body=DoorWanted, role=Role.ADMIN, house=True),
    see("DELETE", "/doors/{door}", cloud_views.shut_door, "Shut a cloud's door", None, OfDoor, status=204,
        role=Role.ADMIN, house=True),
    ask("POST", "/access-keys", door_intents.AccessKeyCreate, "Make a key to sign requests with", AccessKey,
        status=201),
    see("GET", "/access-keys", cloud_views.access_keys, "List access keys", list[AccessKey], role=Role.ADMIN),
    see("GET", "/access-keys/{access_key}", cloud_views.access_key, "Show an access key and its secret",
        AccessKeyDocument, OfAccessKey, role=Role.ADMIN),
    ask("DELETE", "/access-keys/{access_key}", door_intents.AccessKeyDelete,
        "Delete an access key: it is worth nothing at once", Removed),
)  # fmt: skip

OPERATIONS = (
    see("GET", "/operations", views.operations, "List operations", list[OperationRow], OperationFilter),
    see("GET", "/operations/{operation}", views.operation, "Show an operation, waiting for its end or its progress",
        OperationDocument, OperationWait, waits=True),
    ask("POST", "/operations/{operation}/cancel", intents.OperationCancel, "Ask an operation to stop and undo itself",
        **_LATER),
    see("GET", "/events", views.events, "List what happened", list[Event], EventRange),
    follow("/events", sessions.events, "What happens, one event a text frame, as JSON", EventFollow,
        Content("application/json")),
)  # fmt: skip

GROUPS: dict[str, tuple[Row, ...]] = {
    "House": HOUSE,
    "Hosts": HOSTS,
    "Machines": MACHINES,
    "Snapshots": SNAPSHOTS,
    "Inside machines": INSIDE,
    "Disks": DISKS,
    "Images": IMAGES,
    "Templates": TEMPLATES,
    "Networks": NETWORKS,
    "Elastic addresses": ADDRESSES,
    "Keys": KEYS,
    "Projects and tokens": PROJECTS,
    "Clouds": CLOUDS,
    "Operations and events": OPERATIONS,
}

TABLE: tuple[Row, ...] = tuple(row for rows in GROUPS.values() for row in rows)
