"""Reaching a house: none there, another user's, one on another box, one that goes away."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest
from tests.cli.conftest import Guest
from tests.doors.native.conftest import Open

from guesthouse.cli.door import address, segment, told


async def test_without_a_daemon_the_way_to_start_one_is_told(tmp_path: Path) -> None:
    ended = await Guest(tmp_path)("list")
    assert (ended.code, ended.out) == (21, "")
    assert ended.err == (
        f"error: no daemon answers at {tmp_path}/guesthouse.sock\n"
        "hint: start it with `systemctl start guesthouse`, or `guest serve` in another terminal\n"
    )


async def test_a_dead_socket_is_no_daemon(tmp_path: Path) -> None:
    server = await asyncio.start_unix_server(lambda reader, writer: None, tmp_path / "guesthouse.sock")
    server.close()
    await server.wait_closed()
    assert (await Guest(tmp_path)("host check")).code == 21


async def test_version_is_told_without_a_daemon(tmp_path: Path) -> None:
    ended = await Guest(tmp_path).ok("version")
    assert ended.out.endswith("daemon: none answers\n")
    assert (await Guest(tmp_path).ok("version --json")).json["daemon"] is None


async def test_a_daemon_that_goes_away_while_waited_for_is_told(tmp_path: Path) -> None:
    operation = {
        "id": "7", "kind": "machine.start", "subject_kind": "machine", "subject_name": "web", "state": "running",
        "phase": "starting", "step": "start", "percent": None,
    }  # fmt: skip

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = json.dumps(operation).encode()
        writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await reader.readuntil(b"GET /v1/operations/7?")
        writer.close()

    async with await asyncio.start_unix_server(answer_once, tmp_path / "guesthouse.sock"):
        ended = await Guest(tmp_path)("start web")
    assert ended.code == 21
    assert "; start web goes on when the daemon is back\n" in ended.err
    assert "hint: `guest operation wait 7` follows it" in ended.err


async def test_projects_are_chosen_by_option_and_environment(guest: Guest) -> None:
    await guest.ok("project create shop")
    await guest.ok("disk create data 1G --project shop")
    assert (await guest.ok("disk list -q")).out == ""
    assert (await guest.ok("--project shop disk list -q")).out == "data\n"
    assert (await guest.ok("disk list -q", GUESTHOUSE_PROJECT="shop")).out == "data\n"
    assert (await guest.ok("disk list -q --project default", GUESTHOUSE_PROJECT="shop")).out == ""
    assert (await guest("disk list", GUESTHOUSE_PROJECT="nowhere")).code == 3


async def test_a_house_on_another_box_is_known_by_its_certificate(house: Open, guest: Guest, tmp_path: Path) -> None:
    token = (await guest.ok("token create far --role admin")).out.strip()
    await guest.ok("image build micro")
    await guest.ok("launch --name web")
    assert house.tcp.certificate is not None
    chain = house.tcp.certificate.chain
    far = {"GUESTHOUSE_URL": f"https://127.0.0.1:{house.tcp.port}", "GUESTHOUSE_TOKEN": token}

    assert (await guest.ok(f"--ca {chain} list -q", **far)).out == "web\n"
    fingerprint = house.tcp.certificate.fingerprint
    assert (await guest.ok("list -q", **far, GUESTHOUSE_FINGERPRINT=fingerprint)).out == "web\n"

    wrong = await guest("list", **far, GUESTHOUSE_FINGERPRINT="00" * 32)
    assert (wrong.code, "another certificate" in wrong.err) == (5, True)
    unknown = await guest("list", **far)
    assert (unknown.code, "is not trusted" in unknown.err) == (5, True)
    stranger = await guest(f"--ca {chain} list", **(far | {"GUESTHOUSE_TOKEN": "gh_wrong"}))
    assert stranger.code == 5
    assert (await guest("list", **(far | {"GUESTHOUSE_TOKEN": ""}))).code == 5
    assert (await guest("list", **(far | {"GUESTHOUSE_URL": "http://127.0.0.1"}))).code == 2
    assert (await guest(f"--ca {chain}.missing list", **far)).code == 2


def test_a_house_of_another_user_is_refused_with_what_to_do(tmp_path: Path) -> None:
    """Root may enter everywhere, so that it is somebody else for once; anyone else closes the folder to himself."""
    home = tmp_path / "house"
    home.mkdir(mode=0o700)
    guest = Guest(home)
    # Once to import what is needed: somebody else may not be able to read our modules.
    assert guest.run(["list"], b"", guest.environment).code == 21
    root = os.geteuid() == 0
    home.chmod(0o700 if root else 0)
    os.seteuid(65534 if root else os.geteuid())
    try:
        ended = guest.run(["list"], b"", guest.environment)
    finally:
        os.seteuid(0 if root else os.geteuid())
        home.chmod(0o700)
    assert ended.code == 5
    assert ended.err.endswith("belongs to another user\nhint: run guest as that user, or with sudo\n")


async def test_nobody_at_an_address(guest: Guest) -> None:
    ended = await guest("list", GUESTHOUSE_URL="https://127.0.0.1:1", GUESTHOUSE_TOKEN="x")
    assert (ended.code, "check GUESTHOUSE_URL" in ended.err) == (21, True)


def test_names_never_reach_another_resource() -> None:
    assert segment("../keys?x") == "..%2Fkeys%3Fx"
    assert address("/machines", {"keep_disks": True, "label": "a=b c"}) == "/v1/machines?keep_disks=true&label=a%3Db+c"


@pytest.mark.parametrize("body", [b"", b"<html>busy</html>", b'{"error": "no"}', b"[]"])
def test_an_answer_that_is_no_error_document_is_shown_by_its_status(body: bytes) -> None:
    assert told(503, body).message.startswith("the door answered 503 Service Unavailable")
