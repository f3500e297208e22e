"""`guest launch` and `guest wait`: making a machine, and waiting until it is as far as it should be."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from guesthouse.cli import perform, show, wait
from guesthouse.cli.commands.files import read_bytes, read_text
from guesthouse.cli.commands.host import report
from guesthouse.cli.context import Context
from guesthouse.cli.door import segment
from guesthouse.cli.rows import Column, Command, Values
from guesthouse.model.errors import KINDS, Invalid, NotFound

DEFAULT_TIMEOUT_S = 15 * 60


def launch(context: Context, row: Command, values: Values) -> int:
    """Make a machine, and come back when it is so far."""
    body = request(context, values)
    if values.get("explain"):
        return _explain(context, body)
    operation = context.door.ask("POST", "/machines", None, body)
    name = operation["subject_name"]
    if context.no_wait:
        context.give(operation, operation["id"])
        return 0
    deadline = wait.Deadline(values.get("timeout_s", DEFAULT_TIMEOUT_S))
    done = wait.operation(context, operation, deadline)
    perform.relist(context)
    if (template := done["result"].get("template")) and not context.quiet and not context.json:
        context.terminal.note(f"{name} is a fork of template {template}")
    if (why := done["result"].get("boots")) and not context.quiet and not context.json:
        context.terminal.note(f"{name} boots: {why}")
    if values.get("no_start"):
        context.give(done, name if context.quiet else f"made {name}; `guest start {name}` starts it")
        return 0
    until = "running" if values.get("paused") else values.get("until", "configured")
    machine = wait.machine(context, operation["subject"], name, until, deadline)
    if values.get("paused"):
        paused = context.door.ask("POST", f"/machines/{segment(machine['id'])}/pause", None, {})
        wait.operation(context, paused, deadline)
        machine = context.door.ask("GET", f"/machines/{segment(machine['id'])}")
    _give(context, machine, until, deadline)
    return 0


_PLACES = (
    Column("HOST", "name"),
    Column("FITS", "fits", "yes"),
    Column("SCORE", "score", right=True),
    Column("WHY", "why"),
)


def _explain(context: Context, body: dict[str, Any]) -> int:
    """Show what becomes of each host, the one to take first."""
    places = context.door.ask("POST", "/placements", None, body)["items"]
    scored = ({**place, "why": _why(place)} for place in places)
    shown = [place if place["fits"] else {**place, "score": "-"} for place in scored]
    if context.json or context.quiet:
        context.give_list(_PLACES, shown)
    else:
        context.terminal.out(report(_PLACES, shown, context.now))
    if not any(place["fits"] for place in places):
        return KINDS["no-capacity"].exit_code
    return 0


def _why(place: dict[str, Any]) -> str:
    if place["lacks"]:
        return "; ".join(place["lacks"])
    return ", ".join(f"{name} {score:g}" for name, score in place["scores"].items())


def wait_for(context: Context, row: Command, values: Values) -> int:
    """Wait until a machine is so far."""
    until = values.get("until", "configured")
    deadline = wait.Deadline(values.get("timeout_s", DEFAULT_TIMEOUT_S))
    name = values["machine"]
    _give(context, wait.machine(context, name, name, until, deadline), until, deadline)
    return 0


def _give(context: Context, machine: dict[str, Any], until: str, deadline: wait.Deadline) -> None:
    name = machine["name"]
    if context.quiet:
        context.give(machine, name)
        return
    state = "paused" if machine["state"] == "paused" else until
    enter = f"; `guest shell {name}` enters it" if until != "running" else ""
    context.give(machine, f"{name} is {state}{enter}")


def request(context: Context, values: Values) -> dict[str, Any]:
    """The body of the request; what is not said is left to the house."""
    body = perform.nested({key: value for key, value in values.items() if key.startswith("spec.")})
    spec: dict[str, Any] = {"name": "", **body.get("spec", {})}
    if networks := values.get("networks"):
        spec["nics"] = [*({"network": network} for network in networks), *spec.get("nics", [])]
    if forwards := values.get("forwards"):
        first, *others = spec.get("nics") or [{}]
        spec["nics"] = [{**first, "forwards": forwards}, *others]
    if "user_data" in values:
        spec.update(user_data(read_bytes(context, values["user_data"], "user-data")))
    if "ssh_keys" in values:
        spec["ssh_keys"] = [_public_key(context, written) for written in values["ssh_keys"]]
    if "labels" in values:
        spec["labels"] = dict(values["labels"])
    if values.get("paused") and values.get("no_start"):
        raise Invalid("--paused and --no-start exclude each other", hint="leave one of them out")
    place = {key: values[key] for key in ("host", "zone", "way") if key in values}
    return {"spec": spec, "start": not values.get("no_start", False), "cold": values.get("cold", False), **place}


def user_data(given: bytes) -> dict[str, str]:
    """User-data in the words of a description: as text where it is such."""
    try:
        return {"user_data": given.decode()}
    except UnicodeDecodeError:
        return {"user_data": base64.b64encode(given).decode(), "user_data_encoding": "base64"}


def _public_key(context: Context, written: str) -> str:
    """A public key by its file, or by its name in the project."""
    if Path(written).expanduser().is_file():
        return read_text(context, written, "ssh-key").strip()
    for key in context.door.ask("GET", "/keys")["items"]:
        if written in (key["name"], key["id"]):
            return str(show.dig(key, "public"))
    raise NotFound(
        f"--ssh-key {written}: neither a file nor a key of this project",
        field="ssh_keys",
        value=written,
        hint="`guest key list` shows the keys; a file is one like ~/.ssh/id_ed25519.pub",
    )
