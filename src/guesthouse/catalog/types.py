"""Sizes of machines by the names that clouds have for them."""

from __future__ import annotations

import difflib

from guesthouse.catalog import ec2_types
from guesthouse.catalog.ec2_types import InstanceType

TYPES: dict[str, InstanceType] = {**ec2_types.TYPES}


def near(name: str) -> list[str]:
    """Names of types that are written nearly so, the nearest first; of the same family where there is that."""
    alike = difflib.get_close_matches(name.lower(), TYPES, n=3, cutoff=0.6)
    family = name.lower().partition(".")[0]
    return alike or [each.name for each in TYPES.values() if each.family == family][:3]


def _by_size() -> dict[tuple[int, int], str]:
    found: dict[tuple[int, int], str] = {}
    # The families that people take first come last, so that they are the ones that stay.
    for each in sorted(TYPES.values(), key=lambda each: (bool(each.store), each.price), reverse=True):
        found[each.vcpus, each.memory_mib] = each.name
    return {**found, **{(each.vcpus, each.memory_mib): each.name for each in TYPES.values() if each.family == "t3"}}


BY_SIZE: dict[tuple[int, int], str] = _by_size()
"""A type for each number of vCPUs with each memory (MiB) that one has: of t3 where it has one, else the cheapest."""
