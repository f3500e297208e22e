"""How OpenSSH gets into a machine: options, and a file with the machine's host key.

Rules
-----
1. The files lie in the house, ``ssh/PROJECT/``: they go with it, and no other house's machines mix with them. Those of
   a house on another box lie in ours, ``ssh/HOST:PORT/PROJECT/``.
2. What only the house reaches, and whatever is on another box, is reached by ``guest tunnel``, as ssh's ProxyCommand.
   It names the house by options and GUESTHOUSE_HOME; a token stays in the environment, where ssh finds it.
3. A machine whose host key the house has seen is checked strictly against it. Of another one the first key is
   taken, this time only: nothing that it says is kept.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from guesthouse.cli.context import Context
from guesthouse.cli.door import segment

_SSH = 22
_MAIN = "from guesthouse.cli.main import main; main()"
# Options of ssh_config(5) and their values, in the order in which they are written.
Access = Mapping[str, str]


def folder(context: Context) -> Path:
    """Where the files for OpenSSH lie."""
    place = context.door.place
    return (
        context.house.home
        / "ssh"
        / (f"{place.host}:{place.port}" if place.host else "")
        / (context.project or "default")
    )


def access(context: Context, machine: str) -> Access:
    """The way into a machine; writes its host key."""
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
        **({"ProxyCommand": _through_the_house(context, machine)} if told["tunnel"] else {}),
    }


def _through_the_house(context: Context, machine: str) -> str:
    """The command by which ssh reaches a machine through the house, as ssh_config(5) has it (TOKENS)."""
    home = context.terminal.environment.get("GUESTHOUSE_HOME")
    where = ["env", f"GUESTHOUSE_HOME={Path(home).absolute()}"] if home and context.door.place.house else []
    words = [*where, *_guest(), *context.again, "tunnel", "--stdio", machine, str(_SSH)]
    return shlex.join(words).replace("%", "%%")


def _guest() -> list[str]:
    """The program that this is."""
    installed = Path(sys.executable).with_name("guest")
    return [str(installed)] if installed.exists() else [sys.executable, "-c", _MAIN]


def quoted(name: str, value: str) -> str:
    """The value of an option as ssh_config(5) reads it back; commands reach to the end of their line as they are."""
    return f'"{value}"' if " " in value and name != "ProxyCommand" else value


def write(path: Path, text: str) -> None:
    """Write a private file in one stroke: whoever reads it sees the old text or the new one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.touch(0o600)
    beside.write_text(text)
    beside.replace(path)
