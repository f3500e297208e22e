"""Trees of documents, grown from tables for one machine.

Rules
-----
1. A row is a path and the value there; None means that the machine has no such thing, and then the path is not there.
2. A part of a path in braces stands for as many as there are: `Table.each` says what they are called, and hands each to
   the functions of the rows below it, after those further out.
3. A row with `since` is not in the trees of older versions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from guesthouse.model.metadata import Asked

Value: TypeAlias = Any
"""What JSON can say, or bytes, or what its dialect alone knows to turn into an answer."""


@dataclass(frozen=True)
class Row:
    """A document: its path, what is there, since which version of the dialect, and what that is, for people."""

    path: str
    value: Callable[..., Value]
    about: str
    since: str = ""


@dataclass(frozen=True)
class Each:
    """What a part in braces stands for: names and what is handed on.

    An `array` has numbers for names, and is one in JSON. `label` is how a listing calls it where that is not its name.
    """

    items: Callable[..., Iterable[tuple[str, Any]]]
    array: bool = False
    label: Callable[[str, Any], str] | None = None


@dataclass(frozen=True)
class Table:
    """The rows of a dialect. Folders without anything in them are there where `keeps_empty`."""

    rows: Sequence[Row]
    each: Mapping[str, Each]
    keeps_empty: bool = False


@dataclass
class Folder:
    """A folder of a tree, with what is in it by name: folders and values. `each` is whose names these are."""

    entries: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    each: Each | None = None

    def folder(self, name: str) -> Folder:
        """The folder of that name in it, made where there is none."""
        found = self.entries.setdefault(name, Folder())
        assert isinstance(found, Folder)
        return found


def grow(table: Table, asked: Asked, version: str = "") -> Folder:
    """The tree for this machine, as of a version of the dialect; "" has all."""
    root = Folder()
    for row in table.rows:
        if not version or row.since <= version:
            _plant(root, row.path.split("/"), row, table, (asked,))
    if not table.keeps_empty:
        _prune(root)
    return root


def find(tree: Folder, parts: Sequence[str]) -> Value:
    """The folder or value at a path; None where there is none."""
    found: Value = tree
    for part in parts:
        if not isinstance(found, Folder):
            return None
        found = found.entries.get(part)
    return found


def plain(found: Value, spell: Callable[[str], str] = str) -> Value:
    """A folder with all that is in it as JSON has it; `spell` writes the names that the table gives."""
    if not isinstance(found, Folder):
        return found
    each = found.each
    if each is not None and each.array:
        return [plain(entry, spell) for entry in found.entries.values()]
    return {name if each else spell(name): plain(entry, spell) for name, entry in found.entries.items()}


def names(folder: Folder) -> Iterator[str]:
    """What is in a folder, folders with a slash at their end."""
    for name, entry in folder.entries.items():
        yield f"{name}/" if isinstance(entry, Folder) else name


def _plant(folder: Folder, parts: Sequence[str], row: Row, table: Table, found: tuple[Any, ...]) -> None:
    first, *rest = parts
    each = table.each.get(first)
    if each is None:
        _put(folder, first, rest, row, table, found)
        return
    folder.each = each
    for name, item in each.items(*found):
        _put(folder, name, rest, row, table, (*found, item))
        if each.label is not None:
            folder.labels[name] = each.label(name, item)


def _put(folder: Folder, name: str, rest: Sequence[str], row: Row, table: Table, found: tuple[Any, ...]) -> None:
    if rest:
        _plant(folder.folder(name), rest, row, table, found)
    elif (value := row.value(*found)) is not None:
        folder.entries[name] = value


def _prune(folder: Folder) -> None:
    for name, entry in list(folder.entries.items()):
        if isinstance(entry, Folder):
            _prune(entry)
            if not entry.entries:
                del folder.entries[name]
