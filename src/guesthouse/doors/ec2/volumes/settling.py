"""Waiting for what takes a moment: a machine takes one change after the other, EC2's clients do not wait between."""

from __future__ import annotations

from guesthouse.doors.ec2.rows import Call

_WAIT_S = 10.0
_SHORT = frozenset({"snapshot.create", "disk.attach", "disk.detach", "disk.resize"})


async def until_idle(call: Call, machine: str) -> None:
    """Wait a while for short operations on a machine, "" for none; what lasts is refused by its own error later."""
    if not machine:
        return
    for row in (await call.stock("operations")).operations.values():
        if row.subject == machine and row.kind in _SHORT:
            operation = await call.engine.views.operation(call.asker, row.id)
            await call.engine.views.wait_end(call.asker, operation, wait_s=_WAIT_S)
