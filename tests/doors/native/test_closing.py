"""The door shuts without waiting for anybody, and whoever waits is answered.

Where an answer is expected, requests have all the time there is to end: a door that does not interrupt them hangs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.doors.native.conftest import Open, furnish
from tests.doors.native.samples import PATIENT
from tests.patience import PATIENCE_S
from websockets.asyncio.client import unix_connect
from websockets.exceptions import ConnectionClosed

from guesthouse.doors import serving
from guesthouse.doors.native.closing import Closed, Closing
from guesthouse.doors.native.listeners import bind_unix
from guesthouse.doors.native.server import serve


@pytest.fixture
def grace_s() -> int:
    """How long the door lets requests come to an end: without end, unless a test has it otherwise."""
    return 2 * int(PATIENCE_S)


@dataclass
class Second:
    """A second door of the same house, which a test may shut while its clients still wait."""

    path: Path
    client: httpx.AsyncClient
    stack: AsyncExitStack

    async def shut(self) -> None:
        """Shut it."""
        async with asyncio.timeout(PATIENCE_S):
            await self.stack.aclose()


@pytest.fixture
async def second(
    house: Open, client: httpx.AsyncClient, tmp_path: Path, grace_s: int, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Second]:
    path = tmp_path / "second.sock"
    await furnish(client)
    monkeypatch.setattr(serving, "GRACE_S", grace_s)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(serve(house.engine, [bind_unix(path)], house.door.clouds))
        transport = httpx.AsyncHTTPTransport(uds=str(path))
        async with httpx.AsyncClient(transport=transport, base_url="http://house/v1", timeout=PATIENCE_S) as asker:
            yield Second(path, asker, stack)


@asynccontextmanager
async def listened(house: Open, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[asyncio.Event]:
    """An event that is set when somebody begins to wait for a change."""
    begun, listen = asyncio.Event(), house.engine.changes.listen

    def spy(subject: str) -> Any:
        begun.set()
        return listen(subject)

    with monkeypatch.context() as patched:
        patched.setattr(house.engine.changes, "listen", spy)
        yield begun


async def test_a_long_poll_is_answered_with_what_is_known(
    house: Open, second: Second, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.host.machines.gates["pause"] = asyncio.Event()
    operation = (await second.client.post("/machines/web/pause")).json()
    path, told = f"/operations/{operation['id']}", operation
    while "gate" not in told["stamp"]:
        told = (await second.client.get(path, params={"wait_s": 10, "after": told["stamp"]})).json()
    async with listened(house, monkeypatch) as begun:
        poll = asyncio.ensure_future(second.client.get(path, params={"wait_s": 60, "after": told["stamp"]}))
        await begun.wait()
    await second.shut()
    assert (await poll).json() == told


async def test_a_program_in_the_guest_is_told_to_go_on_alone(house: Open, second: Second) -> None:
    house.host.guests.gate = asyncio.Event()
    running = asyncio.ensure_future(second.client.post("/machines/web/exec", json={"argv": ["sleep", "60"]}))
    await house.host.guests.entered.wait()
    await second.shut()
    assert (await running).json()["error"]["code"] == "failed"


async def test_websockets_are_told_that_the_daemon_stops(house: Open, second: Second) -> None:
    async with unix_connect(str(second.path), "ws://house/v1/machines/web/console", **PATIENT) as console:
        await console.send(b"x")
        assert await console.recv() == b"x"
        await second.shut()
        with pytest.raises(ConnectionClosed) as ended:
            await console.recv()
    assert ended.value.rcvd is not None
    assert ended.value.rcvd.code == 1012


@pytest.mark.parametrize("grace_s", [1])
async def test_a_transfer_is_broken_off_and_its_client_sees_that(house: Open, second: Second) -> None:
    files = house.host.files
    files.gate = asyncio.Event()
    machine = (await second.client.get("/machines/web")).json()
    files.contents[machine["id"], "/large"] = (b"x" * 100_000, None)
    async with second.client.stream("GET", "/machines/web/files", params={"path": "/large"}) as response:
        pieces = response.aiter_bytes()
        assert len(await anext(pieces)) > 0
        await second.shut()
        with pytest.raises(httpx.TransportError):
            async for _ in pieces:
                pass


async def test_the_socket_goes_with_the_door(second: Second) -> None:
    assert second.path.exists()
    await second.shut()
    assert not second.path.exists()


async def test_whoever_waits_is_interrupted_and_whoever_comes_later_too() -> None:
    closing, begun = Closing(), asyncio.Event()

    async def wait() -> str:
        try:
            async with closing.ends():
                begun.set()
                await asyncio.Event().wait()
        except Closed:
            return "closed"
        return "over"

    waiting = asyncio.ensure_future(wait())
    await begun.wait()
    closing.close()
    assert await waiting == "closed"
    assert await wait() == "closed"


async def test_a_time_limit_inside_stays_a_time_limit() -> None:
    with pytest.raises(TimeoutError):
        async with Closing().ends(), asyncio.timeout(0.01):
            await asyncio.Event().wait()
