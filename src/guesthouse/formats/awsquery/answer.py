"""Answers: values to XML, by the shape of the operation's output.

Rules
-----
1. A member that is None or not there is left out, but for the lists at the top: clients index them.
2. A value that its shape does not know is a fault of ours: `KeyError`.
3. What does not change is not written twice: a `Lasting` structure in a list of the answer, or of an `Around` one
   there, keeps its XML, and so does one that is the `Same` in many.
4. A large answer is not put together: it is sent in pieces.
5. Times have milliseconds and end in Z; a blob is base64; what XML cannot hold is left out of texts.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, NamedTuple, TypeVar
from xml.sax.saxutils import escape

from guesthouse.formats.awsquery.fault import Fault
from guesthouse.formats.awsquery.shapes import LIST, STRUCTURE, Shape, Shapes

_STRING, _UTC = "string", "+00:00"
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
# Characters that no XML document may have (XML 1.0, 2.2), and those that are written in another way.
_SPECIAL = re.compile("[&<>\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")

Key = TypeVar("Key")
Add = Callable[[str], None]
Text = Callable[[Any], str]
PIECE_BYTES = 1 << 18


@dataclass(frozen=True)
class Source(Generic[Key]):
    """Where lasting structures come from: each is known by a key.

    `whole` makes one, `quick` tells single members without that, `tags` its tags. `outer` is a member that is no part
    of its XML: its name, and how it is made.
    """

    whole: Callable[[Key], Mapping[str, Any]]
    outer: tuple[str, Callable[[Key], Any]]
    quick: Mapping[str, Callable[[Key], Any]] = field(default_factory=dict)
    tags: Callable[[Key], Mapping[str, str]] = lambda key: {}


class Lasting(Mapping[str, Any], Generic[Key]):
    """A structure that stays as it is: made when it is needed, and not kept; its XML is made once, and kept."""

    __slots__ = ("_outer", "key", "source", "xml")

    def __init__(self, source: Source[Key], key: Key) -> None:
        self.source, self.key = source, key
        self.xml: str | None = None
        self._outer: Any = None

    @property
    def outer(self) -> Any:
        """The member that is no part of its XML."""
        if self._outer is None:
            self._outer = self.source.outer[1](self.key)
        return self._outer

    @property
    def tags(self) -> Mapping[str, str]:
        """Its tags by their names."""
        return self.source.tags(self.key)

    def whole(self) -> Mapping[str, Any]:
        """All its members but the outer one."""
        return self.source.whole(self.key)

    def __getitem__(self, name: str) -> Any:
        if name == self.source.outer[0]:
            return self.outer
        quick = self.source.quick.get(name)
        return quick(self.key) if quick else self.whole()[name]

    def __iter__(self) -> Iterator[str]:
        yield from self.whole()
        yield self.source.outer[0]

    def __len__(self) -> int:
        return len(self.whole()) + 1


class Same(dict[str, Any]):
    """A structure that is a part of many others, always of the same shape: its XML is made once, and kept."""

    __slots__ = ("xml",)
    xml: str

    def written(self, text: Text) -> str:
        """Its XML, made by `text` where it was not made before."""
        try:
            return self.xml
        except AttributeError:
            self.xml = text(self)
            return self.xml


class Around(dict[str, Any]):
    """A structure with lists of lasting ones: they are sent as they are, not copied into its own text."""

    __slots__ = ()


class Writer:
    """Writes the answers of a service. A writer of each shape is made when it is first needed."""

    def __init__(self, shapes: Shapes) -> None:
        self._shapes = shapes
        self._texts: dict[str, Text] = {}
        self._spreads: dict[str, Mapping[str, tuple[str, str, Shape | None, Text]]] = {}

    def answer(self, operation: str, value: Mapping[str, Any], request_id: str) -> bytes:
        """The whole document; an operation without output answers that all is well."""
        return b"".join(self.pieces(operation, value, request_id))

    def pieces(self, operation: str, value: Mapping[str, Any], request_id: str) -> Iterator[bytes]:
        """The document in pieces of some `PIECE_BYTES`. All has been written when this returns."""
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
            self._spread(output, {**lists, **value}, parts.append)
        parts.append(f"{after}</{operation}Response>\n")
        return _gathered(parts)

    def _spread(self, name: str, value: Mapping[str, Any], add: Add) -> None:
        """Write a structure in many parts: those of its lists as they are."""
        members = self._members(name)
        for member, inner in value.items():
            start, end, in_list, text = members[member]
            if inner is None:
                continue
            if in_list is None:
                add(f"{start}{text(inner)}{end}")
                continue
            add(start)
            self._spread_list(in_list, inner, add)
            add(end)

    def _spread_list(self, shape: Shape, values: Iterable[Any], add: Add) -> None:
        start, end, text = f"<{shape.tag}>", f"</{shape.tag}>", self._text(shape.item)
        for value in values:
            if isinstance(value, Lasting):
                if value.xml is None:
                    value.xml = f"{start}{text(value.whole())}{end}"
                add(value.xml)
                continue
            add(start)
            if isinstance(value, Around):
                self._spread(shape.item, value, add)
            else:
                add(text(value))
            add(end)

    def _members(self, name: str) -> Mapping[str, tuple[str, str, Shape | None, Text]]:
        """Of each member of a structure: what stands before and after it, its shape where it is a list, its writer."""
        if name not in self._spreads:
            found = {}
            for member, inner in self._shapes.shapes[name].members.items():
                shape = self._shapes.shapes[inner.shape]
                in_list = shape if shape.kind == LIST else None
                found[member] = (f"<{inner.out}>", f"</{inner.out}>", in_list, self._text(inner.shape))
            self._spreads[name] = found
        return self._spreads[name]

    def _text(self, name: str) -> Text:
        if name not in self._texts:
            shape = self._shapes.shapes[name]
            makers = {STRUCTURE: self._structure, LIST: self._list}
            self._texts[name] = makers[shape.kind](shape) if shape.kind in makers else _TEXTS[shape.kind]
        return self._texts[name]

    def _structure(self, shape: Shape) -> Text:
        """Writes structures by forms: one for each set of members that come together."""
        forms: dict[tuple[str, ...], _Form] = {}

        def write(value: Mapping[str, Any]) -> str:
            there = value
            if None in value.values():
                there = {name: each for name, each in value.items() if each is not None}
            names = tuple(there)
            form = forms.get(names)
            if form is None:
                form = forms[names] = self._form(shape, names)
            return form.filled(list(there.values()))

        def once(value: Any) -> str:
            return value.written(write) if value.__class__ is Same else write(value)

        return once

    def _form(self, shape: Shape, names: Sequence[str]) -> _Form:
        members = [shape.members[name] for name in names]
        text = "".join(f"<{member.out}>%s</{member.out}>" for member in members)
        kinds = [self._shapes.shapes[member.shape].kind for member in members]
        strings = [number for number, kind in enumerate(kinds) if kind == _STRING]
        others = [(number, self._text(members[number].shape)) for number, kind in enumerate(kinds) if kind != _STRING]
        return _Form(text, strings, others)

    def _list(self, shape: Shape) -> Text:
        start, end, text = f"<{shape.tag}>", f"</{shape.tag}>", self._text(shape.item)
        return lambda values: "".join([f"{start}{text(value)}{end}" for value in values])


class _Form(NamedTuple):
    """The XML of a structure with these members, and where its strings and its other values go."""

    text: str
    strings: Sequence[int]
    others: Sequence[tuple[int, Text]]

    def filled(self, values: list[Any]) -> str:
        if not self._are_plain(values):
            for number in self.strings:
                values[number] = _string(values[number])
        for number, text in self.others:
            values[number] = text(values[number])
        return self.text % tuple(values)

    def _are_plain(self, values: list[Any]) -> bool:
        """Whether all strings can be written as they are; nearly always they can, so they are looked at as one."""
        try:
            return _SPECIAL.search("".join([values[number] for number in self.strings])) is None
        except TypeError:
            return False


def _gathered(parts: Iterable[str]) -> Iterator[bytes]:
    """Parts put together to pieces that are worth being sent."""
    piece: list[str] = []
    size = 0
    for part in parts:
        piece.append(part)
        size += len(part)
        if size >= PIECE_BYTES:
            yield "".join(piece).encode()
            piece, size = [], 0
    yield "".join(piece).encode()


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
    return f"{time.isoformat(timespec='milliseconds')[: -len(_UTC)]}Z"


def _string(value: Any) -> str:
    text = value if isinstance(value, str) else str(value)
    return escape(_FORBIDDEN.sub("", text)) if _SPECIAL.search(text) else text


_TEXTS: dict[str, Text] = {
    _STRING: _string,
    "boolean": lambda value: "true" if value else "false",
    "integer": str,
    "long": str,
    "float": repr,
    "double": repr,
    "timestamp": stamp,
    "blob": lambda value: base64.b64encode(value).decode(),
}
