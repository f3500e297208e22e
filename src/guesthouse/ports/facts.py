"""What a box is and can."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


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
