"""The table itself, and what is made of it: the OpenAPI document."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from tests.golden.golden import Golden

from guesthouse.doors.native.openapi import document, name_of, role_of
from guesthouse.doors.native.reference import reference
from guesthouse.doors.native.rows import Content, Row
from guesthouse.doors.native.table import GROUPS, TABLE
from guesthouse.engine.accept import INTENTS

DOCUMENT = document(TABLE)
OPERATIONS = {
    (path, method): operation for path, methods in DOCUMENT["paths"].items() for method, operation in methods.items()
}


def called(row: Row) -> str:
    return f"{row.method} {row.path}"


each_row = pytest.mark.parametrize("row", TABLE, ids=called)


def test_no_two_rows_are_alike() -> None:
    for what in (called, name_of, lambda row: row.summary):
        twice = [name for name, count in Counter(map(what, TABLE)).items() if count > 1]
        assert twice == []


def test_every_intent_has_exactly_one_row() -> None:
    asked = [row.intent for row in TABLE if row.intent is not None]
    assert Counter(asked) == Counter(intent for intent, row in INTENTS.items() if row.native)


@each_row
def test_a_row_does_one_thing_and_takes_what_its_path_names(row: Row) -> None:
    assert [row.intent, row.view, row.session].count(None) == 2
    assert set(row.in_path) <= set(row.params.__struct_fields__)
    assert row.params.__struct_config__.forbid_unknown_fields
    if row.body is not None and not isinstance(row.body, Content):
        assert row.body.__struct_config__.forbid_unknown_fields
        assert not set(row.body.__struct_fields__) & set(row.params.__struct_fields__)


@each_row
def test_a_rows_intent_can_be_said_in_full(row: Row) -> None:
    if row.intent is None or row.path == "/machines/{name}":
        return
    said = [*row.params.__struct_fields__, *(row.body.__struct_fields__ if row.body else ())]
    assert sorted(said) == sorted([*row.intent.__struct_fields__, *(["wait_s"] if row.waits else [])])


@each_row
def test_a_rows_shapes_are_in_the_document(row: Row) -> None:
    operation = OPERATIONS[f"/v1{row.path}", "get" if row.session else row.method.lower()]
    assert str(row.status) in operation["responses"]
    told = {(each["name"], each["in"]) for each in operation["parameters"] if "name" in each}
    for name in row.params.__struct_fields__:
        assert (name, "path" if name in row.in_path else "query") in told
    if row.session is None:
        assert ("requestBody" in operation) == (row.body is not None)
        assert operation["x-role"] == role_of(row)
    if row.body is not None and not isinstance(row.body, Content):
        (content,) = operation["requestBody"]["content"].values()
        schema = resolve(content["schema"])
        assert sorted(schema["properties"]) == sorted(row.body.__struct_fields__)


def test_the_document_has_nothing_but_the_rows() -> None:
    rows = {(f"/v1{row.path}", "get" if row.session else row.method.lower()) for row in TABLE}
    assert set(OPERATIONS) == rows


def test_the_document_is_openapi() -> None:
    assert DOCUMENT["openapi"] == "3.1.0"
    assert set(DOCUMENT["info"]) >= {"title", "version"}
    names = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(names) == len(set(names))
    for (path, _), operation in OPERATIONS.items():
        assert operation["responses"]
        parameters = [resolve(each) for each in operation["parameters"]]
        assert len({(each["name"], each["in"]) for each in parameters}) == len(parameters)
        in_path = {each["name"] for each in parameters if each["in"] == "path"}
        assert in_path == set(re.findall(r"{(\w+)}", path))
        assert all(each["required"] is True for each in parameters if each["in"] == "path")
        assert all("schema" in each for each in parameters)
        for response in operation["responses"].values():
            assert resolve(response)["description"]


def test_every_reference_leads_somewhere_and_every_schema_is_used() -> None:
    used = set(references(DOCUMENT))
    for each in used:
        assert resolve({"$ref": each})
    schemas = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert schemas <= used


def test_the_document_is_json_and_the_same_every_time() -> None:
    assert msgspec.json.decode(msgspec.json.encode(DOCUMENT)) == json.loads(json.dumps(DOCUMENT))
    assert document(TABLE) == DOCUMENT


def test_no_digest_and_no_context_is_described() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        assert not {"digest", "context"} & set(schema.get("properties", ())) or schema["title"] in (
            "Image",
            "ImageDocument",
        )


def test_the_reference_is_written_from_the_table(golden: Golden) -> None:
    golden("../../docs/api.md", reference(GROUPS))


def resolve(schema: dict[str, Any]) -> dict[str, Any]:
    """What a reference refers to."""
    if "$ref" not in schema:
        return schema
    found: Any = DOCUMENT
    for part in schema["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    assert isinstance(found, dict)
    return found


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)
