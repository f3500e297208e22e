"""How instances are: what the host sees of their processes, and what their guests report.

Rules
-----
1. The system is well while the machine's process runs; it is impaired where that stands still since a disk of it could
   not be written.
2. The instance is well once its guest can be reached. Where cloud-init failed in it, it is impaired.
3. A guest that reports nothing, like one of an image without cloud-init, is for ever being looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from guesthouse.catalog.places import ZONE, ZONE_ID
from guesthouse.doors.ec2.instances import view
from guesthouse.engine.stock import Stock
from guesthouse.formats.cloudids import ec2_id
from guesthouse.model.machine import Machine, Stage

NOUNS = ("machines",)
_RUNNING = "running"
# By EC2's word of a status: that of what was looked at for it.
_DETAILS = {"ok": "passed", "initializing": "initializing", "impaired": "failed"}


def statuses(stock: Stock) -> Iterable[dict[str, Any]]:
    """All instances, oldest first, each with its status."""
    return [status(machine) for machine in stock.machines.values()]


def only_running(item: Mapping[str, Any], arguments: Mapping[str, Any]) -> bool:
    """Whether an instance runs, or those that do not are asked for, too."""
    return bool(arguments.get("IncludeAllInstances")) or item["InstanceState"]["Name"] == _RUNNING


def status(machine: Machine) -> dict[str, Any]:
    """One machine's status."""
    state = view.state_of(machine)
    runs = state["Name"] == _RUNNING
    return {
        "AvailabilityZone": ZONE,
        "AvailabilityZoneId": ZONE_ID,
        "Events": [],
        "InstanceId": ec2_id("i", machine.id),
        "InstanceState": state,
        "InstanceStatus": _summary(_instance(machine) if runs else ""),
        "SystemStatus": _summary(("impaired" if machine.status.error else "ok") if runs else ""),
    }


def _instance(machine: Machine) -> str:
    if machine.status.outcome is not None and not machine.status.outcome.ok:
        return "impaired"
    return "ok" if machine.stage in (Stage.REACHABLE, Stage.CONFIGURED) else "initializing"


def _summary(word: str) -> dict[str, Any]:
    if not word:
        return {"Status": "not-applicable", "Details": []}
    return {"Status": word, "Details": [{"Name": "reachability", "Status": _DETAILS[word]}]}
