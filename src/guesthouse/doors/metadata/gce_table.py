"""Compute Engine's documents as a table, below ``/computeMetadata/v1/``.

Source: Google's "Predefined metadata keys".
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from ipaddress import ip_network

from guesthouse.doors.metadata.tree import Each, Row, Table
from guesthouse.formats.cloudids import gce_id
from guesthouse.model.metadata import Asked, AskedDisk, AskedNic

_ANY_LOGIN = "cloudinit"
"""The user that cloud-init takes for whichever its image has."""


def _nics(asked: Asked) -> Iterable[tuple[str, AskedNic]]:
    return ((str(number), nic) for number, nic in enumerate(asked.nics))


def _disks(asked: Asked) -> Iterable[tuple[str, AskedDisk]]:
    return ((str(number), disk) for number, disk in enumerate(asked.disks))


def _elastic(asked: Asked, nic: AskedNic) -> Iterable[tuple[str, str]]:
    return (("0", nic.public),) if nic.public else ()


def _ipv6(asked: Asked, nic: AskedNic) -> Iterable[tuple[str, str]]:
    return (("0", nic.address6),) if nic.address6 else ()


def _attributes(asked: Asked) -> Iterable[tuple[str, str]]:
    """Attributes are text: user-data that is none goes as base64, and says so."""
    if asked.keys:
        yield "ssh-keys", "\n".join(f"{asked.login or _ANY_LOGIN}:{key.public}" for key in asked.keys)
    if asked.user_data:
        try:
            yield "user-data", asked.user_data.decode()
        except UnicodeDecodeError:
            yield "user-data", base64.b64encode(asked.user_data).decode()
            yield "user-data-encoding", "base64"


EACH = {
    "{nic}": Each(_nics, array=True),
    "{disk}": Each(_disks, array=True),
    "{access}": Each(_elastic, array=True),
    "{ipv6}": Each(_ipv6, array=True),
    "{attribute}": Each(_attributes),
    "{project-attribute}": Each(lambda asked: ()),
    "{account}": Each(lambda asked: ()),
}


def type_of(asked: Asked) -> str:
    """A cloud's name of the size, or Compute Engine's name for one of its own."""
    return asked.type or f"custom-{asked.vcpus}-{asked.memory_mib}"


def _zone(asked: Asked) -> str | None:
    return f"projects/{asked.project_number}/zones/{asked.zone}" if asked.zone else None


def _image(asked: Asked) -> str | None:
    return f"projects/{asked.project_name}/global/images/{asked.image_name}" if asked.image_name else None


def _truth(holds: bool) -> str:
    return "TRUE" if holds else "FALSE"


def _mask(nic: AskedNic) -> str | None:
    return str(ip_network(nic.cidr).netmask) if nic.cidr else None


PROJECT = (
    Row("project/attributes/{project-attribute}", lambda a, text: text, "a project has none"),
    Row("project/numeric-project-id", lambda a: a.project_number, "the project's number"),
    Row("project/project-id", lambda a: a.project_name, "the project's name"),
)
MACHINE = (
    Row("instance/attributes/{attribute}", lambda a, text: text,
        "`ssh-keys` (`USER:KEY`, one a line) and `user-data`, with `user-data-encoding` where it is base64"),
    Row("instance/description", lambda a: "", "there is none"),
    Row("instance/disks/{disk}/device-name", lambda a, disk: disk.name, "name of each disk"),
    Row("instance/disks/{disk}/index", lambda a, disk: a.disks.index(disk), "which disk"),
    Row("instance/disks/{disk}/mode", lambda a, disk: "READ_WRITE", "how it may be used"),
    Row("instance/disks/{disk}/type", lambda a, disk: "PERSISTENT", "it stays"),
    Row("instance/hostname", lambda a: a.hostname, "name in DNS"),
    Row("instance/id", lambda a: gce_id(a.machine), "the machine's id as a number"),
    Row("instance/image", _image, "image"),
    Row("instance/machine-type", lambda a: f"projects/{a.project_number}/machineTypes/{type_of(a)}", "size"),
    Row("instance/maintenance-event", lambda a: "NONE", "nothing is about to happen to it"),
    Row("instance/name", lambda a: a.name, "name"),
    Row("instance/preempted", lambda a: _truth(bool(a.interrupted_at)), "whether it is being interrupted"),
    Row("instance/scheduling/preemptible", lambda a: _truth(a.spot), "whether it may be"),
    Row("instance/service-accounts/{account}/email", lambda a, email: email, "a machine has none"),
    Row("instance/tags", lambda a: [], "there are none: groups are no tags"),
    Row("instance/virtual-clock/drift-token", lambda a: "0", "the clock did not leap"),
    Row("instance/zone", _zone, "zone"),
)  # fmt: skip
NIC = (
    Row("access-configs/{access}/external-ip", lambda a, nic, public: public, "elastic address"),
    Row("access-configs/{access}/type", lambda a, nic, public: "ONE_TO_ONE_NAT", "how it leads here"),
    Row("dns-servers", lambda a, nic: [nic.gateway] if nic.gateway else [], "who answers for names"),
    Row("forwarded-ips", lambda a, nic: [], "there are none"),
    Row("gateway", lambda a, nic: nic.gateway or None, "gateway"),
    Row("ip", lambda a, nic: nic.address or None, "address"),
    Row("ip-aliases", lambda a, nic: [], "there are none"),
    Row("ipv6s/{ipv6}", lambda a, nic, address: address, "IPv6 address"),
    Row("mac", lambda a, nic: nic.mac, "MAC address"),
    Row("mtu", lambda a, nic: nic.mtu or None, "largest packet in bytes"),
    Row("network", lambda a, nic: f"projects/{a.project_number}/networks/{nic.network_name}", "network"),
    Row("subnetmask", lambda a, nic: _mask(nic), "the subnet's mask"),
    Row("target-instance-ips", lambda a, nic: [], "there are none"),
)


def _below(folder: str, rows: Iterable[Row]) -> Iterable[Row]:
    return (Row(f"{folder}/{row.path}", row.value, row.about) for row in rows)


TABLE = Table((*PROJECT, *MACHINE, *_below("instance/network-interfaces/{nic}", NIC)), EACH, keeps_empty=True)
