"""The table as an OpenAPI 3.1 document.

Rules
-----
1. Nothing is written twice: paths, parameters and shapes come from the rows, shapes as msgspec describes its own
   types (JSON Schema 2020-12, which OpenAPI 3.1 uses).
2. OpenAPI has no websockets: such a row is a GET that answers 101, and ``x-websocket`` names its frames.
3. An intent's role stands in the engine's table, a view's in its row; both are told as ``x-role``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args, get_origin

import msgspec

from guesthouse import __version__
from guesthouse.doors.native.documents import ErrorDocument
from guesthouse.doors.native.rows import Content, Row
from guesthouse.engine.accept import INTENTS

VERSION = "v1"
_REFERENCE = "#/components/schemas/{name}"
_PROJECT = {
    "name": "X-Guesthouse-Project",
    "in": "header",
    "description": "the project meant; `default` where none is named. A token decides it, unless it is the house's",
    "schema": {"type": "string"},
}


def document(rows: Iterable[Row]) -> dict[str, Any]:
    """The door described for clients and their generators."""
    rows = tuple(rows)
    shapes = list(dict.fromkeys(shape for row in rows for shape in _shapes(row)))
    schemas, components = msgspec.json.schema_components([*shapes, ErrorDocument], ref_template=_REFERENCE)
    schema_of = dict(zip([*shapes, ErrorDocument], schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: row.session is not None):
        methods = paths.setdefault(f"/{VERSION}{row.path}", {})
        if row.session is not None and "get" in methods:
            methods["get"] |= _websocket(row)
            methods["get"]["responses"] |= _responses(row, schema_of)
        else:
            methods["get" if row.session else row.method.lower()] = _operation(row, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Guesthouse", "version": __version__, "summary": "The native door of a house"},
        "servers": [{"url": "/"}],
        "security": [{}, {"token": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(sorted(components.items())),
            "parameters": {"project": _PROJECT},
            "responses": {"error": {"description": "What went wrong", "content": _json(schema_of[ErrorDocument])}},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def role_of(row: Row) -> str:
    """The role that a row takes, with ``house`` for those of the house's operators."""
    if row.intent is None:
        return "house" if row.house else row.role
    needed = INTENTS[row.intent]
    return "house" if needed.house_only else needed.role


def name_of(row: Row) -> str:
    """What a row is called: its intent, or the function that serves it."""
    if row.intent is not None:
        return row.intent.__name__
    function = row.view or row.session
    assert function is not None
    return f"{row.method.lower()}_{function.__name__}" if row.view else f"follow_{function.__name__}"


def parameters(row: Row) -> Iterable[dict[str, Any]]:
    """The row's path and query parameters, as OpenAPI has them."""
    required = {field.name for field in msgspec.structs.fields(row.params) if field.required}
    shape = msgspec.json.schema(row.params)
    properties = next(iter(shape["$defs"].values()))["properties"] if "$defs" in shape else shape["properties"]
    definitions = shape.get("$defs", {})
    for name, schema in properties.items():
        schema = _inline(schema, definitions)
        description = schema.pop("description", None)
        yield {
            "name": name,
            "in": "path" if name in row.in_path else "query",
            "required": name in required or name in row.in_path,
            **({"description": description} if description else {}),
            "schema": schema,
        }


def _shapes(row: Row) -> Iterable[Any]:
    """The types of which the document needs a schema. Parameters are shown one by one instead."""
    for shape in (row.body, row.answer):
        if shape is not None and not isinstance(shape, Content):
            yield get_args(shape)[0] if get_origin(shape) is list else shape


def _operation(row: Row, schema_of: dict[Any, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": name_of(row),
        "summary": row.summary,
        "x-role": str(role_of(row)),
        "parameters": [{"$ref": "#/components/parameters/project"}, *parameters(row)],
        "responses": {**_responses(row, schema_of), "default": {"$ref": "#/components/responses/error"}},
    }
    if row.body is not None:
        operation["requestBody"] = {"required": _is_required(row), "content": _content(row.body, schema_of)}
    return operation | (_websocket(row) if row.session else {})


def _websocket(row: Row) -> dict[str, Any]:
    assert isinstance(row.answer, Content)
    return {"x-websocket": row.answer.media_type}


def _inline(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A parameter's schema without references: all are scalars."""
    if "$ref" in schema:
        schema = {**definitions[schema["$ref"].rsplit("/", 1)[1]], **{k: v for k, v in schema.items() if k != "$ref"}}
    if "anyOf" in schema:
        schema = {**schema, "anyOf": [_inline(each, definitions) for each in schema["anyOf"]]}
    return {key: value for key, value in schema.items() if key != "title"}


def _is_required(row: Row) -> bool:
    return isinstance(row.body, Content) or any(field.required for field in msgspec.structs.fields(row.body))


def _responses(row: Row, schema_of: dict[Any, Any]) -> dict[str, Any]:
    if row.session is not None:
        return {"101": {"description": row.summary}}
    if row.answer is None:
        return {str(row.status): {"description": "Done"}}
    return {str(row.status): {"description": row.summary, "content": _content(row.answer, schema_of)}}


def _content(shape: Any, schema_of: dict[Any, Any]) -> dict[str, Any]:
    if isinstance(shape, Content):
        return {shape.media_type: {}}
    if get_origin(shape) is list:
        items = {"type": "array", "items": schema_of[get_args(shape)[0]]}
        return _json({"type": "object", "properties": {"items": items}, "required": ["items"]})
    return _json(schema_of[shape])


def _json(schema: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
