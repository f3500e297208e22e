"""EC2's instance types: vCPUs, memory, disks and graphics processors that they come with, and what AWS takes for them.

Rules
-----
1. A row of `_EVEN` is a family whose sizes are alike: so much memory and so much money for each vCPU. How many of these
   a size has is in its name. A row of `_UNEVEN` is a family that says each of its sizes.
2. There are those of the x86-64 architecture alone, and no bare metal.
3. Prices are those on demand with Linux in us-east-1, in US dollars an hour, of January 2026. Here nobody takes them;
   they tell what the same machine would cost there.

Source: Amazon EC2 instance types and Amazon EC2 On-Demand Pricing, by AWS.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

BURSTABLE = frozenset({"t2", "t3", "t3a"})
_NAMED_SIZES = {"medium": 1, "large": 2, "xlarge": 4}


class Store(NamedTuple):
    """Disks of one size that a type comes with."""

    number: int
    size_gb: int


class Graphics(NamedTuple):
    """Graphics processors that a type comes with; `memory_mib` is that of each."""

    maker: str
    name: str
    number: int
    memory_mib: int


class InstanceType(NamedTuple):
    """One type, like ``t3.micro``. `price` is in US dollars an hour, `ghz` the clock that its processors keep."""

    name: str
    vcpus: int
    memory_mib: int
    price: float
    maker: str
    ghz: float
    store: Store | None = None
    graphics: Graphics | None = None

    @property
    def family(self) -> str:
        return self.name.partition(".")[0]

    @property
    def burstable(self) -> bool:
        """Whether AWS gives it a share of its processors, and more for a while."""
        return self.family in BURSTABLE

    @property
    def storage_gb(self) -> int:
        """All of the disks that it comes with."""
        return self.store.number * self.store.size_gb if self.store else 0

    @property
    def gpus(self) -> int:
        return self.graphics.number if self.graphics else 0


_TO_16 = "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge"
_TO_24 = f"{_TO_16} 24xlarge"
_TO_32 = f"{_TO_24} 32xlarge"
_TO_48 = f"{_TO_32} 48xlarge"
_SKIPPING_32 = f"{_TO_24} 48xlarge"
_C5 = "large xlarge 2xlarge 4xlarge 9xlarge 12xlarge 18xlarge 24xlarge"
_INTEL, _AMD = "Intel", "AMD"

# The maker and clock of the processors, GiB and US dollars for each vCPU, the sizes.
_EVEN: dict[str, tuple[str, float, float, float, str]] = {
    "m5": (_INTEL, 3.1, 4, 0.048, _TO_24),
    "m5a": (_AMD, 2.5, 4, 0.043, _TO_24),
    "m6i": (_INTEL, 3.5, 4, 0.048, _TO_32),
    "m6a": (_AMD, 3.6, 4, 0.0432, _TO_48),
    "m7i": (_INTEL, 3.2, 4, 0.0504, _SKIPPING_32),
    "m7i-flex": (_INTEL, 3.2, 4, 0.04788, _TO_16),
    "m7a": (_AMD, 3.7, 4, 0.05796, f"medium {_TO_48}"),
    "m8i": (_INTEL, 3.9, 4, 0.05292, f"{_TO_48} 96xlarge"),
    "c5": (_INTEL, 3.6, 2, 0.0425, _C5),
    "c5a": (_AMD, 3.3, 2, 0.0385, _TO_24),
    "c6i": (_INTEL, 3.5, 2, 0.0425, _TO_32),
    "c6a": (_AMD, 3.6, 2, 0.03825, _TO_48),
    "c7i": (_INTEL, 3.2, 2, 0.044625, _SKIPPING_32),
    "c7i-flex": (_INTEL, 3.2, 2, 0.04239375, _TO_16),
    "c7a": (_AMD, 3.7, 2, 0.05132, f"medium {_TO_48}"),
    "c8i": (_INTEL, 3.9, 2, 0.046855, f"{_TO_48} 96xlarge"),
    "r5": (_INTEL, 3.1, 8, 0.063, _TO_24),
    "r5a": (_AMD, 2.5, 8, 0.0565, _TO_24),
    "r6i": (_INTEL, 3.5, 8, 0.063, _TO_32),
    "r6a": (_AMD, 3.6, 8, 0.0567, _TO_48),
    "r7i": (_INTEL, 3.2, 8, 0.06615, _SKIPPING_32),
    "r7a": (_AMD, 3.7, 8, 0.076075, f"medium {_TO_48}"),
    "r8i": (_INTEL, 3.9, 8, 0.06946, f"{_TO_48} 96xlarge"),
}

# The maker and clock of the processors, then of each size its vCPUs, GiB, US dollars, disks, graphics processors.
_UNEVEN: dict[str, tuple[str, float, str, str]] = {
    "t2": (
        _INTEL, 2.3, "",
        "nano 1 0.5 0.0058, micro 1 1 0.0116, small 1 2 0.023, medium 2 4 0.0464, large 2 8 0.0928, "
        "xlarge 4 16 0.1856, 2xlarge 8 32 0.3712",
    ),
    "t3": (
        _INTEL, 2.5, "",
        "nano 2 0.5 0.0052, micro 2 1 0.0104, small 2 2 0.0208, medium 2 4 0.0416, large 2 8 0.0832, "
        "xlarge 4 16 0.1664, 2xlarge 8 32 0.3328",
    ),
    "t3a": (
        _AMD, 2.2, "",
        "nano 2 0.5 0.0047, micro 2 1 0.0094, small 2 2 0.0188, medium 2 4 0.0376, large 2 8 0.0752, "
        "xlarge 4 16 0.1504, 2xlarge 8 32 0.3008",
    ),
    "i3": (
        _INTEL, 2.3, "",
        "large 2 15.25 0.156 1x475, xlarge 4 30.5 0.312 1x950, 2xlarge 8 61 0.624 1x1900, 4xlarge 16 122 1.248 2x1900, "
        "8xlarge 32 244 2.496 4x1900, 16xlarge 64 488 4.992 8x1900",
    ),
    "i4i": (
        _INTEL, 3.5, "",
        "large 2 16 0.172 1x468, xlarge 4 32 0.343 1x937, 2xlarge 8 64 0.686 1x1875, 4xlarge 16 128 1.373 1x3750, "
        "8xlarge 32 256 2.746 2x3750, 12xlarge 48 384 4.118 3x3750, 16xlarge 64 512 5.491 4x3750, "
        "24xlarge 96 768 8.2368 6x3750, 32xlarge 128 1024 10.9824 8x3750",
    ),
    "g4dn": (
        _INTEL, 2.5, "T4 16384",
        "xlarge 4 16 0.526 1x125 1, 2xlarge 8 32 0.752 1x225 1, 4xlarge 16 64 1.204 1x225 1, "
        "8xlarge 32 128 2.176 1x900 1, 12xlarge 48 192 3.912 1x900 4, 16xlarge 64 256 4.352 1x900 1",
    ),
    "g5": (
        _AMD, 3.3, "A10G 22888",
        "xlarge 4 16 1.006 1x250 1, 2xlarge 8 32 1.212 1x450 1, 4xlarge 16 64 1.624 1x600 1, "
        "8xlarge 32 128 2.448 1x900 1, 12xlarge 48 192 5.672 1x3800 4, 16xlarge 64 256 4.096 1x1900 1, "
        "24xlarge 96 384 8.144 1x3800 4, 48xlarge 192 768 16.288 2x3800 8",
    ),
    "g6": (
        _AMD, 3.4, "L4 22888",
        "xlarge 4 16 0.8048 1x250 1, 2xlarge 8 32 0.9776 1x450 1, 4xlarge 16 64 1.3232 1x600 1, "
        "8xlarge 32 128 2.0144 2x450 1, 12xlarge 48 192 4.6016 4x940 4, 16xlarge 64 256 3.3968 2x940 1, "
        "24xlarge 96 384 6.6752 4x940 4, 48xlarge 192 768 13.3504 8x940 8",
    ),
    "p5": (_AMD, 3.6, "H100 81920", "4xlarge 16 256 6.88 1x3800 1, 48xlarge 192 2048 55.04 8x3800 8"),
}  # fmt: skip


def _even() -> Iterable[InstanceType]:
    for family, (maker, ghz, gib, price, sizes) in _EVEN.items():
        for size in sizes.split():
            vcpus = _NAMED_SIZES.get(size) or 4 * int(size.removesuffix("xlarge"))
            yield InstanceType(f"{family}.{size}", vcpus, int(vcpus * gib * 1024), round(vcpus * price, 5), maker, ghz)


def _uneven() -> Iterable[InstanceType]:
    for family, (maker, ghz, graphics, sizes) in _UNEVEN.items():
        for written in sizes.split(", "):
            size, vcpus, gib, price, *more = written.split()
            yield InstanceType(
                f"{family}.{size}",
                int(vcpus),
                int(float(gib) * 1024),
                float(price),
                maker,
                ghz,
                _store(more[0]) if more else None,
                _graphics(graphics, more[1]) if graphics else None,
            )


def _store(written: str) -> Store:
    number, size_gb = written.split("x")
    return Store(int(number), int(size_gb))


def _graphics(written: str, number: str) -> Graphics:
    name, memory_mib = written.split()
    return Graphics("NVIDIA", name, int(number), int(memory_mib))


TYPES: dict[str, InstanceType] = {each.name: each for each in (*_uneven(), *_even())}
DEFAULT = TYPES["t3.micro"]
