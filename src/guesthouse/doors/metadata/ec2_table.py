"""EC2's documents as a table, below a version: ``/latest/meta-data/instance-id``.

Source: Amazon's "Instance metadata categories", which also says since which version each one is there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from guesthouse.doors.metadata.identity import Signature, utc
from guesthouse.doors.metadata.tree import Each, Row, Table
from guesthouse.formats.cloudids import account, ec2_id
from guesthouse.model.metadata import Asked, AskedDisk, AskedKey, AskedNic

VERSIONS = (
    "1.0 2007-01-19 2007-03-01 2007-08-29 2007-10-10 2007-12-15 2008-02-01 2008-09-01 2009-04-04 2011-01-01 2011-05-01 "
    "2012-01-12 2014-02-25 2014-11-05 2015-10-20 2016-04-19 2016-06-30 2016-09-02 2018-03-28 2018-08-17 2018-09-24 "
    "2019-10-01 2020-10-27 2021-01-03 2021-03-23 2021-07-15 2022-09-24 2024-04-11"
).split()
LATEST = "latest"
_DOCUMENT_VERSION = "2017-09-30"


# --- what parts in braces stand for ---------------------------------------------------------------------------


def _nics(asked: Asked) -> Iterable[tuple[str, AskedNic]]:
    return ((nic.mac, nic) for nic in asked.nics)


def _elastic(asked: Asked, nic: AskedNic) -> Iterable[tuple[str, str]]:
    return ((nic.public, nic.public),) if nic.public else ()


def _keys(asked: Asked) -> Iterable[tuple[str, AskedKey]]:
    return ((str(index), key) for index, key in enumerate(asked.keys))


def _labels(asked: Asked) -> Iterable[tuple[str, str]]:
    """A label whose name has a slash cannot be a path, and is not told."""
    return ((name, text) for name, text in asked.labels.items() if asked.options.labels and "/" not in name)


def _disks(asked: Asked) -> Iterable[tuple[str, AskedDisk]]:
    return ((f"ebs{number}", disk) for number, disk in enumerate(asked.disks[1:], 1))


EACH = {
    "{mac}": Each(_nics),
    "{public-ip}": Each(_elastic),
    "{index}": Each(_keys, label=lambda index, key: f"{index}={key.name}"),
    "{label}": Each(_labels),
    "{disk}": Each(_disks),
}

# --- values of several rows -----------------------------------------------------------------------------------


def first(asked: Asked) -> AskedNic:
    """The NIC by which the machine is known."""
    return asked.nics[0]


def type_of(asked: Asked) -> str:
    """A cloud's name of the size, or one that says it."""
    return asked.type or f"custom.{asked.vcpus}-{asked.memory_mib}"


def _lines(texts: Iterable[str]) -> str | None:
    return "\n".join(text for text in texts if text) or None


def _root(asked: Asked) -> str | None:
    return asked.disks[0].device if asked.disks else None


def _groups(nic: AskedNic) -> str | None:
    return _lines(group.name for group in nic.groups)


def _reservation(asked: Asked) -> str:
    return ec2_id("r", asked.operation or asked.machine)


def _interruption(asked: Asked) -> str | None:
    """What is about to happen to a spot machine, and when."""
    if not asked.interrupted_at:
        return None
    return json.dumps({"action": "stop" if asked.stopped else "terminate", "time": utc(asked.interrupted_at)})


def _termination(asked: Asked) -> str | None:
    return utc(asked.interrupted_at) if asked.interrupted_at and not asked.stopped else None


def document(asked: Asked) -> str:
    """The instance identity document."""
    parts: dict[str, Any] = {
        "accountId": account(asked.project_number),
        "architecture": asked.architecture,
        "availabilityZone": asked.zone,
        "billingProducts": None,
        "devpayProductCodes": None,
        "marketplaceProductCodes": None,
        "imageId": ec2_id("ami", asked.image),
        "instanceId": ec2_id("i", asked.machine),
        "instanceType": type_of(asked),
        "kernelId": None,
        "pendingTime": utc(asked.launched_at),
        "privateIp": first(asked).address,
        "ramdiskId": None,
        "region": asked.region,
        "version": _DOCUMENT_VERSION,
    }
    return json.dumps(parts, indent=2)


# --- the table ------------------------------------------------------------------------------------------------

