"""EC2's instance types: how many vCPUs and how much memory each has.

A row is a family: its memory for each vCPU, and its sizes with their vCPUs. Where a family does not keep to its own
ratio, the memory stands with the size.

Source: Amazon EC2 instance types, by AWS.
"""

from __future__ import annotations

from typing import NamedTuple


class InstanceType(NamedTuple):
    """One type, like ``t3.micro``."""

    name: str
    vcpus: int
    memory_mib: int

    @property
    def family(self) -> str:
        return self.name.partition(".")[0]


_BURSTABLE = "nano:2:0.5 micro:2:1 small:2:2 medium:2:4 large:2:8 xlarge:4:16 2xlarge:8:32"
_FAMILIES = {
    "t2": "nano:1:0.5 micro:1:1 small:1:2 medium:2:4 large:2:8 xlarge:4:16 2xlarge:8:32",
    "t3": _BURSTABLE,
    "t3a": _BURSTABLE,
}


def _types() -> dict[str, InstanceType]:
    found = {}
    for family, sizes in _FAMILIES.items():
        for size in sizes.split():
            name, vcpus, gib = size.split(":")
            whole = f"{family}.{name}"
            found[whole] = InstanceType(whole, int(vcpus), int(float(gib) * 1024))
    return found


TYPES: dict[str, InstanceType] = _types()
DEFAULT = TYPES["t3.micro"]
