"""`guest shell`: ssh, told how to get in."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

from guesthouse.cli.commands.ssh_access import Access, access, quoted
from guesthouse.cli.context import Context
from guesthouse.cli.rows import Command, Values
from guesthouse.model.errors import NoCapacity


def shell(context: Context, row: Command, values: Values) -> int:
    """Become ssh: its exit status is ours."""
    user, _, machine = values["machine"].rpartition("@")
    arguments = command(access(context, machine), user, rest(values.get("rest", ())))
    if shutil.which("ssh") is None:
        raise NoCapacity("ssh is not installed here", hint="`apt install openssh-client` brings it")
    context.terminal.stdout.flush()
    os.execvp(arguments[0], arguments)  # noqa: S606 - an argument list, no shell


def command(way: Access, user: str, rest: Sequence[str]) -> list[str]:
    """The ssh command line for a way in; what is to follow the host follows it."""
    options = [f"-o{name}={quoted(name, value)}" for name, value in way.items() if name != "HostName"]
    chosen = [f"-l{user}"] if user else []
    return ["ssh", *chosen, *options, way["HostName"], *rest]


def rest(words: Sequence[str]) -> list[str]:
    """What follows the machine, without the ``--`` that may set it apart."""
    return list(words[1:] if words[:1] == ["--"] else words)
