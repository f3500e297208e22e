"""`guest project show` and `guest project set`."""

from __future__ import annotations

from guesthouse.cli import show
from guesthouse.cli.context import Context
from guesthouse.cli.door import segment
from guesthouse.cli.perform import nested
from guesthouse.cli.rows import Command, Values
from guesthouse.model.errors import Invalid


def show_project(context: Context, row: Command, values: Values) -> int:
    """Show a project: each limit beside what is used of it."""
    project = context.door.ask("GET", f"/projects/{segment(values['project'])}")
    sides = {key: {"used": project["used"][key], "limit": limit} for key, limit in project["quota"].items()}
    context.give(project, show.record(row.fields, {**project, **sides}, context.now))
    return 0


def change(context: Context, row: Command, values: Values) -> int:
    """Change the limits that were named; the door takes all of them at once."""
    named = nested({key: value for key, value in values.items() if key.startswith("quota.")}).get("quota")
    if not named:
        raise Invalid("no limit was named", field="quota", hint="name one, like --machines 10")
    path = f"/projects/{segment(values['project'])}"
    quota = {**context.door.ask("GET", path)["quota"], **named}
    changed = context.door.ask("PATCH", path, None, {"quota": quota})
    context.confirm(changed, row.done.format_map(changed))
    return 0
