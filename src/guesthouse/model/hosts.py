"""Hosts: the boxes of a house that run machines.

Rules
-----
1. What a box is and has is written by its own daemon, with each renewal of its lease; what an operator says of it
   (`zone`, `region`, `labels`, `limits`) by the engine alone.
2. A host is `away` when its daemon has not renewed for longer than `LEASE_S`, by the database's clock. An embedded
   house has one host and no lease: that its daemon answers says all.
3. One daemon at a time is a host. `seat` is the box and folder from which it is, `instance` its present run.
"""

from __future__ import annotations

import msgspec

LEASE_S = 6.0
"""How long a host is believed to be there after its daemon said so."""
RENEW_S = LEASE_S / 3
FIRST_HOST = "local"
"""The id of the host that founds a house; those that join are given one."""


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much a host may promise; None is as much as there is memory for.

    `vcpus_per_cpu` are virtual processors a processor, `memory_percent` memory of machines in percent of the host's.
    """

    vcpus_per_cpu: float | None = None
    memory_percent: int | None = None


class HostRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A host as its house knows it.

    `accelerator` is kvm or tcg, `frozen_by` who freezes templates there (QEMU, processor), `address` where other hosts
    reach its daemon (empty in an embedded house). Free memory and disk space are as of `seen_at`, the database's time.
    """

    id: str
    name: str
    zone: str
    region: str
    labels: dict[str, str] = {}
    limits: Limits = Limits()
    address: str = ""
    seat: str = ""
    instance: str = ""
    boot_id: str = ""
    version: str = ""
    cpus: int = 1
    memory_mib: int = 0
    memory_free_mib: int = 0
    disk_free_mib: int = 0
    accelerator: str = "tcg"
    frozen_by: str = ""
    seen_at: float = 0.0
    created_at: float = 0.0

    def is_away(self, now: float) -> bool:
        """Whether its lease has run out, at this time of the database's."""
        return bool(self.address) and now - self.seen_at > LEASE_S


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What is placed on a host: machines, and the processors and memory of those that are wanted to run."""

    machines: int = 0
    vcpus: int = 0
    memory_mib: int = 0
