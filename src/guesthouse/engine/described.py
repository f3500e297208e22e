"""What of a machine's description is kept as scalar columns too."""

from __future__ import annotations

from typing import Any

from guesthouse.model.machine import MachineSpec


def columns(spec: MachineSpec) -> dict[str, Any]:
    """The columns, beside its name, that follow from a description."""
    address = next((nic.address for nic in spec.nics if nic.address), "")
    return {**sizes(spec), "autostart": spec.autostart, "apart": spec.apart, "address": address}


def sizes(spec: MachineSpec) -> dict[str, int]:
    """What counts for a quota, by column."""
    return {"vcpus": spec.vcpus, "memory_mib": spec.memory_mib, "nics": len(spec.nics)}
