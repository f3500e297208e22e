"""Streams to ports of machines: real connections to servers on the loopback, which stand for those of machines."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
from tests.doors.native.conftest import Open, done, furnish
from tests.doors.native.samples import socket_to
from tests.doors.native.test_sessions import closed
from tests.patience import PATIENCE_S
from websockets.exceptions import InvalidStatus

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
PORT = 5432
PATH = f"/machines/web/ports/{PORT}/stream"


@asynccontextmanager
async def a_server(house: Open, client: httpx.AsyncClient, serve: Serve) -> AsyncIterator[None]:
    """A machine `web` whose port leads to a server that does this with each connection."""
    machine = await furnish(client)
    forward = {"forward": {"guest_port": PORT, "host_port": 15432}}
    await done(client, await client.post(f"/machines/{machine['name']}/forwards", json=forward))
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        house.host.streams.served["127.0.0.1", 15432] = server.sockets[0].getsockname()[1]
        yield


async def turn_round(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say something; then, when the other side has said all, all of that backwards."""
    writer.write(b"hello")
    writer.write((await reader.read())[::-1])
    writer.close()


async def test_each_direction_ends_by_itself(house: Open, client: httpx.AsyncClient) -> None:
    async with a_server(house, client, turn_round), socket_to(house, client, PATH) as stream:
        assert await stream.recv() == b"hello"
        await stream.send(b"abc")
        await stream.send(b"def")
        await stream.send(b"")
        assert await stream.recv() == b"fedcba"
        assert await stream.recv() == b""
        assert await closed(stream) == (1000, "both sides have said all")
        assert house.host.streams.asked == [("", "127.0.0.1", 15432)]


async def test_a_machine_that_has_said_all_still_listens(house: Open, client: httpx.AsyncClient) -> None:
    taken = asyncio.get_running_loop().create_future()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write_eof()
        taken.set_result(await reader.read())
        writer.close()

    async with a_server(house, client, listen), socket_to(house, client, PATH) as stream:
        assert await stream.recv() == b""
        await stream.send(b"later")
        await stream.send(b"")
        assert await taken == b"later"
        assert (await closed(stream))[0] == 1000


async def test_a_stream_over_tls(house: Open, client: httpx.AsyncClient) -> None:
    secret = (await client.post("/tokens", json={"name": "ops"})).json()["secret"]
    headers = {"Authorization": f"Bearer {secret}"}
    async with (
        a_server(house, client, turn_round),
        house.remote(secret) as remote,
        socket_to(house, remote, PATH, headers) as stream,
    ):
        assert await stream.recv() == b"hello"


async def test_a_slow_side_slows_down_the_other(house: Open, client: httpx.AsyncClient) -> None:
    """Much more than all buffers hold, both ways at once; nobody reads at first."""
    size, sent = 24 << 20, {"out": 0, "in": 0}
    go = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def pour() -> None:
            while sent["out"] < size:
                writer.write(b"o" * 65536)
                await writer.drain()
                sent["out"] += 65536
            writer.write_eof()

        pouring = asyncio.create_task(pour())
        await go.wait()
        while await reader.read(1 << 20):
            pass
        await pouring
        writer.close()

    async with a_server(house, client, serve), socket_to(house, client, PATH) as stream:

        async def push() -> None:
            while sent["in"] < size:
                await stream.send(b"i" * 32768)
                sent["in"] += 32768
            await stream.send(b"")

        pushing = asyncio.create_task(push())
        await standing(client, sent)
        assert 0 < sent["out"] < size
        assert 0 < sent["in"] < size
        go.set()
        got = 0
        async with asyncio.timeout(PATIENCE_S):
            while data := await stream.recv():
                got += len(data)
            await pushing
        assert (got, sent) == (size, {"out": size, "in": size})


async def standing(client: httpx.AsyncClient, sent: dict[str, int]) -> None:
    """Wait until nothing moves for some round trips' time."""
    before: dict[str, int] = {}
    while before != sent:
        before = dict(sent)
        for _ in range(20):
            await client.get("/house")


async def test_nobody_at_the_port_is_told_before_the_handshake(house: Open, client: httpx.AsyncClient) -> None:
    async with a_server(house, client, turn_round):
        house.host.streams.served.clear()
        for path, status, said in (
            (PATH, 409, "takes no connections"),
            ("/machines/web/ports/80/stream", 409, "neither a port of this host that leads to its port 80 nor"),
            ("/machines/web/ports/0/stream", 400, "port"),
            ("/machines/none/ports/80/stream", 404, "no machine"),
        ):
            with pytest.raises(InvalidStatus) as refused:
                await socket_to(house, client, path)
            assert refused.value.response.status_code == status
            assert said in json.loads(refused.value.response.body or b"")["error"]["message"]


@pytest.mark.parametrize("how", ["stop", "delete"])
async def test_a_stream_ends_with_its_machine(house: Open, client: httpx.AsyncClient, how: str) -> None:
    gone = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        gone.set()
        writer.close()

    async with a_server(house, client, hold), socket_to(house, client, PATH) as stream:
        asked = client.post("/machines/web/stop") if how == "stop" else client.delete("/machines/web")
        await done(client, await asked)
        assert await closed(stream) == (1000, "the machine is gone")
        await gone.wait()


async def test_a_connection_that_breaks_is_told(house: Open, client: httpx.AsyncClient) -> None:
    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        reset = b"\1\0\0\0\0\0\0\0"  # SO_LINGER of no time: close(2) says RST
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        writer.transport.abort()

    async with a_server(house, client, break_off), socket_to(house, client, PATH) as stream:
        await stream.send(b"x")
        code, reason = await closed(stream)
        assert (code, "broke" in reason) == (1011, True)


async def test_a_client_that_goes_away_is_told_to_the_machine(house: Open, client: httpx.AsyncClient) -> None:
    ended = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        ended.set()
        writer.close()

    async with a_server(house, client, hold):
        async with socket_to(house, client, PATH):
            pass
        async with asyncio.timeout(PATIENCE_S):
            await ended.wait()


async def test_a_stream_takes_no_text(house: Open, client: httpx.AsyncClient) -> None:
    async with a_server(house, client, turn_round), socket_to(house, client, PATH) as stream:
        await stream.recv()
        await stream.send("text")
        assert (await closed(stream))[0] == 1003
