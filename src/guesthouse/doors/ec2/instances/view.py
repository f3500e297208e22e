"""Machines as instances.

Rules
-----
1. What EC2 shows of an instance is what is so of the machine. What only EC2 knows of it (reservation, key name, client
   token) is in the door's record, which machines have that were launched by this door; the others go without.
2. A machine that is gone is shown from its record, as terminated, until that is forgotten.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from guesthouse.catalog.places import ZONE, ZONE_ID
from guesthouse.catalog.types import BY_SIZE
from guesthouse.decide.hibernation import is_hibernated
from guesthouse.decide.lifecycle import shown_state
from guesthouse.doors.ec2.instances.described import device_of, metadata_options_of
from guesthouse.doors.ec2.instances.lasting import Things, Views, lasting
from guesthouse.doors.ec2.networks.kept import INTERFACE, document, group_name
from guesthouse.doors.ec2.rows import DOOR, owner, tag_set
from guesthouse.engine.stock import Stock
from guesthouse.formats.awsquery.answer import Around, Lasting, Same
from guesthouse.formats.cloudids import ec2_id
from guesthouse.model.dialect import DoorRecord
from guesthouse.model.machine import Bus, DiskSpec, Machine, MachineSpec, NicSpec, State
from guesthouse.model.network import Port

KIND = "instance"
NOUNS = ("machines", "disks", "images", "networks", "subnets", "groups", "ports", "elastics", "door_records")

# EC2's states: code and name, by what is seen of the machine.
_PENDING, _RUNNING, _SHUTTING, TERMINATED, _STOPPING, _STOPPED = (
    Same(Code=code, Name=name)
    for code, name in (
        (0, "pending"), (16, "running"), (32, "shutting-down"), (48, "terminated"), (64, "stopping"), (80, "stopped"),
    )
)  # fmt: skip
STATES: dict[State, dict[str, Any]] = {
    State.CREATING: _PENDING,
    State.STARTING: _PENDING,
    State.RUNNING: _RUNNING,
    State.PAUSED: _RUNNING,
    State.STOPPING: _STOPPING,
    State.STOPPED: _STOPPED,
    State.CRASHED: _STOPPED,
    State.DELETING: _SHUTTING,
}
_MONITORING = Same(State="disabled")
_HIBERNATION = {configured: Same(Configured=configured) for configured in (False, True)}
_ENCLAVE, _MAINTENANCE = Same(Enabled=False), Same(AutoRecovery="disabled")
_SHARED = 1024
"""So many things are kept as many instances show them."""
_DEVICES = {Bus.VIRTIO: "/dev/vd", Bus.SCSI: "/dev/sd", Bus.IDE: "/dev/sd"}


def state_of(machine: Machine) -> dict[str, Any]:
    """EC2's code and name of a machine's state."""
    return STATES[shown_state(machine)]


def instances(stock: Stock) -> Collection[Mapping[str, Any]]:
    """All instances of the project, oldest first, each with its ``Reservation``; those that ended not long ago too."""
    return lasting(stock, lambda: {each.subject: each for each in stock.records.values() if is_ours(each)}, _VIEWS)


def some(stock: Stock, machines: Iterable[str]) -> list[Mapping[str, Any]]:
    """The instances of these machines, ids of the house, that there are, or that ended not long ago."""
    all_things = [(stock, stock.machines.get(id), record_of(stock, id)) for id in machines]
    there = [things for things in all_things if things[1] or things[2]]
    return [Lasting(_VIEWS, things) for things in there]


def _whole(things: Things) -> dict[str, Any]:
    stock, machine, record = things
    return instance(stock, machine, record) if machine else ended(stock, _there(record))


def _instance_id(things: Things) -> str:
    return ec2_id("i", _id(things[1], things[2]))


def _tags(things: Things) -> Mapping[str, str]:
    _, machine, record = things
    tags: Mapping[str, str] = machine.spec.labels if machine else _there(record).document.get("tags", {})
    return tags


def _reservation(things: Things) -> dict[str, str]:
    stock, machine, record = things
    kept = record.document if record else {}
    return {"ReservationId": kept.get("reservation") or ec2_id("r", _id(machine, record)), "OwnerId": owner(stock)}


_VIEWS = Views(_whole, ("Reservation", _reservation), {"InstanceId": _instance_id}, _tags)


def _id(machine: Machine | None, record: DoorRecord | None) -> str:
    return machine.id if machine else _there(record).subject


def _there(record: DoorRecord | None) -> DoorRecord:
    assert record is not None, "an instance without a machine has a record"
    return record


def record_of(stock: Stock, machine: str) -> DoorRecord | None:
    """What this door keeps of a machine."""
    return next((record for record in stock.records_of.get(machine, ()) if is_ours(record)), None)


def hibernates(record: DoorRecord | None) -> bool:
    """Whether an instance was launched as one that may be hibernated."""
    return bool(record and record.document.get("hibernation"))


def is_ours(record: DoorRecord) -> bool:
    """Whether it is this door's record of an instance."""
    return record.door == DOOR and record.kind == KIND


