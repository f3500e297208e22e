"""`guest fork`: machines that go on from where one is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from guesthouse.cli import perform, show, wait
from guesthouse.cli.context import Context
from guesthouse.cli.door import segment
from guesthouse.cli.rows import Command, Values
from guesthouse.model.errors import GuesthouseError

Item = Mapping[str, Any]


def fork(context: Context, row: Command, values: Values) -> int:
    """Fork a machine, and come back when its forks have names of their own; each that fails is told."""
    operation = perform.carry_out(context, row, values)
    if context.no_wait:
        context.give(operation, operation["id"])
        return 0
    failed, ended = 0, []
    for begun in operation["result"]["machines"]:
        try:
            ended.append(wait.operation(context, context.door.ask("GET", f"/operations/{segment(begun['operation'])}")))
        except GuesthouseError as error:
            failed = failed or perform.told(context, error)
    perform.relist(context)
    if context.json:
        context.terminal.out(show.as_json({"items": ended}))
    elif context.quiet:
        context.terminal.out("\n".join(each["subject_name"] for each in ended))
    elif ended:
        context.terminal.out(_said(values["machine"], ended, operation["result"]["pause_ms"]))
    return failed


def _said(machine: str, ended: Sequence[Item], pause_ms: int) -> str:
    names = [each["subject_name"] for each in ended]
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    still = f"; it stood still for {show.milliseconds(pause_ms)}" if pause_ms else ""
    return f"forked {machine} into {listed}{still}"
