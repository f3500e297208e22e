"""All commands of `guest`: the one table.

To add a command, add a row to the file of its section. The command, its help, its completion, docs/cli.md and the
tests read this table; nothing else knows the commands.
"""

from __future__ import annotations

from guesthouse.cli.rows import Command, Group, Option
from guesthouse.cli.table import clouds, hosts, house, inside, machines, networks, nics, snapshots, storage, templates

SECTIONS = tuple(each.SECTION for each in (machines, inside, storage, networks, clouds, hosts, house))

COMMANDS: dict[str, Command] = {
    row.name: row
    for section in (machines, snapshots, inside, storage, templates, networks, nics, clouds, hosts, house)
    for row in section.ROWS
}

GROUPS: dict[str, Group] = {
    group.name: group
    for section in (machines, snapshots, storage, templates, networks, nics, clouds, hosts, house)
    for group in section.GROUPS
}

# Options of every command. Their keys are apart from those of rows: `project` is an argument too.
COMMON = (
    Option("--json", "context.json", "answer in JSON, errors too", switch=True),
    Option("--quiet -q", "context.quiet", "no progress; of lists only the names", switch=True),
    Option("--project -p", "context.project", "the project to work in (GUESTHOUSE_PROJECT, or default)", "NAME",
           complete="project"),
)  # fmt: skip

# Options of commands that wait for an operation.
NO_WAIT = Option("--no-wait", "context.no_wait", "do not wait: print the operation's id", switch=True)

# Options that tell which house is meant.
HOUSE_OPTIONS = (
    Option("--url", "context.url", "a house on another box (GUESTHOUSE_URL; its token in GUESTHOUSE_TOKEN)", "URL"),
    Option("--ca", "context.ca", "authority of its certificate (GUESTHOUSE_CA)", "FILE", complete="file"),
    Option("--fingerprint", "context.fingerprint", "SHA-256 of its certificate (GUESTHOUSE_FINGERPRINT)", "HEX"),
)
