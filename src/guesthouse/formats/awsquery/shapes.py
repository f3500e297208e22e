"""Shapes of a service: the structures, lists and scalars of its requests and answers.

Rules
-----
1. Shapes and their members have the names that the service's own description gives them; values in Python are
   dictionaries by those names.
2. A member has two names on the wire: `into` in requests, `out` in answers.
3. Only shapes that a known operation reaches are there.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

STRUCTURE, LIST = "structure", "list"


class Member(msgspec.Struct, frozen=True, array_like=True):
    """A member of a structure: the name of its shape and its names on the wire. `token` makes a request idempotent."""

    shape: str
    into: str
    out: str
    token: bool = False


class Shape(msgspec.Struct, frozen=True, omit_defaults=True):
    """A structure has `members`, a list `item` and the `tag` of each; the others are scalars, perhaps with limits."""

    kind: str
    members: dict[str, Member] = {}
    required: tuple[str, ...] = ()
    item: str = ""
    tag: str = "item"
    values: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None


class Operation(msgspec.Struct, frozen=True, omit_defaults=True):
    """What goes in and comes out, by the names of the shapes; `filters` are the names that its documentation lists."""

    input: str = ""
    output: str = ""
    filters: tuple[str, ...] = ()


class Shapes(msgspec.Struct, frozen=True):
    """A service's shapes; `namespace` is that of its answers, `others` are operations whose shapes are not here.

    With `wrapped` answers stand in one more element, as those of the protocol ``query`` do.
    """

    version: str
    namespace: str
    wrapped: bool
    others: tuple[str, ...]
    operations: dict[str, Operation]
    shapes: dict[str, Shape]

    def member(self, shape: str, path: Iterable[str]) -> str:
        """The shape at the end of a path of members, through lists; raises `KeyError` where there is none."""
        for name in path:
            found = self.shapes[shape]
            while found.kind == LIST:
                found = self.shapes[found.item]
            shape = found.members[name].shape
        return shape


def read(text: bytes) -> Shapes:
    """Shapes from a file that `write` made."""
    return msgspec.json.decode(text, type=Shapes)


def write(shapes: Shapes) -> bytes:
    """A file with one line an operation and one a shape, sorted, so that changes can be seen and merged."""
    parts = []
    for title, rows in (("operations", shapes.operations), ("shapes", shapes.shapes)):
        lines = (f" {_text(name)}: {_text(rows[name])}" for name in sorted(rows))
        parts.append(f"{_text(title)}: {{\n" + ",\n".join(lines) + "\n}")
    names = ("version", "namespace", "wrapped", "others")
    head = ",\n".join(f"{_text(name)}: {_text(getattr(shapes, name))}" for name in names)
    return ("{" + ",\n".join((head, *parts)) + "}\n").encode()


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()
