"""Compute Engine's dialect: documents, trees as JSON and as text, what is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from tests.doors.metadata.asking import GOOGLE, a_call
from tests.doors.metadata.samples import BARE, KEY, OTHER_KEY, WEB
from tests.golden.golden import Golden

from guesthouse.doors.metadata import gce
from guesthouse.doors.metadata.gce import MAX_WAIT_S, Wait
from guesthouse.doors.metadata.messages import Answer
from guesthouse.model.metadata import Asked

V1 = "/computeMetadata/v1/"


def get(asked: Asked, path: str, **more: Any) -> Answer:
    return gce.answer(a_call(asked, path if path.startswith("/") else V1 + path, **{"headers": GOOGLE, **more}))


def text(asked: Asked, path: str) -> str:
    answer = get(asked, path)
    assert (answer.status, answer.media_type) == (200, "application/text")
    return answer.body.decode()


def document(asked: Asked, path: str = "?recursive=true") -> Any:
    answer = get(asked, path)
    assert (answer.status, answer.media_type) == (200, "application/json")
    return json.loads(answer.body)


@pytest.mark.parametrize(("name", "asked"), [("gce", WEB), ("gce-bare", BARE)])
def test_the_whole_tree(golden: Golden, name: str, asked: Asked) -> None:
    golden(f"metadata/{name}.json", json.dumps(document(asked), indent=1) + "\n")


@pytest.mark.parametrize(
    ("path", "listed"),
    [
        ("/", "computeMetadata/"),
        ("/computeMetadata/", "v1/"),
        (V1, "project/ instance/"),
        ("project/", "attributes/ numeric-project-id project-id"),
        ("instance/network-interfaces/", "0/ 1/"),
        ("instance/network-interfaces/1/access-configs/", ""),
        ("instance/attributes/", "ssh-keys user-data"),
        ("instance/service-accounts/", ""),
    ],
)
def test_listings(path: str, listed: str) -> None:
    assert text(WEB, path).splitlines() == listed.split()


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("instance/id", "8006323983116618861"),
        ("instance/hostname", "web.front.guest.internal"),
        ("instance/zone", "projects/42/zones/home-1a"),
        ("instance/machine-type", "projects/42/machineTypes/t3.small"),
        ("instance/network-interfaces/0/access-configs/0/external-ip", "203.0.113.9"),
        ("instance/network-interfaces/0/subnetmask", "255.255.255.0"),
        ("instance/network-interfaces/0/mtu", "1450"),
        ("instance/attributes/ssh-keys", f"debian:{KEY}\ndebian:{OTHER_KEY}"),
        ("instance/attributes/user-data", "#!/bin/sh\necho hello\n"),
        ("instance/tags", "[]"),
    ],
)
def test_documents(path: str, told: str) -> None:
    assert text(WEB, path) == told
    assert document(WEB, f"{path}?alt=json") == (json.loads(told) if told[0] in "[18" and "." not in told else told)


def test_user_data_that_is_no_text_is_said_to_be_encoded() -> None:
    odd = msgspec.structs.replace(WEB, user_data=b"\x1f\x8b\xff")
    attributes = document(odd, "instance/attributes/?recursive=True")
    assert base64.b64decode(attributes["user-data"]) == b"\x1f\x8b\xff"
    assert attributes["user-data-encoding"] == "base64"


def test_a_tree_as_text() -> None:
    lines = text(WEB, "instance/disks/?recursive=true&alt=text").splitlines()
    assert lines[:2] == ["0/device-name web", "0/index 0"]


def test_a_folder_without_slash_is_elsewhere() -> None:
    answer = get(WEB, "instance/attributes?recursive=true&alt=text")
    assert answer.status == 301
    assert dict(answer.headers)["Location"] == f"{V1}instance/attributes/?recursive=true&alt=text"


@pytest.mark.parametrize(
    ("path", "more", "status"),
    [
        ("instance/id", {"headers": {}}, 403),
        ("instance/id", {"headers": {"Metadata-Flavor": "google"}}, 403),
        ("instance/guest-attributes/a/b", {"method": "PUT"}, 405),
        ("instance/id", {"method": "POST"}, 405),
        ("instance/nothing", {}, 404),
        ("instance/service-accounts/default/token", {}, 404),
        ("/computeMetadata/v1beta1/instance/id", {}, 404),
        ("instance/id?alt=xml", {}, 400),
        ("?recursive=true&wait_for_change=true&timeout_sec=-1", {}, 400),
        ("?recursive=true&timeout_sec=soon", {}, 400),
    ],
)
def test_refusals(path: str, more: dict[str, Any], status: int) -> None:
    answer = get(WEB, path, **more)
    assert answer.status == status
    assert ("Metadata-Flavor", "Google") in answer.headers


def test_another_content_has_another_etag() -> None:
    told = [get(asked, "?recursive=true").etag for asked in (WEB, WEB, BARE)]
    assert told[0] == told[1] != told[2]
    assert ("ETag", told[0]) in get(WEB, "?recursive=true").headers


@pytest.mark.parametrize(
    ("query", "wait"),
    [
        ({}, None),
        ({"wait_for_change": "false"}, None),
        ({"wait_for_change": "true"}, Wait("", MAX_WAIT_S)),
        ({"wait_for_change": "True", "last_etag": "0", "timeout_sec": "5"}, Wait("0", 5)),
        ({"wait_for_change": "true", "timeout_sec": "999999"}, Wait("", MAX_WAIT_S)),
        ({"wait_for_change": "true", "timeout_sec": "x"}, None),
    ],
)
def test_what_is_waited_for(query: dict[str, str], wait: Wait | None) -> None:
    assert gce.wait_of(query) == wait
