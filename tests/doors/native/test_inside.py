"""Reaching into machines: programs, files, logs, the screen."""

from __future__ import annotations

import base64
import io
from collections.abc import AsyncIterator

import httpx
import pytest
from PIL import Image
from tests.doors.native.conftest import Open, done, furnish

FILES = "/machines/web/files"


async def test_a_program_has_arguments_environment_and_streams(client: httpx.AsyncClient) -> None:
    await furnish(client)
    told = await client.post(
        "/machines/web/exec",
        json={
            "argv": ["env", "-i"],
            "stdin": base64.b64encode(b"\x00in").decode(),
            "environment": ["A=1"],
            "timeout_s": 5,
        },
    )
    assert told.json() == {
        "exit_status": 3,
        "stdout": base64.b64encode(b"env\n-i\nA=1").decode(),
        "stderr": base64.b64encode(b"\x00in").decode(),
    }


@pytest.mark.parametrize("body", [{"argv": []}, {"argv": ["a"], "timeout_s": 0}, {"argv": ["a"], "stdin": "?"}])
async def test_a_command_that_cannot_be_is_refused(client: httpx.AsyncClient, body: dict[str, object]) -> None:
    assert (await client.post("/machines/web/exec", json=body)).status_code == 400


async def test_files_are_streamed_in_and_out(house: Open, client: httpx.AsyncClient) -> None:
    machine = await furnish(client)
    pieces = [bytes([number]) * 60_000 for number in range(50)]

    async def content() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    written = await client.put(FILES, params={"path": "/srv/a b", "mode": "0755"}, content=content())
    assert (written.status_code, written.content) == (204, b"")
    assert house.host.files.contents[machine["id"], "/srv/a b"] == (b"".join(pieces), 0o755)
    read = await client.get(FILES, params={"path": "/srv/a b"})
    assert read.headers["Content-Type"] == "application/octet-stream"
    assert read.content == b"".join(pieces)


async def test_an_empty_file_is_a_file(house: Open, client: httpx.AsyncClient) -> None:
    await furnish(client)
    assert (await client.put(FILES, params={"path": "/empty"})).status_code == 204
    assert (await client.get(FILES, params={"path": "/empty"})).content == b""


async def test_a_file_that_is_not_there_is_told_before_a_byte_is_sent(client: httpx.AsyncClient) -> None:
    await furnish(client)
    missing = await client.get(FILES, params={"path": "/nothing"})
    assert (missing.status_code, missing.json()["error"]["value"]) == (404, "/nothing")


async def test_logs_are_text_and_as_long_as_asked_for(client: httpx.AsyncClient) -> None:
    await furnish(client)
    log = await client.get("/machines/web/log")
    assert log.content == b"login: \xff\n"
    assert log.headers["Content-Type"].startswith("text/plain")
    assert (await client.get("/machines/web/log", params={"bytes": 2})).content == b"\xff\n"
    assert b"qemu" in (await client.get("/machines/web/log", params={"qemu": "true"})).content


async def test_the_screen_is_where_the_host_says(client: httpx.AsyncClient) -> None:
    machine = await furnish(client)
    assert (await client.get("/machines/web/screen")).status_code == 409
    await done(client, await client.patch("/machines/web", json={"screen": True}))
    await done(client, await client.post("/machines/web/restart"))
    assert (await client.get("/machines/web/screen")).json() == {"path": f"/fake/{machine['id']}/screen"}


async def test_what_the_screen_shows_is_a_picture(client: httpx.AsyncClient) -> None:
    await furnish(client)
    refused = await client.get("/machines/web/screenshot")
    assert (refused.status_code, refused.json()["error"]["field"]) == (409, "screen")
    await done(client, await client.patch("/machines/web", json={"screen": True}))
    await done(client, await client.post("/machines/web/restart"))
    shown = await client.get("/machines/web/screenshot")
    assert shown.headers["Content-Type"] == "image/png"
    with Image.open(io.BytesIO(shown.content)) as seen:
        assert (seen.size, seen.tobytes()) == ((2, 1), b"\xff\x00\x00\x00\x00\xff")


async def test_what_is_not_running_has_no_inside(client: httpx.AsyncClient) -> None:
    await furnish(client)
    await done(client, await client.post("/machines/web/stop"))
    for path in ("/machines/web/ssh", "/machines/web/screen", f"{FILES}?path=/etc/hostname"):
        assert (await client.get(path)).status_code == 409, path
