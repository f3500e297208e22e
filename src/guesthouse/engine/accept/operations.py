"""Accepting that an operation be cancelled: it is undone, and ends as cancelled."""

from __future__ import annotations

from guesthouse.engine import intents
from guesthouse.engine.accept.desk import Desk
from guesthouse.engine.kinds import KINDS, Undo
from guesthouse.engine.resolve import find_operation
from guesthouse.model.errors import Conflict
from guesthouse.model.resources import ENDED, Operation, OperationState


async def cancel(desk: Desk, intent: intents.OperationCancel) -> Operation:
    """Ask the operation's owner to stop and undo it. One that has ended stays as it is."""
    operation = await find_operation(desk.tx.operations, desk.asker.project, intent.operation)
    subject = f"operation {operation.id}"
    if operation.state in ENDED or operation.state is OperationState.UNDOING:
        raise Conflict(
            f"{subject} has ended already: {operation.state.value}"
            if operation.state in ENDED
            else f"{subject} is being undone already",
            subject=subject,
            field="state",
            value=operation.state.value,
        )
    if KINDS[operation.kind].undo is Undo.NOTHING and operation.kind.endswith(".delete"):
        raise Conflict(f"{operation.kind} cannot be cancelled: what is gone is gone", subject=subject)
    await desk.tx.operations.update(operation.id, {}, cancel_requested=True)
    cancelled = await desk.tx.operations.get(operation.id)
    assert cancelled is not None
    return cancelled
