"""The words of the table as a tree: which commands stand below which words, and which options every one takes."""

from __future__ import annotations

from guesthouse.cli.rows import Command, Option
from guesthouse.cli.table import COMMANDS, COMMON, GROUPS, NO_WAIT


def children(words: str) -> dict[str, str]:
    """The next words below some words, with their one-line help, in the table's order."""
    depth = len(words.split())
    found: dict[str, str] = {}
    for name, row in COMMANDS.items():
        parts = name.split()
        if parts[:depth] == words.split() and len(parts) > depth:
            word = parts[depth]
            found[word] = row.help if len(parts) == depth + 1 else GROUPS[" ".join(parts[: depth + 1])].help
    return found


def aliases(words: str) -> dict[str, str]:
    """Other words for the commands below some words."""
    below = [row for name, row in COMMANDS.items() if name.rpartition(" ")[0] == words]
    return {alias: row.name.rpartition(" ")[2] for row in below for alias in row.aliases}


def common_options(row: Command) -> tuple[Option, ...]:
    """The common options that this command takes behind its name."""
    return (*COMMON, NO_WAIT) if row.durable else COMMON
