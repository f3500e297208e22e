"""Filters of listings: the things that have one of the values of each filter.

Rules
-----
1. A filter's name leads to members of the things as answers have them: ``instance-state-name`` to State.Name, which is
   ``instanceState`` and ``name`` in the XML. The shortest way whose words have all of the filter's in their order, the
   last one at its end, is it. Where that would lead elsewhere an `Alias` says what is meant.
2. ``tag:NAME``, ``tag-key`` and ``tag-value`` look at tags.
3. ``*`` stands for any characters, ``?`` for one, ``\\`` takes their meaning from them. Letters' case counts.
4. Truths are ``true`` and ``false``, times and numbers are as answers have them.
5. A name that the operation's documentation does not list is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from guesthouse.formats.awsquery.answer import Lasting, stamp
from guesthouse.formats.awsquery.fault import Fault
from guesthouse.formats.awsquery.shapes import LIST, STRUCTURE, Shapes

Path = tuple[str, ...]
Alias = str | Callable[[Mapping[str, Any]], Iterable[Any]]
"""Where a filter looks: members with dots between them, or a function of the thing."""


def nothing(item: Mapping[str, Any]) -> Iterable[Any]:
    """nothing: no thing here has it"""
    return ()


MAX_FILTERS, MAX_VALUES = 50, 200
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z0-9]+|[A-Z]+")
_SPECIAL = re.compile(r"[*?\\]")
_TAG = "tag:"


class Filters:
    """The filters of one request, made ready."""

    def __init__(self, ways: Mapping[str, Alias], said: Sequence[Mapping[str, Any]]) -> None:
        """`ways` is where each known filter looks; raises `Fault` for others."""
        if len(said) > MAX_FILTERS:
            raise Fault("FilterLimitExceeded", f"{len(said)} filters are too many: {MAX_FILTERS} at most")
        self._tests = [_test(ways, each) for each in said]

    def chosen(self, items: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """Those of the things that all filters let through."""
        return [item for item in items if self.let_through(item)] if self._tests else items

    def let_through(self, item: Mapping[str, Any]) -> bool:
        """Whether a thing has one of the values of every filter."""
        for texts, matches in self._tests:
            for text in texts(item):
                if matches(text):
                    break
            else:
                return False
        return True


Texts = Callable[[Mapping[str, Any]], Iterable[str]]
Matches = Callable[[str], bool]


def _test(ways: Mapping[str, Alias], said: Mapping[str, Any]) -> tuple[Texts, Matches]:
    name, values = said.get("Name", ""), said.get("Values", [])
    if not values:
        raise Fault("InvalidParameterValue", f"The filter '{name}' has no values")
    if len(values) > MAX_VALUES:
        raise Fault("FilterLimitExceeded", f"The filter '{name}' has {len(values)} values: {MAX_VALUES} at most")
    if name.startswith(_TAG) and "tag" in ways:
        return _tag(name.removeprefix(_TAG)), _matcher(values)
    if name == "tag" or name not in ways:
        raise Fault("InvalidParameterValue", f"The filter '{name}' is invalid")
    way = ways[name]
    if callable(way):
        return lambda item: (_text(value) for value in way(item)), _matcher(values)
    return _at(tuple(way.split("."))), _matcher(values)


def _at(path: Path) -> Texts:
    return lambda item: (_text(value) for value in values_at(item, path))


def _tag(name: str) -> Texts:
    def texts(item: Mapping[str, Any]) -> Iterable[str]:
        if isinstance(item, Lasting):
            text = item.tags.get(name)
            return () if text is None else (text,)
        return [tag["Value"] for tag in item.get("Tags", ()) if tag["Key"] == name]

    return texts


def values_at(item: Any, path: Path) -> Iterator[Any]:
    """All values at the end of a path of members, through lists."""
    if isinstance(item, list | tuple):
        for each in item:
            yield from values_at(each, path)
    elif not path:
        if item is not None:
            yield item
    elif isinstance(item, Mapping) and path[0] in item:
        yield from values_at(item[path[0]], path[1:])


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return stamp(value) if isinstance(value, datetime) else str(value)


def _matcher(values: Sequence[str]) -> Matches:
    if not any(_SPECIAL.search(value) for value in values):
        return frozenset(values).__contains__
    pattern = re.compile("|".join(_pattern(value) for value in values), re.DOTALL)
    return lambda text: pattern.fullmatch(text) is not None


def _pattern(value: str) -> str:
    parts, letters = [], iter(value)
    for letter in letters:
        if letter == "\\":
            parts.append(re.escape(next(letters, "\\")))
        else:
            parts.append({"*": ".*", "?": "."}.get(letter) or re.escape(letter))
    return "".join(parts)


# --- where filters look --------------------------------------------------------------------------------------


def ways(shapes: Shapes, operation: str, shape: str, aliases: Mapping[str, Alias]) -> dict[str, Alias]:
    """Where each documented filter of a listing looks; `shape` is that of the things. Others lead nowhere."""
    found: dict[str, Alias] = {}
    paths = _leaves(shapes, shape)
    for name in shapes.operations[operation].filters:
        if name in aliases:
            found[name] = aliases[name]
        elif name in ("tag-key", "tag-value"):
            found[name] = "Tags.Key" if name == "tag-key" else "Tags.Value"
        elif name.startswith("tag"):
            found["tag"] = "Tags"
        elif (path := _shortest(paths, name)) is not None:
            found[name] = ".".join(path)
    return found


def _shortest(paths: Sequence[tuple[tuple[str, ...], Path]], name: str) -> Path | None:
    wanted = tuple(re.split("[-.]", name))
    fitting = [(len(words), path) for words, path in paths if _has(words, wanted)]
    return min(fitting)[1] if fitting else None


def _has(words: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    """Whether all wanted words are there in their order, the last one at the end."""
    if words[-1:] != wanted[-1:]:
        return False
    rest = iter(words)
    return all(word in rest for word in wanted)


@cache
def _words(name: str) -> tuple[str, ...]:
    return tuple(word.lower() for word in _WORD.findall(name) if word != "Set")


def _leaves(shapes: Shapes, shape: str) -> list[tuple[tuple[str, ...], Path]]:
    """All ways to scalars below a structure: the words of their names in the XML, and their members."""
    found: list[tuple[tuple[str, ...], Path]] = []
    open_: list[tuple[str, tuple[str, ...], Path, frozenset[str]]] = [(shape, (), (), frozenset())]
    while open_:
        name, words, path, seen = open_.pop(0)
        kind = shapes.shapes[name]
        while kind.kind == LIST:
            name = kind.item
            kind = shapes.shapes[name]
        if kind.kind != STRUCTURE:
            found.append((words, path))
        elif name not in seen:
            for member, inner in kind.members.items():
                open_.append((inner.shape, (*words, *_words(inner.out)), (*path, member), seen | {name}))
    return found
