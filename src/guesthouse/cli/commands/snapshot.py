"""`guest snapshot create`, `list` and `revert`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from guesthouse.cli import perform, show
from guesthouse.cli.context import Context
from guesthouse.cli.door import segment
from guesthouse.cli.rows import Command, Values
from guesthouse.model.errors import Invalid

Item = Mapping[str, Any]

NO_BACKUP = "note: a snapshot is not a backup: it lies beside the machine's disks and goes with them"
_POWERS = ("running", "paused", "stopped")


def create(context: Context, row: Command, values: Values) -> int:
    """Take a snapshot; tell how long the guest stood still for it, and what a snapshot is not."""
    operation = perform.carry_out(context, row, values)
    if context.no_wait:
        context.give(operation, operation["id"])
        return 0
    name, pause_ms = operation["result"]["snapshot"], operation["result"]["pause_ms"]
    still = f"; it stood still for {show.milliseconds(pause_ms)}" if pause_ms else ""
    context.give(operation, name if context.quiet else f"made snapshot {name} of {values['machine']}{still}")
    if not (context.json or context.quiet):
        context.terminal.note(NO_BACKUP)
    return 0


def list_tree(context: Context, row: Command, values: Values) -> int:
    """List the snapshots of a machine as a tree; for programs in the order in which they were taken."""
    items = context.door.ask("GET", f"/machines/{segment(values['machine'])}/snapshots")["items"]
    context.give_list(row.columns, items if context.json or context.quiet else list(tree(items)))
    return 0


def revert(context: Context, row: Command, values: Values) -> int:
    """Make a machine what it was, running or not as it was unless it was said."""
    said = [power for power in _POWERS if values.get(power)]
    if len(said) > 1:
        raise Invalid(f"{' and '.join(f'--{power}' for power in said)} exclude each other", hint="say one of them")
    return perform.perform(context, row, {**values, "power": said[0]} if said else values)


def tree(items: Iterable[Item]) -> Iterator[Item]:
    """The items so that each follows its parent, with what shows where they branch in front of their names.

    An only child stands right below its parent, so that a long history is no wider than a short one. An item whose
    parent is not among the others is a root.
    """
    items = list(items)
    ids = {item["id"] for item in items}
    children: dict[str, list[Item]] = {}
    for item in items:
        children.setdefault(item["parent"] if item["parent"] in ids else "", []).append(item)
    waiting = _branches(children.get("", []), "")
    while waiting:
        item, before, stem = waiting.pop(0)
        yield {**item, "name": f"{before}{item['name']}{_mark(item)}"}
        waiting = _branches(children.get(item["id"], []), stem) + waiting


def _mark(item: Item) -> str:
    """Whether the machine stands on it, and that it is not ready where it is not."""
    return (" *" if item["current"] else "") + (f" ({item['state']})" if item["state"] != "ready" else "")


def _branches(siblings: Sequence[Item], stem: str) -> list[tuple[Item, str, str]]:
    """Each item, what stands in front of it, and what does in front of those that follow it."""
    if len(siblings) < 2:
        return [(item, stem, stem) for item in siblings]
    *others, last = siblings
    return [*((item, f"{stem}├─ ", f"{stem}│  ") for item in others), (last, f"{stem}└─ ", f"{stem}   ")]
