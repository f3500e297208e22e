"""Websockets: the console and the flow of events."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from tests.doors.native.conftest import Open, done, furnish
from tests.doors.native.samples import socket_to
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

CONSOLE = "/machines/web/console"


async def test_the_console_carries_bytes_both_ways_to_all_who_look(house: Open, client: httpx.AsyncClient) -> None:
    machine = await furnish(client)
    console = house.host.guests.consoles[machine["id"]]
    async with socket_to(house, client, CONSOLE) as socket:
        console.said.put_nowait(b"login: \xff")
        assert await socket.recv() == b"login: \xff"
        await socket.send(b"root\r")
        assert await socket.recv() == b"root\r"
        assert bytes(console.written) == b"root\r"


async def test_the_console_over_tls(house: Open, client: httpx.AsyncClient) -> None:
    await furnish(client)
    secret = (await client.post("/tokens", json={"name": "ops"})).json()["secret"]
    async with house.remote(secret) as remote:
        headers = {"Authorization": f"Bearer {secret}"}
        async with socket_to(house, remote, CONSOLE, headers) as socket:
            await socket.send(b"hello")
            assert await socket.recv() == b"hello"


async def test_the_console_ends_when_the_machine_is_gone(house: Open, client: httpx.AsyncClient) -> None:
    machine = await furnish(client)
    async with socket_to(house, client, CONSOLE) as socket:
        house.host.guests.consoles[machine["id"]].said.put_nowait(b"")
        assert await closed(socket) == (1000, "the machine is gone")


async def test_text_is_no_console_input(house: Open, client: httpx.AsyncClient) -> None:
    await furnish(client)
    async with socket_to(house, client, CONSOLE) as socket:
        await socket.send("root")
        assert (await closed(socket))[0] == 1003


async def test_a_frame_that_is_too_large_is_refused(house: Open, client: httpx.AsyncClient) -> None:
    await furnish(client)
    async with socket_to(house, client, CONSOLE) as socket:
        await socket.send(b"x" * 100_000)
        assert (await closed(socket))[0] == 1009


@pytest.mark.parametrize(("path", "status"), [(CONSOLE, 409), ("/machines/nothing/console", 404), ("/nothing", 404)])
async def test_a_console_that_cannot_be_is_refused_before_the_handshake(
    house: Open, client: httpx.AsyncClient, path: str, status: int
) -> None:
    await furnish(client)
    await done(client, await client.post("/machines/web/stop"))
    with pytest.raises(InvalidStatus) as refused:
        await socket_to(house, client, path)
    assert refused.value.response.status_code == status
    assert json.loads(refused.value.response.body or b"")["error"]["message"]


async def test_events_are_told_from_a_number_on_and_as_they_happen(house: Open, client: httpx.AsyncClient) -> None:
    await furnish(client)
    past = (await client.get("/events")).json()["items"]
    assert [event["number"] for event in past] == sorted(event["number"] for event in past)
    async with socket_to(house, client, f"/events?after={past[1]['number']}") as socket:
        assert [json.loads(await socket.recv()) for _ in past[2:]] == past[2:]
        await done(client, await client.post("/machines/web/pause"))
        assert json.loads(await socket.recv())["kind"] == "machine.pause.accepted"
        assert json.loads(await socket.recv())["kind"] == "machine.pause.done"


async def test_events_are_told_from_now_on_where_no_number_is_said(house: Open, client: httpx.AsyncClient) -> None:
    await furnish(client)
    async with socket_to(house, client, "/events") as socket:
        await done(client, await client.post("/machines/web/pause"))
        assert json.loads(await socket.recv())["kind"] == "machine.pause.accepted"


async def test_events_take_nothing(house: Open, client: httpx.AsyncClient) -> None:
    async with socket_to(house, client, "/events") as socket:
        await socket.send("hello")
        assert (await closed(socket))[0] == 1003


async def test_a_slow_reader_stops_the_console_from_being_read(house: Open, client: httpx.AsyncClient) -> None:
    machine = await furnish(client)
    console = house.host.guests.consoles[machine["id"]]
    chunk = b"x" * 32 * 1024
    for _ in range(400):
        console.said.put_nowait(chunk)
    async with socket_to(house, client, CONSOLE) as socket:
        await socket.recv()
        level = console.said.qsize()
        while (now := await level_after(client, console.said)) < level:
            level = now
        assert level > 200, "the door reads on though nobody takes what it sends"
        for _ in range(399):
            assert await socket.recv() == chunk


async def level_after(client: httpx.AsyncClient, queue: asyncio.Queue[bytes]) -> int:
    """How full the queue is after the daemon had a round trip's time to read on."""
    for _ in range(5):
        await client.get("/house")
    return queue.qsize()


async def closed(socket: ClientConnection) -> tuple[int, str]:
    """How the other side closes the websocket."""
    with pytest.raises(ConnectionClosed) as ended:
        while True:
            await socket.recv()
    assert ended.value.rcvd is not None
    return ended.value.rcvd.code, ended.value.rcvd.reason
