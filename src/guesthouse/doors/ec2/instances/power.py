"""Starting, stopping, rebooting and terminating instances: all that are named, or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from guesthouse.doors.ec2 import ids
from guesthouse.doors.ec2.instances import view
from guesthouse.doors.ec2.rows import Call
from guesthouse.engine import intents
from guesthouse.engine.door_intents import Piece, Rewrite
from guesthouse.engine.intents import Intent
from guesthouse.engine.stock import Stock
from guesthouse.formats.awsquery.fault import Fault
from guesthouse.formats.cloudids import ec2_id
from guesthouse.model.machine import Machine


async def start(call: Call) -> Mapping[str, Any]:
    return {"StartingInstances": await _change(call, lambda machine: intents.Start(machine=machine.id))}


async def stop(call: Call) -> Mapping[str, Any]:
    """Stop machines, or hibernate those that were launched for that."""
    if not call["Hibernate"]:
        force = bool(call["Force"])
        return {"StoppingInstances": await _change(call, lambda machine: intents.Stop(machine=machine.id, force=force))}
    if call["Force"]:
        raise Fault("InvalidParameterCombination", "The parameters Force and Hibernate may not be used together.")
    stock = await call.stock("machines", "door_records")
    for machine in ids.several(stock.machines, "i", call["InstanceIds"]):
        if not view.hibernates(view.record_of(stock, machine.id)):
            raise _not_configured(ec2_id("i", machine.id))
    return {"StoppingInstances": await _change(call, lambda machine: intents.Stop(machine=machine.id, hibernate=True))}


async def reboot(call: Call) -> None:
    await _change(call, lambda machine: intents.Restart(machine=machine.id))


async def terminate(call: Call) -> Mapping[str, Any]:
    """Delete machines with their disks. Those that ended before are as they are."""
    stock = await call.stock("machines", "door_records")
    gone = {
        ec2_id("i", record.subject)
        for record in stock.records.values()
        if view.is_ours(record) and record.subject not in stock.machines
    }
    found = ids.several(stock.machines, "i", [id for id in call["InstanceIds"] if id not in gone])
    for machine in found:
        if machine.spec.protected and not machine.deleting:
            raise _protected(ec2_id("i", machine.id))
    pieces = [Piece(intent=intents.Delete(machine=machine.id)) for machine in found]
    for machine in found:
        pieces += [
            Piece(intent=Rewrite(record=record.id, parts={"tags": machine.spec.labels}))
            for record in stock.records_of.get(machine.id, ())
            if view.is_ours(record)
        ]
    await call.make(*pieces)
    after = await call.stock("machines")
    ended = {"InstanceId": "", "CurrentState": view.TERMINATED, "PreviousState": view.TERMINATED}
    changes = _changes(stock, after, found)
    return {"TerminatingInstances": [*changes, *({**ended, "InstanceId": id} for id in sorted(gone & _said(call)))]}


def _protected(id: str) -> Fault:
    text = f"The instance '{id}' may not be terminated. Modify its 'disableApiTermination' instance attribute"
    return Fault("OperationNotPermitted", f"{text} and try again.")


def _not_configured(id: str) -> Fault:
    text = f"The instance '{id}' is not configured for hibernation: launch it with HibernationOptions.Configured=true."
    return Fault("UnsupportedHibernationConfiguration", text)


def _said(call: Call) -> set[str]:
    return set(call["InstanceIds"])


async def _change(call: Call, intent: Callable[[Machine], Intent]) -> list[dict[str, Any]]:
    stock = await call.stock("machines")
    found = ids.several(stock.machines, "i", call["InstanceIds"])
    await call.do(*(intent(machine) for machine in found))
    return _changes(stock, await call.stock("machines"), found)


def _changes(before: Stock, after: Stock, machines: Sequence[Machine]) -> list[dict[str, Any]]:
    """What answers tell of each machine: its state before and now."""
    return [
        {
            "InstanceId": ec2_id("i", machine.id),
            "CurrentState": view.state_of(after.machines[machine.id]) if machine.id in after.machines
            else view.TERMINATED,
            "PreviousState": view.state_of(before.machines[machine.id]),
        }
        for machine in machines
    ]  # fmt: skip
