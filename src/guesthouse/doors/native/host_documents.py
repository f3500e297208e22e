"""The shapes in which the native door shows hosts."""

from __future__ import annotations

from typing import Literal

from guesthouse.doors.native.documents import Answer, Asked
from guesthouse.model.hosts import Limits


class OfHost(Asked, frozen=True, kw_only=True):
    host: str


class HostDocument(Answer, frozen=True, kw_only=True):
    """A host, and what is placed there. It is `away` when its daemon has not been heard of for a while."""

    id: str
    name: str
    state: Literal["ready", "away"]
    zone: str
    region: str
    labels: dict[str, str]
    limits: Limits
    address: str
    version: str
    accelerator: str
    cpus: int
    memory_mib: int
    memory_free_mib: int
    disk_free_mib: int
    machines: int
    vcpus_placed: int
    memory_placed_mib: int
    seen_at: float
    created_at: float


class PlaceDocument(Answer, frozen=True, kw_only=True):
    """What becomes of one host when a machine is placed: its scores, or what it lacks."""

    host: str
    name: str
    fits: bool
    score: float
    scores: dict[str, float]
    lacks: tuple[str, ...]
