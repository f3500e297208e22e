"""A machine as a document: `guest show`, `guest set`, `guest apply`."""

from __future__ import annotations

from typing import Any

from guesthouse.cli import perform, show, wait
from guesthouse.cli.commands.files import read_bytes, read_text
from guesthouse.cli.commands.launch import user_data
from guesthouse.cli.context import Context
from guesthouse.cli.door import segment
from guesthouse.cli.rows import Command, Values
from guesthouse.model.errors import Invalid


def show_machine(context: Context, row: Command, values: Values) -> int:
    """Show a machine, or its description as YAML."""
    if not values.get("yaml"):
        return perform.perform(context, row, values)
    machine = context.door.ask("GET", f"/machines/{segment(values['machine'])}")
    context.give(machine["spec"], show.as_yaml(machine["spec"]))
    return 0


def change(context: Context, row: Command, values: Values) -> int:
    """Change a machine, and tell what waits for its next start."""
    path = f"/machines/{segment(values['machine'])}"
    body = {key: value for key, value in values.items() if key not in ("machine", "labels", "keep", "user_data")}
    if "keep" in values:
        body["keep"] = dict(values["keep"])
    if "user_data" in values:
        body.update(user_data(read_bytes(context, values["user_data"], "user-data")))
    if "labels" in values:
        kept = context.door.ask("GET", path)["spec"]["labels"]
        merged = {**kept, **dict(values["labels"])}
        body["labels"] = {key: value for key, value in merged.items() if value}
    operation = context.door.ask("PATCH", path, None, body)
    if context.no_wait:
        context.give(operation, operation["id"])
        return 0
    wait.operation(context, operation)
    # By its id: somebody may have renamed it meanwhile.
    machine = context.door.ask("GET", f"/machines/{segment(operation['subject'])}")
    waiting = show.dig(machine, "status.pending_restart") or []
    later = f"; {', '.join(waiting)} at its next start (`guest restart {machine['name']}`)" if waiting else ""
    context.confirm(machine, f"changed {machine['name']}{later}")
    return 0


def apply(context: Context, row: Command, values: Values) -> int:
    """Make or change the machines of a file's documents, in their order; all are read before the first request."""
    documents = _documents(read_text(context, values["file"], "file"), values["file"])
    started = [
        context.door.ask("PUT", f"/machines/{segment(document['name'])}", None, {"spec": document})
        for document in documents
    ]
    ended = started if context.no_wait else [wait.operation(context, operation) for operation in started]
    if not context.no_wait:
        perform.relist(context)
    if context.json:
        context.give({"items": ended}, "")
        return 0
    for operation in ended:
        context.confirm(operation, operation["id"] if context.no_wait else f"applied {operation['subject_name']}")
    return 0


def _documents(text: str, name: str) -> list[dict[str, Any]]:
    import yaml

    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        raise Invalid(f"{name} is no YAML: {' '.join(str(error).split())}", field="file", value=name) from None
    if not documents:
        raise Invalid(f"{name} describes no machine", field="file", value=name)
    for number, document in enumerate(documents, 1):
        if not isinstance(document, dict) or not isinstance(document.get("name"), str) or not document["name"]:
            raise Invalid(
                f"document {number} of {name} names no machine",
                field="name",
                hint="`guest show MACHINE --yaml` prints one to start from",
            )
    names = [document["name"] for document in documents]
    twice = sorted({each for each in names if names.count(each) > 1})
    if twice:
        raise Invalid(f"{name} describes {', '.join(twice)} twice", field="name", value=twice[0])
    return documents
