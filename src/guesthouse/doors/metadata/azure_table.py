"""Azure's documents as a table, below ``/metadata/instance/``.

Source: Microsoft's "Azure Instance Metadata Service", which also says since which version each one is there.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from ipaddress import ip_network

from guesthouse.doors.metadata.tree import Each, Row, Table
from guesthouse.model.metadata import Asked, AskedDisk, AskedKey, AskedNic

VERSIONS = (
    "2017-03-01 2017-04-02 2017-08-01 2017-10-01 2017-12-01 2018-02-01 2018-04-02 2018-10-01 2019-02-01 2019-03-11 "
    "2019-04-30 2019-06-01 2019-06-04 2019-08-01 2019-08-15 2019-11-01 2020-06-01 2020-07-15 2020-09-01 2020-10-01 "
    "2020-12-01 2021-01-01 2021-02-01 2021-03-01 2021-05-01 2021-08-01 2021-10-01 2021-11-01 2021-11-15 2021-12-13 "
    "2023-07-01 2023-11-15"
).split()
_MIB_A_GIB = 1024


def _nics(asked: Asked) -> Iterable[tuple[str, AskedNic]]:
    return ((str(number), nic) for number, nic in enumerate(asked.nics))


def _keys(asked: Asked) -> Iterable[tuple[str, AskedKey]]:
    return ((str(number), key) for number, key in enumerate(asked.keys))


def _disks(asked: Asked) -> Iterable[tuple[str, AskedDisk]]:
    return ((str(number), disk) for number, disk in enumerate(asked.disks[1:]))


def _ipv4(asked: Asked, nic: AskedNic) -> Iterable[tuple[str, str]]:
    return (("0", nic.address),) if nic.address else ()


def _ipv6(asked: Asked, nic: AskedNic) -> Iterable[tuple[str, str]]:
    return (("0", nic.address6),) if nic.address6 else ()


def _subnets(asked: Asked, nic: AskedNic) -> Iterable[tuple[str, str]]:
    return (("0", nic.cidr),) if nic.cidr else ()


EACH = {
    "{nic}": Each(_nics, array=True),
    "{key}": Each(_keys, array=True),
    "{disk}": Each(_disks, array=True),
    "{ipv4}": Each(_ipv4, array=True),
    "{ipv6}": Each(_ipv6, array=True),
    "{subnet}": Each(_subnets, array=True),
}


def type_of(asked: Asked) -> str:
    """A cloud's name of the size, or one that says it."""
    return asked.type or f"Custom_{asked.vcpus}_{asked.memory_mib}"


def _labels(asked: Asked) -> dict[str, str]:
    return asked.labels if asked.options.labels else {}


def _tags_list(asked: Asked) -> list[dict[str, str]]:
    return [{"name": name, "value": text} for name, text in _labels(asked).items()]


def _resource(asked: Asked) -> str:
    group = f"/subscriptions/{asked.project}/resourceGroups/{asked.project_name}"
    return f"{group}/providers/Microsoft.Compute/virtualMachines/{asked.name}"


def _gib(disk: AskedDisk) -> str:
    return str(-(-disk.size_mib // _MIB_A_GIB))


def _user_data(asked: Asked) -> str:
    return base64.b64encode(asked.user_data).decode()


COMPUTE = (
    Row("azEnvironment", lambda a: "Guesthouse", "this is no cloud of Microsoft's", "2018-10-01"),
    Row("customData", lambda a: "", "never told, as in Azure", "2019-02-01"),
    Row("location", lambda a: a.region, "region", "2017-03-01"),
    Row("name", lambda a: a.name, "name", "2017-03-01"),
    Row("osProfile/adminUsername", lambda a: a.login, "the user for whom the keys are", "2020-07-15"),
    Row("osProfile/computerName", lambda a: a.name, "name", "2020-07-15"),
    Row("osProfile/disablePasswordAuthentication", lambda a: "true", "SSH takes keys only", "2020-10-01"),
    Row("osType", lambda a: "Linux", "what most guests are", "2017-03-01"),
    Row("provider", lambda a: "Microsoft.Compute", "as resource ids are written", "2018-10-01"),
    Row("publicKeys/{key}/keyData", lambda a, key: key.public, "each SSH public key", "2018-04-02"),
    Row("publicKeys/{key}/path", lambda a, key: f"/home/{a.login or 'azureuser'}/.ssh/authorized_keys",
        "where it belongs", "2018-04-02"),
    Row("resourceGroupName", lambda a: a.project_name, "the project's name", "2017-08-01"),
    Row("resourceId", _resource, "the whole name", "2019-03-11"),
    Row("storageProfile/dataDisks/{disk}/diskSizeGB", lambda a, disk: _gib(disk), "size in GiB", "2019-06-01"),
    Row("storageProfile/dataDisks/{disk}/lun", lambda a, disk: str(a.disks.index(disk) - 1), "which", "2019-06-01"),
    Row("storageProfile/dataDisks/{disk}/name", lambda a, disk: disk.name, "each further disk", "2019-06-01"),
    Row("storageProfile/imageReference/id", lambda a: a.image, "the image's id", "2019-06-01"),
    Row("storageProfile/osDisk/diskSizeGB", lambda a: _gib(a.disks[0]) if a.disks else None, "size in GiB",
        "2019-06-01"),
    Row("storageProfile/osDisk/name", lambda a: a.disks[0].name if a.disks else None, "root disk", "2019-06-01"),
    Row("subscriptionId", lambda a: a.project, "the project's id", "2017-08-01"),
    Row("tags", lambda a: ";".join(f"{name}:{text}" for name, text in _labels(a).items()),
        "labels, where the machine may read them", "2017-08-01"),
    Row("tagsList", _tags_list, "the same", "2019-06-04"),
    Row("userData", _user_data, "user-data in base64", "2021-01-01"),
    Row("vmId", lambda a: a.machine, "the machine's id", "2017-03-01"),
    Row("vmSize", type_of, "size", "2017-03-01"),
    Row("zone", lambda a: a.zone, "zone", "2017-12-01"),
)  # fmt: skip
NETWORK = (
    Row("ipv4/ipAddress/{ipv4}/privateIpAddress", lambda a, nic, address: address, "address", "2017-03-01"),
    Row("ipv4/ipAddress/{ipv4}/publicIpAddress", lambda a, nic, address: nic.public, "elastic address", "2017-03-01"),
    Row("ipv4/subnet/{subnet}/address", lambda a, nic, cidr: str(ip_network(cidr).network_address),
        "the subnet's first address", "2017-03-01"),
    Row("ipv4/subnet/{subnet}/prefix", lambda a, nic, cidr: str(ip_network(cidr).prefixlen), "and its bits",
        "2017-03-01"),
    Row("ipv6/ipAddress/{ipv6}/privateIpAddress", lambda a, nic, address: address, "IPv6 address", "2017-03-01"),
    Row("macAddress", lambda a, nic: nic.mac.replace(":", "").upper(), "MAC address", "2017-03-01"),
)  # fmt: skip


def _below(folder: str, rows: Iterable[Row]) -> Iterable[Row]:
    return (Row(f"{folder}/{row.path}", row.value, row.about, row.since) for row in rows)


TABLE = Table((*_below("compute", COMPUTE), *_below("network/interface/{nic}", NETWORK)), EACH, keeps_empty=True)
