"""Waiting for what takes a moment: a machine takes one change after the other, EC2's clients do not wait between.

What begins such a change waits for those before it, and a snapshot of volumes for its own moment, too: the instance can
be started, stopped or deleted right after it is answered.
"""

from __future__ import annotations

from guesthouse.doors.ec2.images import view
from guesthouse.doors.ec2.rows import Call
from guesthouse.engine.stock import Stock
from guesthouse.formats.cloudids import ec2_id
from guesthouse.model.resources import Disk, ImageState

_WAIT_S = 10.0
_SHORT = frozenset({"snapshot.create", "disk.attach", "disk.detach", "disk.resize"})


async def until_idle(call: Call, machine: str) -> None:
    """Wait a while for short operations on a machine, "" for none; what lasts is refused by its own error later."""
    if not machine:
        return
    for row in (await call.stock("operations")).operations.values():
        if row.subject == machine and row.kind in _SHORT:
            await _ended(call, row.id)


async def until_read(call: Call, stock: Stock, disk: Disk) -> None:
    """Wait a while for snapshots that are made of a volume that no instance has: it is left alone as long."""
    volume = ec2_id("vol", disk.id)
    for image in view.snapshots(stock).values():
        if image.state is ImageState.MAKING and view.record_of(stock, image.id, view.SNAPSHOT).get("volume") == volume:
            for row in [each for each in stock.operations.values() if each.subject == image.id]:
                await _ended(call, row.id)


async def _ended(call: Call, operation: str) -> None:
    found = await call.engine.views.operation(call.asker, operation)
    await call.engine.views.wait_end(call.asker, found, wait_s=_WAIT_S)
