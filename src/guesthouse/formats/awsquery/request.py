"""Requests: flat parameters to values, by the shape of the operation's input.

Rules
-----
1. ``A.1.B=c`` is the member B of the first item of the list A. Lists are flat and their numbers need not be dense;
   some clients write a list's items below one more name, ``member`` or ``item``.
2. What the shapes do not know is refused by its name, as is what has another type, is none of the values that there
   are, or lacks a required member.
3. A blob is base64 in the text; a timestamp is ISO 8601 or seconds since the epoch.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from guesthouse.formats.awsquery.fault import Fault
from guesthouse.formats.awsquery.shapes import LIST, STRUCTURE, Shape, Shapes

MAX_DEPTH = 12
MAX_NUMBER = 100_000
_WRAPPERS = ("member", "item")

Read = Callable[[Any, str], Any]


class Reader:
    """Reads the requests of a service. A reader of each shape is made when it is first needed."""

    def __init__(self, shapes: Shapes) -> None:
        self._shapes = shapes
        self._readers: dict[str, Read] = {}

    def arguments(self, operation: str, pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """The arguments of a request by their names in the description; raises `Fault`."""
        node = tree(pairs)
        shape = self._shapes.operations[operation].input
        if shape:
            found: dict[str, Any] = self._reader(shape)(node, "")
            return found
        if node:
            raise _unknown(next(iter(node)))
        return {}

    def _reader(self, name: str) -> Read:
        if name not in self._readers:
            shape = self._shapes.shapes[name]
            makers = {STRUCTURE: self._structure, LIST: self._list}
            self._readers[name] = makers.get(shape.kind, _scalar)(shape)
        return self._readers[name]

    def _structure(self, shape: Shape) -> Read:
        members = {member.into: (name, member.shape) for name, member in shape.members.items()}
        required = [(name, shape.members[name].into) for name in shape.required]

        def read(node: Any, path: str) -> dict[str, Any]:
            if not isinstance(node, dict):
                raise _wrong(path, node, "it has parts of its own, like " + f"{path}.{next(iter(members), 'Name')}")
            found: dict[str, Any] = {}
            for key, value in node.items():
                here = f"{path}.{key}" if path else key
                if key not in members:
                    raise _unknown(here)
                name, inner = members[key]
                found[name] = self._reader(inner)(value, here)
            for name, into in required:
                if name not in found:
                    missing = f"{path}.{into}" if path else into
                    raise Fault("MissingParameter", f"The request must contain the parameter {missing}")
            return found

        return read

    def _list(self, shape: Shape) -> Read:
        def read(node: Any, path: str) -> list[Any]:
            if not isinstance(node, dict):
                # Some clients leave the number of a single item out; an empty one is no item.
                return [self._reader(shape.item)(node, path)] if node else []
            if len(node) == 1 and (wrapped := next(iter(node))) in _WRAPPERS and isinstance(node[wrapped], dict):
                node = node[wrapped]
            keys = sorted((_number(key, path), key) for key in node)
            return [self._reader(shape.item)(node[key], f"{path}.{key}") for _, key in keys]

        return read


def tree(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """``[("A.1.B", "c")]`` as ``{"A": {"1": {"B": "c"}}}``; raises `Fault` for a name that is twice there."""
    root: dict[str, Any] = {}
    for key, value in pairs:
        *path, last = key.split(".")
        if len(path) >= MAX_DEPTH:
            raise Fault("MalformedQueryString", f"The parameter {key[:100]} is nested too deeply")
        node = root
        for part in path:
            inner = node.setdefault(part, {})
            if not isinstance(inner, dict):
                raise Fault("MalformedQueryString", f"The parameter {key} is below one that has a value")
            node = inner
        if last in node:
            raise Fault("MalformedQueryString", f"The parameter {key} is given twice")
        node[last] = value
    return root


def _number(key: str, path: str) -> int:
    if not (key.isascii() and key.isdigit()) or len(key) > 6 or int(key) > MAX_NUMBER:
        raise Fault("InvalidParameterValue", f"Value ({key}) for parameter {path} is invalid. Its items are numbered")
    return int(key)


def _unknown(path: str) -> Fault:
    return Fault("UnknownParameter", f"The parameter {path} is not recognized")


def _wrong(path: str, value: Any, why: str) -> Fault:
    shown = value if isinstance(value, str) else "a structure"
    return Fault("InvalidParameterValue", f"Value ({shown[:200]}) for parameter {path} is invalid. {why}")


# --- scalars -------------------------------------------------------------------------------------------------


def _boolean(text: str) -> bool:
    return {"true": True, "1": True, "false": False, "0": False}[text.lower()]


def _timestamp(text: str) -> datetime:
    if text.replace(".", "", 1).isdigit() and text.isascii():
        return datetime.fromtimestamp(float(text), UTC)
    found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _whole(text: str) -> int:
    if not text.isascii() or "_" in text or len(text) > 20:
        raise ValueError(text)
    return int(text)


def _blob(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


# By the kind of a scalar: how it is read, and what is said where that fails.
_SCALARS: dict[str, tuple[Callable[[str], Any], str]] = {
    "string": (str, ""),
    "boolean": (_boolean, "It is true or false"),
    "integer": (_whole, "It is a whole number"),
    "long": (_whole, "It is a whole number"),
    "float": (float, "It is a number"),
    "double": (float, "It is a number"),
    "timestamp": (_timestamp, "It is a time as in ISO 8601"),
    "blob": (_blob, "It is base64"),
}


def _scalar(shape: Shape) -> Read:
    convert, otherwise = _SCALARS[shape.kind]
    values = frozenset(shape.values)
    least, most = shape.least, shape.most

    def read(node: Any, path: str) -> Any:
        if not isinstance(node, str):
            raise _wrong(path, node, "It has no parts")
        try:
            value = convert(node)
        except (ValueError, KeyError, OverflowError, OSError, binascii.Error):
            raise _wrong(path, node, otherwise) from None
        if values and value not in values:
            raise _wrong(path, node, f"It is one of {', '.join(shape.values)}")
        if isinstance(value, int | float) and not isinstance(value, bool) and _is_outside(value, least, most):
            raise _wrong(path, node, f"It is from {_said(least)} to {_said(most)}")
        return value

    return read


def _is_outside(value: float, least: float | None, most: float | None) -> bool:
    return value != value or (least is not None and value < least) or (most is not None and value > most)


def _said(limit: float | None) -> str:
    return "any" if limit is None else f"{limit:g}"
