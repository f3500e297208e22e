"""Shapes taken from botocore's descriptions of services: what the operations of the door's table reach, without words.

Rules
-----
1. Names of members on the wire are those of the protocol ``ec2``: in requests `queryName`, or `locationName` with a
   capital letter, or the member's own; in answers `locationName` or the member's own.
2. Values of an enumeration are kept where a request could have a wrong one, unless there are very many.
3. The names of filters are those that the documentation of an operation's argument Filters lists.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from botocore.loaders import Loader

from guesthouse.formats.awsquery.shapes import Member, Operation, Shape, Shapes

MAX_VALUES = 60
_LISTED = re.compile(r"<li>\s*<p>\s*<code>([^<]+)</code>")
_SCALARS = frozenset("string boolean integer long float double timestamp blob".split())


def describe(service: str, version: str, actions: Iterable[str]) -> Shapes:
    """The shapes of these operations."""
    model: dict[str, Any] = Loader().load_service_model(service, "service-2", version)
    wanted = sorted(actions)
    operations = {action: _operation(model, action) for action in wanted}
    entered = _reached(model["shapes"], (operation.input for operation in operations.values()))
    all_ = entered | _reached(model["shapes"], (operation.output for operation in operations.values()))
    metadata = model["metadata"]
    return Shapes(
        version=metadata["apiVersion"],
        # Clients look for EC2's with a slash at its end, which the description lacks.
        namespace=metadata["xmlNamespace"].rstrip("/") + "/",
        wrapped=metadata["protocol"] == "query",
        others=tuple(sorted(model["operations"].keys() - operations.keys())),
        operations=operations,
        shapes={name: _shape(model["shapes"][name], name in entered) for name in sorted(all_)},
    )


def _operation(model: Mapping[str, Any], action: str) -> Operation:
    found = model["operations"][action]
    given, answered = (found.get(side, {}).get("shape", "") for side in ("input", "output"))
    members = model["shapes"][given]["members"] if given else {}
    filters = members.get("Filters") or members.get("Filter") or {}
    names = dict.fromkeys(_filters(filters.get("documentation", "")))
    return Operation(input=given, output=answered, filters=tuple(names))


def _filters(documentation: str) -> Iterator[str]:
    for name in _LISTED.findall(documentation):
        yield name.split(":")[0] if name.startswith("tag:") else name


def _reached(shapes: Mapping[str, Any], begin: Iterable[str]) -> set[str]:
    found: set[str] = set()
    open_ = [name for name in begin if name]
    while open_:
        name = open_.pop()
        if name not in found:
            found.add(name)
            shape = shapes[name]
            open_ += [member["shape"] for member in shape.get("members", {}).values()]
            if "member" in shape:
                open_.append(shape["member"]["shape"])
    return found


def _shape(shape: Mapping[str, Any], is_entered: bool) -> Shape:
    kind = shape["type"]
    if kind == "structure":
        members = {name: _member(name, member) for name, member in shape["members"].items()}
        return Shape(kind=kind, members=members, required=tuple(shape.get("required", ())))
    if kind == "list":
        member = shape["member"]
        return Shape(kind=kind, item=member["shape"], tag=member.get("locationName", "item"))
    assert kind in _SCALARS, kind
    values = tuple(shape.get("enum", ())) if is_entered else ()
    numbers = kind not in ("string", "blob")
    return Shape(
        kind=kind,
        values=values if len(values) <= MAX_VALUES else (),
        least=shape.get("min") if numbers else None,
        most=shape.get("max") if numbers else None,
    )


def _member(name: str, member: Mapping[str, Any]) -> Member:
    out = member.get("locationName", name)
    into = member.get("queryName") or out[0].upper() + out[1:]
    return Member(shape=member["shape"], into=into, out=out, token=bool(member.get("idempotencyToken")))
