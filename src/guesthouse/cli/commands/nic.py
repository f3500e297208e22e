"""`guest nic add` and `guest nic move`: telling which address it has then."""

from __future__ import annotations

from typing import Any

from guesthouse.cli import perform
from guesthouse.cli.context import Context
from guesthouse.cli.door import segment
from guesthouse.cli.rows import Command, Values


def place(context: Context, row: Command, values: Values) -> int:
    """Change a machine's NICs, and tell of the one that is in another place."""
    before = _nics(context, values["machine"])
    ended = perform.carry_out(context, row, values)
    if context.no_wait:
        context.give(ended, ended["id"])
        return 0
    new = [nic for nic in _nics(context, ended["subject"]) if nic not in before]
    said = [_written(values["machine"], nic) for nic in new] or [
        f"{values['machine']}: nothing to do, it is so already"
    ]
    context.confirm({"items": new}, "\n".join(said))
    return 0


def _nics(context: Context, machine: str) -> list[dict[str, Any]]:
    nics: list[dict[str, Any]] = context.door.ask("GET", f"/machines/{segment(machine)}/nics")["items"]
    return nics


def _written(machine: str, nic: dict[str, Any]) -> str:
    where = f"on network {nic['network']}" if nic["network"] else "in user mode"
    return f"{machine} has NIC {nic['mac']} {where}" + (f" at {nic['address']}" if nic["address"] else "")
