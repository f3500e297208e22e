"""Completion: candidates for a parameter.

Rules
-----
1. A source of candidates is one row of `SOURCES`: a list of the door and a field of its items, or fixed words. What
   stands in braces in a list's path is a parameter that was typed before.
2. Completion never fails and never waits long: without a daemon there are no candidates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from click.shell_completion import CompletionItem

from guesthouse.cli.context import Context
from guesthouse.cli.door import segment
from guesthouse.cli.terminal import standard
from guesthouse.model.errors import GuesthouseError

SHELLS = ("bash", "zsh", "fish")


class Source(NamedTuple):
    """Where candidates come from: a list of the door, or words."""

    path: str = ""
    field: str = "name"
    words: tuple[str, ...] = ()


SOURCES: Mapping[str, Source] = {
    "machine": Source("/machines"),
    "image": Source("/images"),
    "type": Source("/types"),
    "template": Source("/templates"),
    "snapshot": Source("/machines/{machine}/snapshots"),
    "disk": Source("/disks"),
    "network": Source("/networks"),
    "subnet": Source("/networks/{network}/subnets"),
    "group": Source("/networks/{network}/groups"),
    "address": Source("/addresses", "address"),
    "pool": Source("/address-pools", "cidr"),
    "key": Source("/keys"),
    "host": Source("/hosts"),
    "project": Source("/projects"),
    "token": Source("/tokens"),
    "operation": Source("/operations", "id"),
    "recipe": Source(words=("micro", "debian")),
    "shell": Source(words=SHELLS),
    "file": Source(),
}


def candidates(
    source: str, before: Mapping[str, Any], given: Mapping[str, Any], incomplete: str
) -> list[CompletionItem]:
    """Candidates that begin with what is typed. `before` and `given` are options before and behind the command."""
    row = SOURCES[source]
    if source == "file":
        return [CompletionItem(incomplete, type="file")]
    words = row.words or _told(row, {**_said(before), **_said(given)})
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def _said(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options by their keys, of click's names for them (see `build.identifier`)."""
    return {key.replace("__", "."): value for key, value in given.items() if value is not None}


def _told(row: Source, said: Mapping[str, Any]) -> tuple[str, ...]:
    context = Context(standard(), said)
    try:
        path = row.path.format_map({key: segment(value) for key, value in said.items() if isinstance(value, str)})
        return tuple(item[row.field] for item in context.door.ask("GET", path)["items"])
    except (GuesthouseError, KeyError):
        return ()
    finally:
        context.close()
