"""Merging layers where they lie: the messages by which a layer takes in those under it.

Rules
-----
1. A layer takes in what lies between it and its new base; the layers taken in are only read, and stay as they are.
2. The header of the layer names its new base when all is copied and lies on the disk, never before: who is killed has
   lost nothing. QEMU changes the header when a job is finalized, and does not flush what it copied before that: the
   file would have lost its base, and not have what it took in.
3. A job stays until it is dismissed, so that whoever comes later learns how it ended.

Source: QEMU's qapi/block-core.json (block-stream), qapi/job.json, docs/interop/live-block-operations.rst.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from guesthouse.model.errors import Failed, GuesthouseError, NoCapacity
from guesthouse.qemu.messages import Command

EVENT = "JOB_STATUS_CHANGE"
JOBS = Command("query-jobs")
PENDING = "pending"
CONCLUDED = "concluded"
_BY_US = {"auto-finalize": False, "auto-dismiss": False}


def stream(job: str, node: str, base: str, base_name: str, bytes_per_s: int = 0) -> Command:
    """Have the layer `node` take in what lies above `base`, which its header will call `base_name`.

    Without a base it takes in everything. `bytes_per_s` bounds its pace, 0 does not.
    """
    to = {"base-node": base, "backing-file": base_name} if base else {}
    pace = {"speed": bytes_per_s} if bytes_per_s else {}
    return Command("block-stream", {"job-id": job, "device": node, **to, **pace, **_BY_US})


def flush(node: str) -> Command:
    """Write down what QEMU has of a layer in memory: QMP has no command of its own for that."""
    return Command("human-monitor-command", {"command-line": f"qemu-io {node} flush"})


def finalize(job: str) -> Command:
    """Have a job that is pending change the header of its layer, and end."""
    return Command("job-finalize", {"id": job})


def cancel(job: str) -> Command:
    """Have a job end as soon as it can."""
    return Command("job-cancel", {"id": job})


def dismiss(job: str) -> Command:
    """Forget a job that has ended."""
    return Command("job-dismiss", {"id": job})


def find(job: str, told: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """A job in the answer to `JOBS`."""
    return next((each for each in told if each["id"] == job), None)


def percent(job: Mapping[str, Any]) -> float:
    """How far a job is."""
    return 100.0 * float(job["current-progress"]) / max(1.0, float(job["total-progress"]))


def failure(job: Mapping[str, Any], subject: str) -> GuesthouseError | None:
    """Why a job that has ended did not do its work; None when it did."""
    if not (said := job.get("error")):
        return None
    if "No space left" in said or "quota exceeded" in said:
        return NoCapacity(
            f"{subject}: while its layers were merged, the disk of this host was full",
            subject=subject,
            hint="make room; it is tried again",
        )
    return Failed(f"{subject}: its layers could not be merged: {said}", subject=subject)
