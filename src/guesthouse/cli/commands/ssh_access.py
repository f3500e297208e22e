"""How OpenSSH gets into a machine: options, and a file with the machine's host key.

Rules
-----
1. The files lie in the house, ``ssh/PROJECT/``: they go with it, and no other house's machines mix with them.
2. A machine whose host key the house has seen is checked strictly against it. Of another one the first key is
   taken, this time only: nothing that it says is kept.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from guesthouse.cli.context import Context
from guesthouse.cli.door import segment
from guesthouse.model.errors import Conflict

# Options of ssh_config(5) and their values, in the order in which they are written.
Access = Mapping[str, str]


def folder(context: Context) -> Path:
    """Where the files for OpenSSH lie."""
    return context.house.home / "ssh" / (context.project or "default")


def access(context: Context, machine: str) -> Access:
    """The way into a machine; writes its host key. Raises `Conflict` for a house on another box."""
    if context.door.place.house is None:
        raise Conflict(
            f"{machine} takes ssh on its own host only, {context.door.place.host}",
            subject=f"machine {machine}",
            hint=f"`guest exec {machine}`, `guest copy` and `guest console {machine}` work from here",
        )
    told = context.door.ask("GET", f"/machines/{segment(machine)}/ssh")
    known = len(told["known_hosts"].split()) >= 3
    known_hosts = folder(context) / f"{machine}.known_hosts"
    write(known_hosts, told["known_hosts"] + "\n" if known else "")
    return {
        "HostName": told["host"],
        "Port": str(told["port"]),
        "User": told["user"],
        **({"IdentityFile": told["identity_file"], "IdentitiesOnly": "yes"} if told["identity_file"] else {}),
        "UserKnownHostsFile": str(known_hosts),
        "StrictHostKeyChecking": "yes" if known else "no",
        "LogLevel": "ERROR",
    }


def quoted(value: str) -> str:
    """A value as ssh_config(5) reads it back."""
    return f'"{value}"' if " " in value else value


def write(path: Path, text: str) -> None:
    """Write a private file in one stroke: whoever reads it sees the old text or the new one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.touch(0o600)
    beside.write_text(text)
    beside.replace(path)
