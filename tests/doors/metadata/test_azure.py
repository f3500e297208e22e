"""Azure's dialect: the document and its parts, versions, what is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from tests.doors.metadata.asking import AZURE, a_call
from tests.doors.metadata.samples import BARE, KEY, WEB
from tests.golden.golden import Golden

from guesthouse.doors.metadata import azure
from guesthouse.doors.metadata.azure_table import VERSIONS
from guesthouse.doors.metadata.messages import Answer
from guesthouse.model.metadata import Asked

VERSION = "api-version=2021-08-01"


def get(asked: Asked, target: str, **more: Any) -> Answer:
    return azure.answer(a_call(asked, target, **{"headers": AZURE, **more}))


def document(asked: Asked, path: str = "", query: str = VERSION) -> Any:
    answer = get(asked, f"/metadata/instance{path}?{query}")
    assert (answer.status, answer.media_type) == (200, "application/json")
    return json.loads(answer.body)


@pytest.mark.parametrize(("name", "asked"), [("azure", WEB), ("azure-bare", BARE)])
def test_the_whole_document(golden: Golden, name: str, asked: Asked) -> None:
    golden(f"metadata/{name}.json", json.dumps(document(asked), indent=1) + "\n")


def test_parts_of_the_document() -> None:
    whole = document(WEB)
    assert document(WEB, "/compute") == whole["compute"]
    assert document(WEB, "/network/interface/0/ipv4/ipAddress/0") == {
        "privateIpAddress": "10.0.0.5",
        "publicIpAddress": "203.0.113.9",
    }
    assert document(WEB, "/compute/publicKeys/0/keyData") == KEY
    assert base64.b64decode(whole["compute"]["userData"]) == WEB.user_data


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("", "compute/\nnetwork/"),
        ("/compute/vmId", WEB.machine),
        ("/network/interface", "0/\n1/"),
        ("/compute/tags", "tier:front;team/owner:anna"),
    ],
)
def test_text(path: str, told: str) -> None:
    answer = get(WEB, f"/metadata/instance{path}?{VERSION}&format=text")
    assert (answer.status, answer.body.decode(), answer.media_type) == (200, told, "text/plain")


def test_labels_are_told_where_that_is_allowed() -> None:
    assert document(WEB)["compute"]["tagsList"][0] == {"name": "tier", "value": "front"}
    assert document(BARE)["compute"]["tagsList"] == []


def test_older_versions_have_what_there_was() -> None:
    assert sorted(VERSIONS) == VERSIONS
    assert "userData" not in document(WEB, "/compute", "api-version=2020-12-01")
    assert "userData" in document(WEB, "/compute", "api-version=2021-01-01")
    assert sorted(document(WEB, "/compute", "api-version=2017-04-02")) == [
        "location",
        "name",
        "osType",
        "vmId",
        "vmSize",
    ]


def test_versions() -> None:
    assert json.loads(get(WEB, "/metadata/versions").body) == {"apiVersions": VERSIONS}


@pytest.mark.parametrize("query", ["", "?api-version=", "?api-version=2030-01-01", "?api-version=2021-08-01x"])
def test_who_asks_for_no_version_is_told_the_newest(query: str) -> None:
    answer = get(WEB, f"/metadata/instance{query}")
    assert answer.status == 400
    assert json.loads(answer.body)["newest-versions"] == ["2023-11-15", "2023-07-01", "2021-12-13"]


@pytest.mark.parametrize(
    ("target", "more", "status"),
    [
        (f"/metadata/instance?{VERSION}", {"headers": {}}, 400),
        (f"/metadata/instance?{VERSION}", {"headers": {"Metadata": "false"}}, 400),
        (f"/metadata/instance?{VERSION}", {"method": "POST"}, 405),
        (f"/metadata/instance?{VERSION}&format=xml", {}, 400),
        (f"/metadata/instance/compute/nothing?{VERSION}", {}, 404),
        (f"/metadata/instance/network/interface/2?{VERSION}", {}, 404),
        (f"/metadata/attested/document?{VERSION}", {}, 404),
        (f"/metadata/identity/oauth2/token?{VERSION}", {}, 404),
        ("/metadata/versions/1", {}, 404),
        ("/metadata", {}, 404),
    ],
)
def test_refusals(target: str, more: dict[str, Any], status: int) -> None:
    answer = get(WEB, target, **more)
    assert (answer.status, answer.media_type) == (status, "application/json")
    assert json.loads(answer.body)["error"]
