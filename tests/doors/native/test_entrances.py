"""Who is let in: the unix socket, tokens over TLS, and how failures are slowed down."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
from pathlib import Path

import httpx
import pytest
from tests.doors.native.conftest import Open, furnish

from guesthouse.doors import serving
from guesthouse.doors.native import server
from guesthouse.doors.native.certificates import Certificate, ensure
from guesthouse.doors.native.entrance import MAX_ADDRESSES, Failures
from guesthouse.doors.native.listeners import MAX_PATH_BYTES, bind_tcp, bind_unix
from guesthouse.doors.native.server import serve
from guesthouse.model.errors import Conflict, Denied, Invalid


async def secret(client: httpx.AsyncClient, role: str = "operator") -> str:
    return str((await client.post("/tokens", json={"name": role, "role": role})).json()["secret"])


# --- the unix socket -----------------------------------------------------------------------------------------


def test_the_socket_is_for_its_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        listener = bind_unix(tmp_path / "open.sock")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "open.sock").stat().st_mode) == 0o600
    listener.close()
    assert not (tmp_path / "open.sock").exists()


def test_the_socket_of_a_dead_daemon_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    listener = bind_unix(path)
    with socket.socket(socket.AF_UNIX) as asker:
        asker.connect(str(path))
    listener.close()


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "letter"
    path.write_text("dear house")
    with pytest.raises(Conflict, match="in the way"):
        bind_unix(path)
    assert path.read_text() == "dear house"


def test_a_path_that_no_socket_can_have_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(Invalid) as refused:
        bind_unix(tmp_path / ("x" * MAX_PATH_BYTES))
    assert refused.value.field == "GUESTHOUSE_HOME"


async def test_another_user_at_the_socket_is_turned_away(
    house: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(server, "_ROOT", 4242)
    monkeypatch.setattr("os.geteuid", lambda: 4242)
    path = tmp_path / "other.sock"
    async with serve(house.engine, [bind_unix(path)], house.door.clouds):
        transport = httpx.AsyncHTTPTransport(uds=str(path))
        async with httpx.AsyncClient(transport=transport, base_url="http://house/v1") as asker:
            refused = await asker.get("/machines")
    assert refused.status_code == 403
    assert refused.json()["error"]["value"] == str(os.getuid())


# --- TCP -----------------------------------------------------------------------------------------------------


async def test_a_token_says_who_asks_and_in_which_project(house: Open, client: httpx.AsyncClient) -> None:
    await client.post("/projects", json={"name": "lab"})
    async with house.local("lab") as lab:
        token = await secret(lab)
    async with house.remote(token) as remote:
        assert (await remote.get("/house")).json()["project"] == "lab"
    async with house.remote(token, "lab") as remote:
        assert (await remote.get("/house")).json()["project"] == "lab"
    async with house.remote(token, "default") as remote:
        assert (await remote.get("/house")).status_code == 404


@pytest.mark.parametrize("path", ["/house", "/nothing", "/metrics"])
async def test_without_a_token_nothing_is_told(house: Open, path: str) -> None:
    for token in ("", "gh_wrong"):
        async with house.remote(token) as stranger:
            refused = await stranger.get(path)
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"].startswith("Bearer")
        assert refused.json()["error"]["code"] == "denied"


async def test_a_deleted_token_opens_nothing(house: Open, client: httpx.AsyncClient) -> None:
    token = await secret(client)
    async with house.remote(token) as remote:
        assert (await remote.get("/machines")).status_code == 200
        await client.delete("/tokens/operator")
        assert (await remote.get("/machines")).status_code == 401


async def test_another_scheme_is_refused_by_name(house: Open) -> None:
    async with house.remote("") as stranger:
        refused = await stranger.get("/house", headers={"Authorization": "Basic YTpi"})
    assert (refused.status_code, refused.json()["error"]["field"]) == (400, "Authorization")


async def test_plain_http_gets_no_answer(house: Open) -> None:
    async with httpx.AsyncClient() as plain:
        with pytest.raises(httpx.TransportError):
            await plain.get(f"http://127.0.0.1:{house.tcp.port}/v1/house")


async def test_the_key_file_is_told_on_the_host_only(house: Open, client: httpx.AsyncClient) -> None:
    machine = await furnish(client)
    told = (await client.get("/machines/web/ssh")).json()
    assert told["identity_file"] == f"/fake/keys/{machine['project']}"
    assert told["port"] == machine["ssh_port"]
    assert str(told["port"]) in told["known_hosts"]
    async with house.remote(await secret(client)) as remote:
        away = {"host": "web", "port": 22, "tunnel": True, "known_hosts": "web ssh-ed25519 AAAA"}
        assert (await remote.get("/machines/web/ssh")).json() == {**told, **away, "identity_file": ""}


async def test_no_token_is_logged(house: Open, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    token = await secret(client)
    with caplog.at_level(logging.DEBUG):
        for logger in (logging.getLogger("uvicorn.error"), logging.getLogger("guesthouse")):
            logger.setLevel(logging.DEBUG)
        async with house.remote(token) as remote:
            await remote.get("/house")
        async with house.remote("gh_almost") as stranger:
            await stranger.get("/house")
    assert token not in caplog.text
    assert "gh_almost" not in caplog.text


# --- failures ------------------------------------------------------------------------------------------------


async def test_an_address_that_keeps_failing_is_turned_away(house: Open, client: httpx.AsyncClient) -> None:
    token = await secret(client)
    async with house.remote("gh_wrong") as guesser:
        for _ in range(10):
            assert "not known" in (await guesser.get("/house")).text
        assert "attempts from 127.0.0.1 failed" in (await guesser.get("/house")).text
    async with house.remote(token) as remote:
        assert (await remote.get("/house")).status_code == 401
    assert (await client.get("/house")).status_code == 200


def test_failures_are_forgotten_after_their_window() -> None:
    now = 100.0
    failures = Failures(limit=2, window_s=60, clock=lambda: now)
    for _ in range(2):
        failures.check("a")
        failures.add("a")
    with pytest.raises(Denied) as refused:
        failures.check("a")
    assert refused.value.hint == "try again in 60 s"
    failures.check("b")
    now = 161.0
    failures.check("a")
    failures.add("a")
    failures.check("a")


def test_only_so_many_addresses_are_remembered() -> None:
    failures = Failures(limit=1, clock=lambda: 0.0)
    for number in range(MAX_ADDRESSES + 1):
        failures.add(str(number))
    failures.check("0")
    with pytest.raises(Denied):
        failures.check("1")


# --- certificates --------------------------------------------------------------------------------------------


def test_a_house_makes_its_certificate_once_and_keeps_the_key_to_itself(tmp_path: Path) -> None:
    first = ensure(tmp_path / "tls", ["house.example.org", "192.0.2.1", "::1"])
    fingerprint = first.fingerprint
    assert stat.S_IMODE(first.key.stat().st_mode) == 0o600
    assert ensure(tmp_path / "tls", ["elsewhere"]).fingerprint == fingerprint
    assert len(bytes.fromhex(fingerprint)) == 32
    assert sorted(path.name for path in (tmp_path / "tls").iterdir()) == ["certificate.pem", "key.pem"]


async def test_the_fingerprint_is_that_of_the_certificate_shown(house: Open) -> None:
    import hashlib

    _, writer = await asyncio.open_connection("127.0.0.1", house.tcp.port, ssl=house.trust())
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    assert house.tcp.certificate is not None
    assert hashlib.sha256(shown).hexdigest() == house.tcp.certificate.fingerprint


def test_what_is_no_certificate_is_refused(tmp_path: Path) -> None:
    (tmp_path / "chain").write_text("hello")
    with pytest.raises(Invalid, match="not a PEM certificate"):
        _ = Certificate(tmp_path / "chain", tmp_path / "key").fingerprint


def test_a_key_of_another_certificate_is_refused_before_anything_listens(tmp_path: Path) -> None:
    one, other = ensure(tmp_path / "one", ["localhost"]), ensure(tmp_path / "other", ["localhost"])
    for key in (other.key, tmp_path / "none"):
        with pytest.raises(Invalid) as refused:
            bind_tcp("127.0.0.1", 0, Certificate(one.chain, key))
        assert refused.value.field == "certificate"


async def test_a_connection_that_says_nothing_is_closed(
    house: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(serving, "IDLE_S", 0)
    async with serve(house.engine, [bind_unix(tmp_path / "idle.sock")], house.door.clouds):
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "idle.sock"))
        assert await reader.read() == b""
        writer.close()


def test_a_port_in_use_is_told(house: Open) -> None:
    assert house.tcp.certificate is not None
    with pytest.raises(Conflict) as refused:
        bind_tcp("127.0.0.1", house.tcp.port, house.tcp.certificate)
    assert refused.value.field == "listen"
