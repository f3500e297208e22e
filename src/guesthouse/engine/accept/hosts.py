"""Accepting what an operator says of hosts."""

from __future__ import annotations

import msgspec

from guesthouse.decide.validate import check_labels
from guesthouse.engine.accept.desk import Desk
from guesthouse.engine.host_intents import HostChange
from guesthouse.engine.hosts import find_host
from guesthouse.model.errors import Invalid
from guesthouse.model.hosts import HostRecord, Limits
from guesthouse.model.names import check_name

MAX_VCPUS_PER_CPU, MAX_MEMORY_PERCENT = 1000, 1000


async def change(desk: Desk, intent: HostChange) -> HostRecord:
    """Write what is said; machines that are there stay, whatever the limits are now."""
    host = await find_host(desk.tx, intent.host, desk.here)
    said = {
        name: getattr(intent, name)
        for name in intent.__struct_fields__
        if name != "host" and getattr(intent, name) is not None
    }
    if not said:
        raise Invalid("nothing to change", field="host", hint="name a zone, a region, labels or limits")
    for field, what in (("name", "host"), ("zone", "zone"), ("region", "region")):
        if field in said:
            check_name(said[field], what, field)
    check_labels(said.get("labels", {}))
    _check_limits(said.get("limits", Limits()))
    await desk.tx.hosts.update(host.id, {}, **said)
    return msgspec.structs.replace(host, **said)


def _check_limits(limits: Limits) -> None:
    for field, most in (("vcpus_per_cpu", MAX_VCPUS_PER_CPU), ("memory_percent", MAX_MEMORY_PERCENT)):
        value = getattr(limits, field)
        if value is not None and not 0 < value <= most:
            raise Invalid(
                f"{field} is {value}", field=field, value=value,
                hint=f"more than 0, {most} at most, or `unlimited`",
            )  # fmt: skip
