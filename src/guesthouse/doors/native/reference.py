"""docs/api.md, written from the table: what a person reads before the first request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from guesthouse.doors.native.openapi import document, parameters
from guesthouse.doors.native.rows import Content, Row
from guesthouse.model.errors import KINDS

_INTRODUCTION = """\
# The native door

HTTP/1.1 with JSON below `/v1`, on the house's unix socket (mode 0600) and, where the daemon was told to listen, on TCP
with TLS. `GET /v1/openapi.json` is this page for programs. It is written from the table in
`src/guesthouse/doors/native/table.py`; `pytest tests/doors --refresh-golden` writes it anew.

- **Who asks.** On the unix socket the daemon's user and root are operators of the house; the header
  `X-Guesthouse-Project` names the project, `default` if there is none. On TCP `Authorization: Bearer TOKEN` says who
  asks and decides the project; a token of the house may name any. Roles are viewer, operator, admin: each may do what
  the ones before it may. *house* marks what only operators of the house may do.
- **What is meant.** `{machine}`, `{disk}` and the like are names or ids. Things of other projects do not exist.
- **Durable work** answers 202 with an operation: at once, or with `wait_s` when it has ended, that time at most.
  `GET /v1/operations/{operation}?wait_s=30&after=STAMP` answers when it has ended or moved on; `after` is the `stamp`
  of the last answer. Operations survive the daemon.
- **Nothing is dropped.** Unknown fields and query parameters are refused by name. Sizes are whole MiB (`*_mib`), times
  are seconds since 1970 (`*_at`), durations seconds (`*_s`). Lists are `{"items": [...]}`.
- **Errors** are `{"error": {"code", "message", "subject", "field", "value", "hint"}}`; parts that say nothing are left
  out. A missing or unknown token is `denied` with status 401, a wrong method `invalid` with 405.
"""


def reference(groups: Mapping[str, Iterable[Row]]) -> str:
    """The whole page, as Markdown."""
    groups = {title: tuple(rows) for title, rows in groups.items()}
    described = document(row for rows in groups.values() for row in rows)
    shapes = described["components"]["schemas"]
    bodies = {row.body.__name__ for rows in groups.values() for row in rows if isinstance(row.body, type)}
    return "\n".join(
        (
            _INTRODUCTION,
            *_table(("code", "status", "exit code of `guest`"), _kinds()),
            "",
            *(line for title, rows in groups.items() for line in _group(title, rows, described)),
            "## Shapes",
            "",
            *(line for name, shape in shapes.items() if name not in bodies for line in _shape(shape)),
        )
    )


def _kinds() -> Iterator[tuple[str, ...]]:
    for kind in KINDS.values():
        yield f"`{kind.code}`", str(kind.http_status), str(kind.exit_code)


def _group(title: str, rows: Iterable[Row], described: dict[str, Any]) -> Iterator[str]:
    yield from (f"## {title}", "")
    for row in rows:
        method = "get" if row.session else row.method.lower()
        operation = described["paths"][f"/v1{row.path}"][method]
        yield from (f"### {row.method} /v1{row.path}", "")
        yield f"{row.summary}. Role: {_role(row, operation)}. {_answer(row, operation)}"
        yield ""
        yield from _section(("query", "type", "default"), _queries(row))
        yield from _section(("body", "type", "default"), _body(row, operation, described))


def _role(row: Row, operation: dict[str, Any]) -> str:
    return f"{operation['x-role']}, on the unix socket only" if row.local else str(operation["x-role"])


def _answer(row: Row, operation: dict[str, Any]) -> str:
    if row.session is not None:
        return f"A websocket: {row.answer.media_type}."
    if row.answer is None:
        return f"Answers {row.status}."
    (media_type, content), *_ = operation["responses"][str(row.status)]["content"].items()
    shape = media_type if isinstance(row.answer, Content) else _type(content["schema"])
    return f"Answers {row.status}: {shape}."


def _queries(row: Row) -> Iterator[tuple[str, ...]]:
    for each in parameters(row):
        if each["in"] == "query":
            schema = {**each["schema"], "description": each.get("description", "")}
            yield f"`{each['name']}`", _type(schema), "required" if each["required"] else _default(schema)


def _body(row: Row, operation: dict[str, Any], described: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    if isinstance(row.body, Content):
        yield "the bytes themselves", row.body.media_type, ""
    elif row.body is not None:
        (content,) = operation["requestBody"]["content"].values()
        name = content["schema"]["$ref"].rsplit("/", 1)[1]
        yield from _fields(described["components"]["schemas"][name])


def _shape(schema: dict[str, Any]) -> Iterator[str]:
    yield from (f"### {schema['title']}", "")
    if "description" in schema:
        yield from (" ".join(schema["description"].split()).replace("``", "`"), "")
    if "enum" in schema:
        yield from (_type(schema), "")
    yield from _section(("field", "type", "default"), _fields(schema))


def _fields(schema: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        yield f"`{name}`", _type(field), "required" if name in required else _default(field)


def _type(schema: dict[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{value or '(empty)'}`" for value in schema["enum"])
    if "items" in schema.get("properties", {}):
        return f"list of {_type(schema['properties']['items']['items'])}"
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties']) or 'any'}"
    said = [schema.get("type", "any"), _bounds(schema), schema.get("description", "")]
    return ", ".join(part for part in said if part)


def _bounds(schema: dict[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"{low} to {high}"
    return f"{low} at least" if low is not None else schema.get("contentEncoding", "")


def _default(schema: dict[str, Any]) -> str:
    default = schema.get("default")
    if default is None or default in ("", (), [], {}):
        return ""
    return f"`{default if isinstance(default, str) else msgspec.json.encode(default).decode()}`"


def _section(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """A table and an empty line; nothing where there are no rows."""
    rows = list(rows)
    if rows:
        yield from _table(head, rows)
        yield ""


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