MACHINE = (
    Row("ami-id", lambda a: ec2_id("ami", a.image) or None, "image", "1.0"),
    Row("ami-launch-index", lambda a: str(a.launch_index), "which of those launched at once", "1.0"),
    Row("ami-manifest-path", lambda a: "(unknown)", "EC2's word for an image that is a disk", "1.0"),
    Row("block-device-mapping/ami", _root, "root disk", "2007-12-15"),
    Row("block-device-mapping/root", lambda a: f"/dev/{_root(a)}" if a.disks else None, "root disk", "2007-12-15"),
    Row("block-device-mapping/{disk}", lambda a, disk: disk.device, "each further disk", "2007-12-15"),
    Row("hostname", lambda a: a.hostname, "name in DNS", "1.0"),
    Row("instance-action", lambda a: "none", "nothing is about to happen to it", "2008-09-01"),
    Row("instance-id", lambda a: ec2_id("i", a.machine), "the machine's id", "1.0"),
    Row("instance-life-cycle", lambda a: "spot" if a.spot else "on-demand", "how it was bought", "2019-10-01"),
    Row("instance-type", type_of, "size", "2007-08-29"),
    Row("local-hostname", lambda a: a.hostname, "name in DNS", "2007-01-19"),
    Row("local-ipv4", lambda a: first(a).address or None, "address of the first NIC", "1.0"),
    Row("ipv6", lambda a: first(a).address6 or None, "IPv6 address of the first NIC", "2021-01-03"),
    Row("mac", lambda a: first(a).mac, "MAC address of the first NIC", "2011-01-01"),
    Row("placement/availability-zone", lambda a: a.zone or None, "zone", "2008-02-01"),
    Row("placement/region", lambda a: a.region or None, "region", "2019-10-01"),
    Row("public-ipv4", lambda a: first(a).public or None, "elastic address of the first NIC", "2007-01-19"),
    Row("public-keys/{index}/openssh-key", lambda a, key: f"{key.public}\n", "each SSH public key", "1.0"),
    Row("reservation-id", _reservation, "what launched it", "1.0"),
    Row("security-groups", lambda a: _groups(first(a)), "names of the groups of the first NIC, one a line", "1.0"),
    Row("services/domain", lambda a: a.domain or None, "the domain of the machine's network", "2014-02-25"),
    Row("services/partition", lambda a: "aws", "as ARNs are written", "2015-10-20"),
    Row("spot/instance-action", _interruption, "how and when a spot machine is interrupted", "2016-09-02"),
    Row("spot/termination-time", _termination, "when that deletes it", "2014-11-05"),
    Row("tags/instance/{label}", lambda a, text: text, "each label, where the machine may read them", "2021-03-23"),
)
NIC = (
    Row("device-number", lambda a, nic: str(a.nics.index(nic)), "which NIC", "2011-01-01"),
    Row("interface-id", lambda a, nic: ec2_id("eni", nic.id), "the port's id", "2011-01-01"),
    Row("ipv4-associations/{public-ip}", lambda a, nic, public: nic.address, "what it leads to", "2011-01-01"),
    Row("ipv6s", lambda a, nic: nic.address6 or None, "IPv6 address", "2016-06-30"),
    Row("local-hostname", lambda a, nic: a.hostname, "name in DNS", "2011-01-01"),
    Row("local-ipv4s", lambda a, nic: nic.address or None, "address", "2011-01-01"),
    Row("mac", lambda a, nic: nic.mac, "MAC address", "2011-01-01"),
    Row("owner-id", lambda a, nic: account(a.project_number), "project", "2011-01-01"),
    Row("public-ipv4s", lambda a, nic: nic.public or None, "elastic address", "2011-01-01"),
    Row("security-group-ids", lambda a, nic: _lines(ec2_id("sg", each.id) for each in nic.groups), "groups",
        "2011-01-01"),
    Row("security-groups", lambda a, nic: _groups(nic), "names of the groups", "2011-01-01"),
    Row("subnet-id", lambda a, nic: ec2_id("subnet", nic.subnet) or None, "subnet", "2011-01-01"),
    Row("subnet-ipv4-cidr-block", lambda a, nic: nic.cidr or None, "the subnet's addresses", "2011-01-01"),
    Row("subnet-ipv6-cidr-blocks", lambda a, nic: nic.cidr6 or None, "the subnet's IPv6 addresses", "2016-06-30"),
    Row("vpc-id", lambda a, nic: ec2_id("vpc", nic.network), "network", "2011-01-01"),
    Row("vpc-ipv4-cidr-block", lambda a, nic: nic.cidr or None, "as the subnet's", "2011-01-01"),
    Row("vpc-ipv4-cidr-blocks", lambda a, nic: nic.cidr or None, "as the subnet's", "2016-06-30"),
    Row("vpc-ipv6-cidr-blocks", lambda a, nic: nic.cidr6 or None, "as the subnet's", "2016-06-30"),
)  # fmt: skip
OTHERS = (
    Row("user-data", lambda a: a.user_data or None, "user-data, byte for byte", "1.0"),
    Row("dynamic/fws/instance-monitoring", lambda a: "disabled", "there is no such service", "2009-04-04"),
    Row("dynamic/instance-identity/document", document, "the machine in JSON", "2009-04-04"),
    Row("dynamic/instance-identity/signature", lambda a: Signature.BARE, "the house's signature on it", "2009-04-04"),
    Row("dynamic/instance-identity/pkcs7", lambda a: Signature.WHOLE, "document and signature", "2009-04-04"),
    Row("dynamic/instance-identity/rsa2048", lambda a: Signature.WHOLE, "the same", "2015-10-20"),
)


def _below(folder: str, rows: Iterable[Row]) -> Iterable[Row]:
    return (Row(f"{folder}/{row.path}", row.value, row.about, row.since) for row in rows)


TABLE = Table(
    (*_below("meta-data", MACHINE), *_below("meta-data/network/interfaces/macs/{mac}", NIC), *OTHERS),
    EACH,
)
