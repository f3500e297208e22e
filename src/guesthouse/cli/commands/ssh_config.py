"""`guest ssh-config`: plain `ssh web` for all machines of a project.

Rules
-----
1. The configuration is a file of the house; ~/.ssh/config gets one Include line, once, as its first line: behind
   a Host line it would belong to that host.
2. Commands that change the way into a machine write an installed configuration anew.
"""

from __future__ import annotations

from pathlib import Path

from guesthouse.cli.commands.ssh_access import Access, access, folder, quoted, write
from guesthouse.cli.context import Context
from guesthouse.cli.rows import Command, Values
from guesthouse.model.errors import Conflict, NotFound


def ssh_config(context: Context, row: Command, values: Values) -> int:
    """Print the configuration, or install it."""
    text, names = render(context)
    if not values.get("install"):
        context.give({"configuration": text, "machines": names}, text.rstrip("\n"))
        return 0
    path = folder(context) / "config"
    write(path, text)
    user_file = include(Path(context.terminal.environment["HOME"]), path)
    many = f"{len(names)} machine" + ("" if len(names) == 1 else "s")
    context.confirm({"path": str(path), "machines": names}, f"{user_file} includes {path} ({many})")
    return 0


def refresh(context: Context) -> None:
    """Write the configuration anew if it is installed."""
    if (folder(context) / "config").exists():
        write(folder(context) / "config", render(context)[0])


def render(context: Context) -> tuple[str, list[str]]:
    """The configuration of all machines that ssh can enter now, and their names."""
    ways: dict[str, Access] = {}
    for machine in context.door.ask("GET", "/machines")["items"]:
        if machine["ssh_port"] or machine["address"]:
            try:
                ways[machine["name"]] = access(context, machine["name"])
            except (Conflict, NotFound):
                # Stopped or deleted since it was listed: there is no way in to write down.
                continue
    for file in folder(context).glob("*.known_hosts"):
        if file.name.removesuffix(".known_hosts") not in ways:
            file.unlink(missing_ok=True)
    project = context.project or "default"
    blocks = ["# Written by `guest ssh-config`; changes are lost."]
    blocks += [
        "\n".join([f"Host {name} {name}.{project}", *(f"    {key} {quoted(key, value)}" for key, value in way.items())])
        for name, way in sorted(ways.items())
    ]
    return "\n\n".join(blocks) + "\n", sorted(ways)


def include(home: Path, path: Path) -> Path:
    """Let ~/.ssh/config include a file; returns ~/.ssh/config."""
    user_file = home / ".ssh" / "config"
    line = f"Include {quoted('Include', str(path))}"
    # Where it is a link, what it points to is changed and the link stays.
    written = user_file.resolve()
    text = written.read_text() if written.exists() else ""
    if line not in text.splitlines():
        write(written, f"{line}\n\n{text}" if text else f"{line}\n")
    return user_file
