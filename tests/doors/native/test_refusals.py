"""What is refused, and how that is told."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
import pytest
from tests.doors.native.conftest import Open, done, furnish
from tests.doors.native.samples import body_of, path_of

from guesthouse.doors.native import answers
from guesthouse.doors.native.rows import Content, Row
from guesthouse.doors.native.table import TABLE
from guesthouse.model.errors import KINDS, from_dict

ANSWERED = [row for row in TABLE if row.session is None]


def error_of(response: httpx.Response, status: int = 400) -> dict[str, Any]:
    assert response.status_code == status, response.text
    error: dict[str, Any] = response.json()["error"]
    assert error["message"]
    return error


@pytest.mark.parametrize("code", KINDS)
def test_every_kind_of_error_has_its_status_and_comes_back_as_it_was(code: str) -> None:
    error = from_dict({"code": code, "message": "no", "subject": "machine web", "field": "name", "hint": "do"})
    response = answers.refusal(error)
    assert response.status_code == KINDS[code].http_status
    assert msgspec.json.decode(response.body) == {"error": error.as_dict()}


async def test_every_row_refuses_an_unknown_query_parameter_by_name(client: httpx.AsyncClient) -> None:
    for row in ANSWERED:
        path = path_of(row)
        response = await client.request(row.method, f"{path}{'&' if '?' in path else '?'}surprise=1", **body_of(row))
        assert error_of(response)["field"] == "surprise", row
    assert (await client.get("/machines")).json() == {"items": []}


async def test_every_row_refuses_an_unknown_field_by_name(client: httpx.AsyncClient) -> None:
    for row in ANSWERED:
        if isinstance(row.body, Content):
            continue
        said = {**body_of(row).get("json", {}), "surprise": 1}
        response = await client.request(row.method, path_of(row), json=said)
        assert error_of(response)["field"] == "surprise", row


async def test_every_row_refuses_a_body_that_is_too_large(client: httpx.AsyncClient) -> None:
    for row in ANSWERED:
        if isinstance(row.body, Content):
            continue
        large = b'{"a": "' + b"x" * row.body_limit_bytes + b'"}'
        response = await client.request(row.method, path_of(row), content=large)
        assert error_of(response)["field"] == "body", row


LAUNCH = "/machines"


@pytest.mark.parametrize(
    ("body", "field", "value", "hint"),
    [
        (b'{"spec": {"name": "a", "memory": 1}}', "spec.memory", None, "did you mean memory_mib?"),
        (b'{"spec": {"name": "a", "vcpus": "2"}}', "spec.vcpus", "2", None),
        (b'{"spec": {"name": "a", "firmware": "efi"}}', "spec.firmware", "efi", None),
        (b'{"spec": {"name": "a", "nics": [{"moddel": "e1000"}]}}', "spec.nics[0].moddel", None, "did you mean model?"),
        (b'{"spec": {"name": "a", "disks": [{}, {"size_mib": 1.5}]}}', "spec.disks[1].size_mib", "1.5", None),
        (b'{"spec": {"name": "a", "labels": {"a": 1}}}', "spec.labels[]", None, None),
        (b'{"spec": {}}', "spec.name", None, "it has no default"),
        (b"{}", "spec", None, "it has no default"),
        (b"[]", "body", "[]", None),
        (b'{"spec": ', "body", None, "send a JSON object"),
        (b"\xff", "body", None, "send a JSON object"),
        (b"[" * 100_000, "body", None, "send a JSON object"),
    ],
)
async def test_a_body_that_does_not_fit_is_refused_with_field_value_and_fix(
    client: httpx.AsyncClient, body: bytes, field: str, value: str | None, hint: str | None
) -> None:
    error = error_of(await client.post(LAUNCH, content=body))
    assert error["field"] == field
    assert error.get("value") == value
    assert hint is None or error["hint"] == hint


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/machines?state=awake", "state"),
        ("/machines?label=tier", "label"),
        ("/machines?state=running&state=stopped", "state"),
        ("/operations?all=perhaps", "all"),
        ("/operations/x?wait_s=61", "wait_s"),
        ("/operations/x?wait_s=nan", "wait_s"),
        ("/events?limit=0", "limit"),
        ("/events?after=null", "after"),
        ("/machines/web/wait?until=happy", "until"),
        ("/machines/web/files?path=relative", "path"),
        ("/machines/web/files", "path"),
        ("/machines/web/log?bytes=999999999", "bytes"),
    ],
)
async def test_a_query_that_does_not_fit_is_refused_by_name(client: httpx.AsyncClient, path: str, field: str) -> None:
    assert error_of(await client.get(path))["field"] == field


async def test_a_body_of_another_type_is_refused(client: httpx.AsyncClient) -> None:
    error = error_of(await client.post("/disks", data={"name": "a"}))
    assert (error["field"], error["hint"]) == ("Content-Type", "send application/json")


async def test_paths_and_methods_that_are_not_there(client: httpx.AsyncClient) -> None:
    assert error_of(await client.get("/nothing"), 404)["code"] == "not-found"
    assert error_of(await client.get("/machines/"), 404)["code"] == "not-found"
    response = await client.put("/disks/data")
    error = error_of(response, 405)
    assert (error["code"], error["value"]) == ("invalid", "PUT")
    assert response.headers["Allow"] == "DELETE, GET"


async def test_an_image_may_be_called_like_a_path(client: httpx.AsyncClient) -> None:
    await done(client, await client.post("/images/build", json={"recipe": "micro", "name": "import"}))
    assert (await client.get("/images/import")).json()["name"] == "import"


async def test_what_the_engine_refuses_comes_through(client: httpx.AsyncClient) -> None:
    await furnish(client)
    assert error_of(await client.post("/machines", json={"spec": {"name": "web"}}), 409)["field"] == "name"
    assert error_of(await client.post("/machines/nothing/start"), 404)["subject"] == "machine nothing"
    too_large = {"spec": {"name": "big", "memory_mib": 4_000_000}}
    assert error_of(await client.post("/machines", json=too_large), 507)["code"] == "no-capacity"


async def test_what_nobody_foresaw_is_logged_and_not_told(
    house: Open, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def break_down() -> None:
        raise RuntimeError("the secret of the house")

    monkeypatch.setattr(house.host.facts, "capacity", break_down)
    response = await client.get("/host")
    assert error_of(response, 500)["code"] == "failed"
    assert "secret" not in response.text
    assert "the secret of the house" in caplog.text


async def test_an_unknown_project_is_not_found(house: Open) -> None:
    async with house.local("nobody") as client:
        assert error_of(await client.get("/machines"), 404)["field"] == "project"


def test_the_rows_bound_what_they_read() -> None:
    def limit(row: Row) -> int:
        return row.body_limit_bytes

    assert max(map(limit, TABLE)) <= 8 * 1024 * 1024
