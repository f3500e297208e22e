"""`guest tunnel`, and ssh through it: real processes, real ssh, and servers on the loopback in place of machines'."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.cli.conftest import MAIN, Guest
from tests.cli.test_processes import in_process, web
from tests.doors.native.conftest import Open
from tests.doors.native.test_streams import Serve, turn_round
from tests.patience import PATIENCE_S

__all__ = ["web"]

PORT, FORWARDED = 5432, 15432
TUNNEL = ("tunnel", "web", str(PORT))


@asynccontextmanager
async def leading_to(guest: Guest, house: Open, serve: Serve) -> AsyncIterator[None]:
    await guest.ok(f"forward add web {FORWARDED}:{PORT}")
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        house.host.streams.served["127.0.0.1", FORWARDED] = server.sockets[0].getsockname()[1]
        yield


async def test_a_tunnel_on_standard_streams(web: Guest, house: Open, tmp_path: Path) -> None:
    content = bytes(range(256)) * 8192
    given, taken = tmp_path / "given", tmp_path / "taken"
    given.write_bytes(content)
    async with leading_to(web, house, turn_round):
        ended = await in_process(web, *TUNNEL, "--stdio", stdin=content)
        assert (ended.returncode, ended.stderr) == (0, b"")
        assert ended.stdout == b"hello" + content[::-1]
        with given.open("rb") as stdin, taken.open("wb") as stdout:
            process = await asyncio.create_subprocess_exec(
                *MAIN, *TUNNEL, "--stdio", env=web.process_environment(), stdin=stdin, stdout=stdout
            )
            assert await process.wait() == 0
        assert taken.read_bytes() == b"hello" + content[::-1]


async def test_what_the_machine_has_said_ends_though_standard_input_goes_on(web: Guest, house: Open) -> None:
    async def take_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"bye " + await reader.readline())
        writer.close()

    async with leading_to(web, house, take_one):
        process = await asyncio.create_subprocess_exec(
            *MAIN, *TUNNEL, "--stdio", env=web.process_environment(),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin and process.stdout
        process.stdin.write(b"you\n")
        assert await process.stdout.read() == b"bye you\n"
        process.stdin.close()
        assert await process.wait() == 0


async def test_a_tunnel_listens_until_it_is_interrupted(web: Guest, house: Open) -> None:
    async with leading_to(web, house, turn_round), listening(web) as (process, address):
        assert address[0] == "127.0.0.1"
        assert process.stderr
        first, second = [await asyncio.open_connection(*address) for _ in range(2)]
        for reader, writer in (second, first):
            writer.write(b"abc")
            writer.write_eof()
            assert await reader.read() == b"hellocba"
            writer.close()
        house.host.streams.served.clear()
        reader, writer = await asyncio.open_connection(*address)
        assert await reader.read() == b""
        writer.close()
        assert b"takes no connections" in await process.stderr.readline()
        assert b"hint: " in await process.stderr.readline()


async def test_a_tunnel_is_interrupted_though_a_connection_is_open(web: Guest, house: Open) -> None:
    async with leading_to(web, house, turn_round), listening(web) as (process, address):
        reader, writer = await asyncio.open_connection(*address)
        assert await reader.readexactly(5) == b"hello"
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE_S):
            assert (await process.communicate(), process.returncode) == ((b"", b""), 0)
        assert await reader.read() == b""
        writer.close()


@asynccontextmanager
async def listening(guest: Guest) -> AsyncIterator[tuple[asyncio.subprocess.Process, tuple[str, int]]]:
    """`guest tunnel` that listens, and where; Ctrl-C ends it well."""
    process = await asyncio.create_subprocess_exec(
        *MAIN, *TUNNEL, env=guest.process_environment(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout
        told = (await process.stdout.readline()).decode()
        assert told.endswith(f" leads to port {PORT} of web; Ctrl-C ends that\n")
        host, _, port = told.split()[0].rpartition(":")
        yield process, (host, int(port))
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
            async with asyncio.timeout(PATIENCE_S):
                assert await process.wait() == 0


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("tunnel web 80 --stdio", 4, "neither a port of this host that leads to its port 80 nor"),
        ("tunnel nobody 80", 3, "there is no machine 'nobody'"),
        ("tunnel web 80 --stdio --listen 80", 2, "exclude each other"),
        ("tunnel web 0", 2, "is not a port"),
        ("tunnel web 80 --listen :80", 2, "names no address"),
        ("tunnel web 80 --listen 192.0.2.1:80", 7, "nobody can listen at 192.0.2.1:80"),
    ],
)
async def test_a_tunnel_that_cannot_be(web: Guest, line: str, code: int, said: str) -> None:
    ended = await in_process(web, *line.split())
    assert (ended.returncode, said in ended.stderr.decode()) == (code, True), ended


async def test_ssh_goes_through_the_house_where_it_must(web: Guest) -> None:
    await web.ok("network create shop --mode private")
    await web.ok("subnet create shop 10.1.0.0/24")
    await web.ok("launch --name db --network shop --until running")
    told = (await in_process(web, "shell", "db", "--", "-G")).stdout.decode().splitlines()
    proxy = next(line for line in told if line.startswith("proxycommand "))
    assert proxy.endswith(" tunnel --stdio db 22")
    assert f" GUESTHOUSE_HOME={web.home} " in proxy
    assert {"hostname db", "port 22", "stricthostkeychecking true"} <= set(told)
    assert (web.home / "ssh/default/db.known_hosts").read_text() == "db ssh-ed25519 AAAA\n"
    config = (await web.ok("ssh-config")).out
    assert f"    {proxy.replace('proxycommand', 'ProxyCommand')}\n" in config
    assert config.count("ProxyCommand") == 1


async def test_a_machine_of_a_house_on_another_box(web: Guest, house: Open, tmp_path: Path) -> None:
    token = (await web.ok("token create far --role operator")).out.strip()
    assert house.tcp.certificate is not None
    url = f"https://127.0.0.1:{house.tcp.port}"
    far = Guest(tmp_path / "far", GUESTHOUSE_TOKEN=token)
    known = ("--url", url, "--fingerprint", house.tcp.certificate.fingerprint)
    told = (await in_process(far, *known, "shell", "web", "--", "-G")).stdout.decode().splitlines()
    assert {"hostname web", "port 22", "identitiesonly no"} <= set(told)
    proxy = next(line for line in told if line.startswith("proxycommand "))
    assert f" --url {url} --fingerprint {known[-1]} tunnel --stdio web 22" in proxy
    assert token not in proxy
    assert (tmp_path / f"far/ssh/127.0.0.1:{house.tcp.port}/default/web.known_hosts").exists()
    async with leading_to(web, house, turn_round):
        ended = await in_process(far, *known, *TUNNEL, "--stdio", stdin=b"abc")
        assert (ended.returncode, ended.stdout) == (0, b"hellocba"), ended
        asked = list(house.host.streams.asked)
        wrong = await in_process(far, *known[:-1], "00" * 32, *TUNNEL, "--stdio")
        assert (wrong.returncode, b"another certificate" in wrong.stderr) == (5, True)
        unknown = await in_process(far, *known[:2], *TUNNEL, "--stdio")
        assert (unknown.returncode, b"is not trusted" in unknown.stderr) == (5, True)
        assert house.host.streams.asked == asked
