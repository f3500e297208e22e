"""The services for which this door speaks: EC2, and what its clients ask of STS.

A service is its shapes, its rows, and what follows from both: a reader, a writer, where filters look.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from guesthouse.doors.ec2.filters import Alias, Filters, ways
from guesthouse.doors.ec2.rows import Row
from guesthouse.engine.door_intents import Token
from guesthouse.formats.awsquery.answer import Writer
from guesthouse.formats.awsquery.fault import Fault
from guesthouse.formats.awsquery.request import Reader
from guesthouse.formats.awsquery.shapes import LIST, STRUCTURE, Shapes


@dataclass(frozen=True)
class Service:
    """One service: its name in signatures, its shapes, its rows by their operations."""

    name: str
    shapes: Shapes
    rows: Mapping[str, Row]

    @cached_property
    def reader(self) -> Reader:
        return Reader(self.shapes)

    @cached_property
    def writer(self) -> Writer:
        return Writer(self.shapes)

    @cached_property
    def _ways(self) -> dict[str, dict[str, Alias]]:
        return {}

    def ways(self, action: str) -> dict[str, Alias]:
        """Where the filters of a listing look; found out when the first one is asked for, for it takes milliseconds."""
        if action not in self._ways:
            self._ways[action] = ways_of(self.shapes, self.rows[action])
        return self._ways[action]

    def filters(self, row: Row, said: Sequence[Mapping[str, Any]]) -> Filters:
        """The filters of a request to a listing; raises `Fault`."""
        return Filters(self.ways(row.action) if said else {}, said)

    def unknown(self, action: str) -> Fault:
        """Why there is no such operation: it is another's, or there is none at all."""
        if action in self.shapes.others:
            return Fault("UnsupportedOperation", f"The operation {action} is not supported here; see docs/ec2.md")
        return Fault("InvalidAction", f"The action {action[:100]} is not valid for this web service.")

    def refuse_unknown(self, row: Row, arguments: Mapping[str, Any]) -> None:
        """Raise `Fault` for the first argument that the row does not take, or not with this value."""
        for path, value in said(arguments):
            if self.understands(row, path):
                continue
            if path in row.harmless:
                if value == row.harmless[path]:
                    continue
                only = str(row.harmless[path]).lower() if isinstance(row.harmless[path], bool) else row.harmless[path]
                raise Fault("UnsupportedOperation", f"The parameter {path} can only be {only} here; see docs/ec2.md")
            raise Fault("UnsupportedOperation", f"The parameter {path} is not supported here; see docs/ec2.md")
        if row.tags:
            _refuse_tags(row.tags, arguments.get("TagSpecifications", ()))

    def understands(self, row: Row, path: str) -> bool:
        """Whether the row takes this argument, whatever its value."""
        return _covers(row.understood, path) or path in self.tokens.get(row.action, ())

    @cached_property
    def tokens(self) -> dict[str, frozenset[str]]:
        """The arguments of each operation that make a request one."""
        found = {}
        for action, operation in self.shapes.operations.items():
            members = self.shapes.shapes[operation.input].members if operation.input else {}
            found[action] = frozenset(name for name, member in members.items() if member.token or name == "ClientToken")
        return found

    def token_of(self, action: str, arguments: Mapping[str, Any]) -> str:
        """The token of a request, "" where it has none."""
        return next((arguments[name] for name in self.tokens.get(action, ()) if arguments.get(name)), "")

    def once(self, action: str, token: str, digest: str) -> Token:
        """What a request with a token is known by."""
        if len(token) > 64 or not token.isascii():
            raise Fault("InvalidParameterValue", "A token has at most 64 ASCII characters")
        return Token(name=f"{action}:{token}", digest=digest)

    def plain_answer(self, action: str) -> dict[str, Any]:
        """What is answered where there is nothing to tell."""
        output = self.shapes.operations[action].output
        return {"Return": True} if output and "Return" in self.shapes.shapes[output].members else {}


def ways_of(shapes: Shapes, row: Row) -> dict[str, Alias]:
    """Where the filters of a listing look: at what its items have."""
    assert row.listing is not None
    output = shapes.operations[row.action].output
    shape = shapes.member(output, row.listing.member.split("."))
    while shapes.shapes[shape].kind == LIST:
        shape = shapes.shapes[shape].item
    for member in row.listing.inside:
        shape = shapes.member(shape, (member,))
    return ways(shapes, row.action, shape, row.listing.aliases)


def said(arguments: Mapping[str, Any], path: str = "") -> Iterable[tuple[str, Any]]:
    """All scalars of a request, by their paths: members with dots between them, through lists."""
    for name, value in arguments.items():
        here = f"{path}.{name}" if path else name
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, Mapping):
                yield from said(each, here)
            else:
                yield here, each


def _covers(understood: frozenset[str], path: str) -> bool:
    """Whether the path itself, or a structure around it, is understood."""
    parts = path.split(".")
    return any(".".join(parts[:count]) in understood for count in range(1, len(parts) + 1))


def _refuse_tags(kinds: Sequence[str], specifications: Sequence[Mapping[str, Any]]) -> None:
    """Raise `Fault` for tags of what is not made."""
    for specification in specifications:
        if (kind := specification.get("ResourceType")) not in kinds:
            wrong = f"'{kind or ''}' is not a valid taggable resource type for this operation."
            raise Fault("InvalidParameterValue", f"{wrong} It makes: {', '.join(kinds)}")


def input_paths(shapes: Shapes, action: str) -> list[str]:
    """All arguments of an operation that have a value of their own, by their paths; recursive shapes once."""
    found: list[str] = []

    def walk(name: str, path: str, seen: frozenset[str]) -> None:
        shape = shapes.shapes[name]
        while shape.kind == LIST:
            name = shape.item
            shape = shapes.shapes[name]
        if shape.kind != STRUCTURE:
            found.append(path)
        elif name not in seen:
            for member, inner in shape.members.items():
                walk(inner.shape, f"{path}.{member}" if path else member, seen | {name})

    if operation := shapes.operations[action].input:
        walk(operation, "", frozenset())
    return found