def reservations(
    stock: Stock, items: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Instances as answers have them: by what launched them."""
    found: dict[str, dict[str, Any]] = {}
    for item in items:
        reservation = item["Reservation"]
        id = reservation["ReservationId"]
        if id not in found:
            found[id] = Around(**reservation, Groups=[], Instances=[])
        found[id]["Instances"].append(item)
    return list(found.values())


def type_of(spec: MachineSpec) -> str:
    """EC2's name of a machine's size, or one that says it."""
    size = spec.vcpus, spec.memory_mib
    return spec.type or BY_SIZE.get(size, f"custom.{spec.vcpus}-{spec.memory_mib}")


def instance(stock: Stock, machine: Machine, record: DoorRecord | None) -> dict[str, Any]:
    """One machine."""
    spec, kept = machine.spec, record.document if record else {}
    ports = stock.ports_of.get(machine.id, {})
    places = _places(stock, machine, ports)
    first = places[0] if places else {}
    disks = [_disk(stock, machine, each, device) for each, device in devices(spec)]
    image = stock.images.get(machine.image)
    state = state_of(machine)
    change, reason = _reasons(machine, state)
    return {
        "AmiLaunchIndex": kept.get("index", 0),
        "ImageId": shared_id("ami", machine.image),
        "InstanceId": ec2_id("i", machine.id),
        **_lifecycle(machine.id, kept),
        "InstanceType": type_of(spec),
        "KeyName": kept.get("key"),
        "LaunchTime": max(machine.status.started_at, machine.created_at),
        "Monitoring": _MONITORING,
        "Placement": _placement(stock, kept),
        "PrivateDnsName": _private_name(stock, machine, ports),
        "PrivateIpAddress": first.get("PrivateIpAddress"),
        "PublicDnsName": "",
        "PublicIpAddress": first.get("Association", {}).get("PublicIp"),
        "State": state,
        "StateReason": reason,
        "StateTransitionReason": change,
        "SubnetId": first.get("SubnetId"),
        "VpcId": first.get("VpcId"),
        "Architecture": image.architecture if image else "x86_64",
        "BlockDeviceMappings": disks,
        "ClientToken": kept.get("token", ""),
        "EbsOptimized": False,
        "EnaSupport": False,
        "Hypervisor": "xen",
        "NetworkInterfaces": places,
        "RootDeviceName": disks[0]["DeviceName"] if disks else None,
        "RootDeviceType": "ebs",
        "SecurityGroups": first.get("Groups", []),
        "SourceDestCheck": first.get("SourceDestCheck"),
        "Tags": tag_set(spec.labels),
        "VirtualizationType": "hvm",
        "CpuOptions": _cpus(spec.vcpus),
        "HibernationOptions": _HIBERNATION[hibernates(record)],
        "MetadataOptions": metadata_options_of(spec),
        "EnclaveOptions": _ENCLAVE,
        "MaintenanceOptions": _MAINTENANCE,
        "PlatformDetails": "Linux/UNIX",
        "UsageOperation": "RunInstances",
    }


def ended(stock: Stock, record: DoorRecord) -> dict[str, Any]:
    """A machine that is gone."""
    kept = record.document
    change, reason = _USER
    if kept.get("by_itself"):
        change, reason = _GUEST
    if kept.get("interrupted"):
        change, reason = _SPOT_ENDED
    if error := kept.get("error"):
        change, reason = _failed(error)
    return {
        "AmiLaunchIndex": kept.get("index", 0),
        "ImageId": kept.get("image", ""),
        "InstanceId": ec2_id("i", record.subject),
        **_lifecycle(record.subject, kept),
        "InstanceType": kept.get("type", ""),
        "KeyName": kept.get("key"),
        "LaunchTime": record.created_at,
        "Monitoring": _MONITORING,
        "Placement": _placement(stock, kept),
        "PrivateDnsName": "",
        "PublicDnsName": "",
        "State": TERMINATED,
        "StateTransitionReason": change,
        "StateReason": reason,
        "Architecture": "x86_64",
        "ClientToken": kept.get("token", ""),
        "RootDeviceType": "ebs",
        "Tags": tag_set(kept.get("tags", {})),
        "VirtualizationType": "hvm",
    }


Reasons = tuple[str, dict[str, str] | None]
"""Why an instance is in its state: in a few words, and as a code with a message."""


def _why(change: str, code: str, message: str) -> Reasons:
    return change, {"Code": code, "Message": f"{code}: {message}"}


_USER = _why("User initiated", "Client.UserInitiatedShutdown", "User initiated shutdown")
_HIBERNATED = _why("User initiated", "Client.UserInitiatedHibernate", "User initiated hibernate")
_GUEST = _why("", "Client.InstanceInitiatedShutdown", "Instance initiated shutdown")
_HOST = _why("Server.ScheduledStop", "Server.ScheduledStop", "Stopped due to a restart of the host")
_SPOT_ENDED = _why("Server.SpotInstanceTermination", "Server.SpotInstanceTermination", "Spot instance termination")
_SPOT_STOPPED = _why("Server.SpotInstanceShutdown", "Server.SpotInstanceShutdown", "Spot instance stopped")
_STARTING: Reasons = ("", {"Code": "pending", "Message": "pending"})
# By how a stopped machine has ended.
_ENDED = {"": _USER, "powered-off": _GUEST, "host-restarted": _HOST}


def _reasons(machine: Machine, state: Mapping[str, Any]) -> Reasons:
    """Why an instance is as it is; one that runs has no reason."""
    if machine.status.error:
        return _failed(machine.status.error)
    if state in (_PENDING, _RUNNING):
        return _STARTING if state is _PENDING else ("", None)
    if is_hibernated(machine):
        return _HIBERNATED
    if machine.interrupted_at:
        return _SPOT_STOPPED
    return _ENDED.get(machine.status.ended, _USER)


def _failed(error: Mapping[str, str]) -> Reasons:
    return _why("Server.InternalError", "Server.InternalError", error.get("message", ""))


def _lifecycle(machine: str, kept: Mapping[str, Any]) -> dict[str, str]:
    """That it is a spot instance, where it is."""
    if "spot" not in kept:
        return {}
    return {"InstanceLifecycle": "spot", "SpotInstanceRequestId": ec2_id("sir", machine)}


def _placement(stock: Stock, kept: Mapping[str, Any]) -> dict[str, Any]:
    group = stock.records.get(kept.get("placement_group", ""))
    return _placed(group.name, group.id) if group else _placed()


@lru_cache(maxsize=_SHARED)
def _placed(name: str = "", id: str = "") -> Same:
    return Same(
        AvailabilityZone=ZONE,
        AvailabilityZoneId=ZONE_ID,
        GroupName=name,
        GroupId=ec2_id("pg", id) or None,
        Tenancy="default",
    )


@lru_cache(maxsize=_SHARED)
def _cpus(count: int) -> Same:
    return Same(CoreCount=count, ThreadsPerCore=1)


@lru_cache(maxsize=_SHARED)
def _group(id: str, name: str) -> Same:
    return Same(GroupId=shared_id("sg", id), GroupName=name)


@lru_cache(maxsize=_SHARED)
def shared_id(prefix: str, id: str) -> str:
    """The EC2 id of what many instances show."""
    return ec2_id(prefix, id)


def devices(spec: MachineSpec) -> Iterable[tuple[DiskSpec, str]]:
    """The disks of a machine with the devices that they were asked for as, or that its guest is likely to see."""
    counts: dict[str, int] = {}
    for disk in spec.disks:
        prefix = _DEVICES[disk.bus]
        yield disk, device_of(disk) or f"{prefix}{chr(ord('a') + counts.get(prefix, 0))}"
        counts[prefix] = counts.get(prefix, 0) + 1


def _disk(stock: Stock, machine: Machine, spec: DiskSpec, device: str) -> dict[str, Any]:
    disk = stock.disks.get(spec.disk)
    return {
        "DeviceName": device,
        "Ebs": {
            "AttachTime": disk.created_at if disk else machine.created_at,
            "DeleteOnTermination": not spec.keep,
            "Status": "attached",
            "VolumeId": ec2_id("vol", spec.disk),
        },
    }


def _places(stock: Stock, machine: Machine, ports: Mapping[str, Port]) -> list[dict[str, Any]]:
    return [
        _nic(stock, machine, nic, ports[nic.mac], number)
        for number, nic in enumerate(machine.spec.nics)
        if nic.mac in ports
    ]


def _nic(stock: Stock, machine: Machine, nic: NicSpec, port: Port, number: int) -> dict[str, Any]:
    elastic = stock.elastic_of.get(port.id)
    association = None
    if elastic is not None:
        association = {
            "IpOwnerId": "amazon" if elastic.lent else owner(stock),
            "PublicDnsName": "",
            "PublicIp": elastic.address,
        }
    network = stock.networks.get(port.network)
    found = {
        "Association": association,
        "Attachment": {
            "AttachTime": port.created_at,
            "AttachmentId": ec2_id("eni-attach", port.id),
            "DeleteOnTermination": not port.stays,
            "DeviceIndex": number,
            "Status": "attached",
            "NetworkCardIndex": 0,
        },
        "Description": document(stock, port.id, INTERFACE).get("description", ""),
        "Groups": [_group(id, group_name(stock, stock.groups[id])) for id in port.groups if id in stock.groups],
        "Ipv6Addresses": [{"Ipv6Address": port.address6}] if port.address6 else [],
        "MacAddress": port.mac,
        "NetworkInterfaceId": ec2_id("eni", port.id),
        "OwnerId": owner(stock),
        "PrivateDnsName": f"{machine.name}.{network.domain}" if network and network.domain else None,
        "PrivateIpAddress": port.address,
        "PrivateIpAddresses": [{"Association": association, "Primary": True, "PrivateIpAddress": port.address}],
        "SourceDestCheck": port.guarded,
        "Status": "in-use",
        "SubnetId": shared_id("subnet", port.subnet) or None,
        "VpcId": shared_id("vpc", port.network),
        "InterfaceType": "interface",
    }
    return {name: value for name, value in found.items() if value is not None}


def _private_name(stock: Stock, machine: Machine, ports: Mapping[str, Port]) -> str:
    """The machine's name in the domain of the network that its first NIC is on."""
    first = next((ports[nic.mac] for nic in machine.spec.nics if nic.mac in ports), None)
    network = stock.networks.get(first.network) if first else None
    return f"{machine.name}.{network.domain if network else ''}".rstrip(".")
