"""What is wanted of a machine that no longer runs though nobody asked for that.

Rules
-----
1. A guest that powered itself off, or crashed, is wanted stopped from then on; one that stands still is wanted paused.
2. A machine whose description says so (`on_shutdown`) is deleted when its guest powers itself off, with its disks but
   for those to keep. Nobody asked for that, so that there is no operation.
3. It is only stopped where deleting it would take away what somebody needs: while an image is made of its disks, or
   where it has snapshots and disks to keep, which could not do without each other.
"""

from __future__ import annotations

from typing import Any

from guesthouse.decide.plan import Lapse, kept_disks
from guesthouse.engine.readings import readings
from guesthouse.engine.records import tell
from guesthouse.engine.seen import lapsed_columns
from guesthouse.engine.snapshots import forget_all
from guesthouse.model.machine import Deleting, Machine, OnShutdown
from guesthouse.ports import Transaction


async def note_lapse(tx: Transaction, machine: Machine, why: str, boot_id: str) -> None:
    """Write down what is wanted of a machine that lapsed."""
    event, changes = lapsed_columns(machine, why, boot_id)
    wanted: dict[str, Any] = {**changes, "generation": machine.generation + 1}
    is_to_go = why == Lapse.POWERED_OFF and machine.spec.on_shutdown is OnShutdown.DELETE
    if is_to_go and not await _is_needed(tx, machine):
        wanted["deleting"] = Deleting.WITH_DISKS
    if await tx.machines.update(machine.id, {"generation": machine.generation}, **wanted):
        if "deleting" in wanted:
            await forget_all(tx, machine)
        await tell(tx, event, machine)


async def _is_needed(tx: Transaction, machine: Machine) -> bool:
    if await readings(tx, machine.id):
        return True
    return bool(kept_disks(machine.spec)) and bool(await tx.snapshots.scan(machine=machine.id))
