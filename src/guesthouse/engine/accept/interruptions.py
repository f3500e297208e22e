"""Accepting that spot machines are interrupted: told of it first, and ended when their notice is over.

Rules
-----
1. A guest is told by its metadata service, in every dialect; nothing else changes until the notice is over.
2. Then the machine is deleted or stopped, as its description says. It is only stopped where deleting it is refused: it
   is protected, or somebody needs what would go with it.
3. A machine that is stopped holds nothing that anybody could want back: it is not interrupted. Who stops it during the
   notice, or starts it after an interruption, has taken that back.
"""

from __future__ import annotations

from guesthouse.decide.validate import check_range
from guesthouse.engine import intents
from guesthouse.engine.accept import machines
from guesthouse.engine.accept.desk import Desk
from guesthouse.model.errors import Conflict
from guesthouse.model.machine import Machine, OnShutdown, Power
from guesthouse.model.resources import Operation

MAX_NOTICE_S = 3600
_MEANS = {OnShutdown.DELETE: "deleted", OnShutdown.STOP: "stopped"}


async def interrupt(desk: Desk, intent: intents.Interrupt) -> Operation:
    """Write down when a spot machine is interrupted; raises `Conflict` for one that is none, or does not run."""
    machine = await desk.machine(intent.machine)
    check_range("notice_s", intent.notice_s, 0, MAX_NOTICE_S)
    _refuse_others(machine)
    at = await desk.tx.now() + intent.notice_s
    await desk.tx.machines.update(machine.id, {}, interrupted_at=at)
    later = f"its guest is told that it is {_MEANS[machine.spec.on_interruption]} in {intent.notice_s} s"
    return await desk.open("machine.interrupt", machine, generation=machine.generation, done=True, later=later)


async def carry_out(desk: Desk, intent: intents.EndInterrupted) -> Operation:
    """Delete or stop a machine whose notice is over; raises `Conflict` where that was taken back."""
    machine = await desk.machine(intent.machine)
    if _is_ending(machine) or not 0 < machine.interrupted_at <= await desk.tx.now():
        subject = f"machine {machine.name}"
        raise Conflict(f"{subject} is not to be interrupted any more", subject=subject, field="interrupted_at")
    if machine.spec.on_interruption is OnShutdown.DELETE:
        try:
            await machines.refuse_to_delete(desk, machine)
        except Conflict:
            pass
        else:
            return await machines.delete(desk, intents.Delete(machine=machine.id), interrupted=True)
    return await machines.stop(desk, intents.Stop(machine=machine.id), interrupted=True)


def _refuse_others(machine: Machine) -> None:
    subject = f"machine {machine.name}"
    if not machine.spec.spot:
        hint = "`guest launch --spot` makes one; `guest stop` ends any machine"
        raise Conflict(f"{subject} is no spot machine", subject=subject, field="spot", hint=hint)
    if _is_ending(machine):
        what = "being deleted" if machine.deleting else "stopped"
        raise Conflict(f"{subject} is {what}: nothing is to be interrupted", subject=subject, field="state")
    if machine.interrupted_at:
        raise Conflict(
            f"{subject} is being interrupted already",
            subject=subject,
            field="interrupted_at",
            value=machine.interrupted_at,
            hint=f"`guest stop {machine.name}` during the notice takes it back",
        )


def _is_ending(machine: Machine) -> bool:
    return bool(machine.deleting) or machine.power is Power.STOPPED
