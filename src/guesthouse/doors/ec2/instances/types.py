"""Instance types: the catalogue as EC2 tells it, and which of it this host can have.

Rules
-----
1. Sizes, disks and graphics processors are the catalogue's. What a machine here has of its own accord (its NICs, its
   firmware, its disks' bus) is what is so here, whatever the type.
2. A type is offered where the host can have machines of it. The others can be described and not be run.
3. t-types have their processors all the time: their credits are unlimited, and nobody takes money for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from guesthouse.catalog.ec2_types import TYPES, InstanceType
from guesthouse.catalog.places import REGION, ZONE, ZONE_ID
from guesthouse.decide.types import why_not
from guesthouse.decide.validate import MAX_NICS
from guesthouse.doors.ec2.instances import view
from guesthouse.engine.stock import CAPACITY, Stock
from guesthouse.formats.cloudids import ec2_id

OFFERED_NOUNS = (CAPACITY,)
CREDIT_NOUNS = ("machines",)
_FREE = frozenset({"t2.micro", "t3.micro"})
_FORMER = frozenset({"m5", "c5", "r5", "m6i", "r6i", "g5"})
_LOCATIONS = {"region": REGION, "availability-zone": ZONE, "availability-zone-id": ZONE_ID}
_UNSUPPORTED = "unsupported"


def types(stock: Stock) -> Iterable[dict[str, Any]]:
    """The catalogue."""
    return _CATALOGUE


def instance_type(each: InstanceType) -> dict[str, Any]:
    """One type."""
    found = {
        "InstanceType": each.name,
        "CurrentGeneration": each.family not in _FORMER,
        "FreeTierEligible": each.name in _FREE,
        "SupportedUsageClasses": ["on-demand", "spot"],
        "SupportedRootDeviceTypes": ["ebs"],
        "SupportedVirtualizationTypes": ["hvm"],
        "BareMetal": False,
        "Hypervisor": "xen" if each.family in ("t2", "i3") else "nitro",
        "ProcessorInfo": {
            "SupportedArchitectures": ["x86_64"],
            "SustainedClockSpeedInGhz": each.ghz,
            "Manufacturer": each.maker,
        },
        "VCpuInfo": {"DefaultVCpus": each.vcpus, "DefaultCores": each.vcpus, "DefaultThreadsPerCore": 1},
        "MemoryInfo": {"SizeInMiB": each.memory_mib},
        "InstanceStorageSupported": each.store is not None,
        "EbsInfo": {
            "EbsOptimizedSupport": _UNSUPPORTED,
            "EncryptionSupport": _UNSUPPORTED,
            "NvmeSupport": _UNSUPPORTED,
        },
        "NetworkInfo": {
            "MaximumNetworkInterfaces": MAX_NICS,
            "MaximumNetworkCards": 1,
            "DefaultNetworkCardIndex": 0,
            "Ipv4AddressesPerInterface": 1,
            "Ipv6AddressesPerInterface": 1,
            "Ipv6Supported": True,
            "EnaSupport": _UNSUPPORTED,
            "EfaSupported": False,
        },
        "PlacementGroupInfo": {"SupportedStrategies": ["cluster", "partition", "spread"]},
        "HibernationSupported": True,
        "BurstablePerformanceSupported": each.burstable,
        "DedicatedHostsSupported": False,
        "AutoRecoverySupported": False,
        "SupportedBootModes": ["legacy-bios", "uefi"],
        "NitroEnclavesSupport": _UNSUPPORTED,
        "NitroTpmSupport": _UNSUPPORTED,
    }
    return {**found, **_storage(each), **_graphics(each)}


def _storage(each: InstanceType) -> dict[str, Any]:
    if each.store is None:
        return {}
    disks = [{"SizeInGB": each.store.size_gb, "Count": each.store.number, "Type": "ssd"}]
    told = {"TotalSizeInGB": each.storage_gb, "Disks": disks}
    return {"InstanceStorageInfo": {**told, "NvmeSupport": _UNSUPPORTED, "EncryptionSupport": _UNSUPPORTED}}


def _graphics(each: InstanceType) -> dict[str, Any]:
    if (has := each.graphics) is None:
        return {}
    one = {"Name": has.name, "Manufacturer": has.maker, "Count": has.number}
    gpus = [{**one, "MemoryInfo": {"SizeInMiB": has.memory_mib}}]
    return {"GpuInfo": {"Gpus": gpus, "TotalGpuMemoryInMiB": has.number * has.memory_mib}}


_CATALOGUE = [instance_type(each) for each in TYPES.values()]


def offerings(stock: Stock) -> Iterable[dict[str, Any]]:
    """The types that this host can have; where they are is told in the end."""
    assert stock.capacity is not None
    cpus, memory_mib = stock.capacity.cpus, stock.capacity.memory_mib
    return [
        {"InstanceType": each.name, "LocationType": kind, "Location": place}
        for each in TYPES.values()
        if not why_not(each, cpus, memory_mib)
        for kind, place in _LOCATIONS.items()
    ]


def only_there(item: Mapping[str, Any], arguments: Mapping[str, Any]) -> bool:
    """Whether it is told in the words that are asked for."""
    return str(item["LocationType"]) == (arguments.get("LocationType") or "region")


def credits(stock: Stock) -> Iterable[dict[str, Any]]:
    """Instances of t-types."""
    return [
        {"InstanceId": ec2_id("i", machine.id), "CpuCredits": "unlimited"}
        for machine in stock.machines.values()
        if (known := TYPES.get(view.type_of(machine.spec))) is not None and known.burstable
    ]
