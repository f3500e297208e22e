"""`guest ec2 enable` and `guest ec2 credentials`."""

from __future__ import annotations

from typing import Any

from guesthouse.catalog.places import REGION
from guesthouse.cli.context import Context
from guesthouse.cli.door import segment
from guesthouse.cli.rows import Command, Values

_LISTEN = "127.0.0.1:8773"


def enable(context: Context, row: Command, values: Values) -> int:
    """Open the door, and say where."""
    wanted = {"listen": values.get("listen") or _LISTEN, "tls": bool(values.get("tls"))}
    door = context.door.ask("PUT", "/doors/ec2", None, wanted)
    context.confirm(door, row.done.format(url=_url(door)))
    return 0


def credentials(context: Context, row: Command, values: Values) -> int:
    """Print the variables as a shell reads them."""
    door = context.door.ask("GET", "/doors/ec2")
    key = context.door.ask("GET", f"/access-keys/{segment(_key(context, values))}")
    variables = {
        "AWS_ENDPOINT_URL": _url(door),
        "AWS_ACCESS_KEY_ID": key["name"],
        "AWS_SECRET_ACCESS_KEY": key["secret"],
        "AWS_DEFAULT_REGION": REGION,
    }
    if door["tls"]:
        variables["AWS_CA_BUNDLE"] = door["certificate"]
    context.give(variables, "\n".join(f"export {name}={text}" for name, text in variables.items()))
    return 0


def _key(context: Context, values: Values) -> str:
    """The name of the access key to use; a new one where that is asked for, or there is none."""
    if not values.get("new") and not values.get("role"):
        for key in context.door.ask("GET", "/access-keys")["items"]:
            return str(key["name"])
    wanted = {"role": values["role"]} if values.get("role") else {}
    return str(context.door.ask("POST", "/access-keys", None, wanted)["name"])


def _url(door: dict[str, Any]) -> str:
    return f"{'https' if door['tls'] else 'http'}://{door['listen']}"
