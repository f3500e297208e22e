"""Answers: values to XML, by the shape of the operation's output.

Rules
-----
1. A member that is None or not there is left out, but for the lists at the top: clients index them.
2. A value that its shape does not know is a fault of ours: `KeyError`.
3. `Written` is XML that was made before: what does not change is not made twice. A `Lasting` structure in a list keeps
   its own.
4. Times have milliseconds and end in Z; a blob is base64; what XML cannot hold is left out of texts.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from xml.sax.saxutils import escape

from guesthouse.formats.awsquery.fault import Fault
from guesthouse.formats.awsquery.shapes import LIST, STRUCTURE, Shape, Shapes

_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
# Characters that no XML document may have (XML 1.0, 2.2), and those that are written in another way.
_SPECIAL = re.compile("[&<>\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")

Add = Callable[[str], None]
Write = Callable[[Any, Add], None]


class Written(str):
    """XML between an item's tags, ready to be sent."""

    __slots__ = ()


class Lasting(Mapping[str, Any]):
    """A structure that stays as it is: made when it is needed, and not kept; its XML is made once, and kept.

    `known` are members that are told without making the others, `outer` those that are no part of its XML. `of` is all
    that it is made of: where that is equal to what another one is made of, that one's XML is its own.
    """

    __slots__ = ("_known", "_make", "_outer", "of", "xml")

    def __init__(
        self,
        make: Callable[[], Mapping[str, Any]],
        known: Mapping[str, Any],
        outer: Mapping[str, Any],
        of: tuple[Any, ...],
        before: Lasting | None = None,
    ) -> None:
        self._make, self._known, self._outer, self.of = make, known, outer, of
        self.xml: str | None = before.xml if before is not None and before.of == of else None

    def __getitem__(self, name: str) -> Any:
        if name in self._known:
            return self._known[name]
        return self._outer[name] if name in self._outer else self._make()[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._make()
        yield from self._outer

    def __len__(self) -> int:
        return len(self._make()) + len(self._outer)

    def written(self, write: Callable[[Any, Add], None]) -> str:
        """Its XML, made by `write` where it was not made before."""
        if self.xml is None:
            parts: list[str] = []
            write(self._make(), parts.append)
            self.xml = "".join(parts)
        return self.xml


class Writer:
    """Writes the answers of a service. A writer of each shape is made when it is first needed."""

    def __init__(self, shapes: Shapes) -> None:
        self._shapes = shapes
        self._writers: dict[str, Write] = {}

    def answer(self, operation: str, value: Mapping[str, Any], request_id: str) -> bytes:
        """The whole document; an operation without output answers that all is well."""
        shapes = self._shapes
        before, after = _around(operation, request_id, wrapped=shapes.wrapped)
        parts = [_HEAD, f'<{operation}Response xmlns="{shapes.namespace}">', before]
        output = shapes.operations[operation].output
        if not output or not shapes.shapes[output].members:
            parts.append("<return>true</return>")
        else:
            lists: dict[str, Any] = {
                name: []
                for name, member in shapes.shapes[output].members.items()
                if shapes.shapes[member.shape].kind == LIST
            }
            self._writer(output)({**lists, **value}, parts.append)
        parts.append(f"{after}</{operation}Response>\n")
        return "".join(parts).encode()

    def written(self, shape: str, value: Any) -> Written:
        """A value of this shape as it stands between its tags."""
        parts: list[str] = []
        self._writer(shape)(value, parts.append)
        return Written("".join(parts))

    def _writer(self, name: str) -> Write:
        if name not in self._writers:
            shape = self._shapes.shapes[name]
            makers = {STRUCTURE: self._structure, LIST: self._list}
            self._writers[name] = makers.get(shape.kind, _scalar)(shape)
        return self._writers[name]

    def _structure(self, shape: Shape) -> Write:
        members: dict[str, tuple[str, str, Callable[[Any], str] | None, str]] = {}
        for name, member in shape.members.items():
            text = _TEXTS.get(self._shapes.shapes[member.shape].kind)
            members[name] = (f"<{member.out}>", f"</{member.out}>", text, member.shape)

        def write(value: Mapping[str, Any], add: Add) -> None:
            for name, inner in value.items():
                start, end, text, kind = members[name]
                if inner is None:
                    continue
                if text is not None:
                    add(f"{start}{text(inner)}{end}")
                else:
                    add(start)
                    self._writer(kind)(inner, add)
                    add(end)

        return write

    def _list(self, shape: Shape) -> Write:
        start, end = f"<{shape.tag}>", f"</{shape.tag}>"

        def write(values: Any, add: Add) -> None:
            for value in values:
                add(start)
                if isinstance(value, Written):
                    add(value)
                elif isinstance(value, Lasting):
                    add(value.written(self._writer(shape.item)))
                else:
                    self._writer(shape.item)(value, add)
                add(end)

        return write


def _around(operation: str, request_id: str, *, wrapped: bool) -> tuple[str, str]:
    """What stands before and after the values of an answer."""
    if not wrapped:
        return f"<requestId>{request_id}</requestId>", ""
    metadata = f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
    return f"<{operation}Result>", f"</{operation}Result>{metadata}"


def refusal(fault: Fault, request_id: str) -> bytes:
    """The document of a refused request."""
    return (
        f"{_HEAD}<Response><Errors><Error><Code>{_string(fault.code)}</Code><Message>{_string(fault.message)}</Message>"
        f"</Error></Errors><RequestID>{request_id}</RequestID></Response>\n"
    ).encode()


# --- scalars -------------------------------------------------------------------------------------------------


def stamp(value: datetime | float) -> str:
    """A time, or seconds since the epoch, as answers have it: ``2026-11-23T07:05:00.000Z``."""
    time = value.astimezone(UTC) if isinstance(value, datetime) else datetime.fromtimestamp(value, UTC)
    return f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03d}Z"


def _string(value: Any) -> str:
    text = value if isinstance(value, str) else str(value)
    return escape(_FORBIDDEN.sub("", text)) if _SPECIAL.search(text) else text


_TEXTS: dict[str, Callable[[Any], str]] = {
    "string": _string,
    "boolean": lambda value: "true" if value else "false",
    "integer": str,
    "long": str,
    "float": repr,
    "double": repr,
    "timestamp": stamp,
    "blob": lambda value: base64.b64encode(value).decode(),
}


def _scalar(shape: Shape) -> Write:
    text = _TEXTS[shape.kind]

    def write(value: Any, add: Add) -> None:
        add(text(value))

    return write
