"""The service on real sockets: who asks, HTTP, waiting for changes, guests that flood it or go silent."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import msgspec
import pytest
from tests.doors.metadata.asking import GOOGLE, TOKEN, TTL, Book, serving
from tests.doors.metadata.samples import BARE, EC2_ONLY, FREE, STRICT, WEB
from tests.patience import PATIENCE_S

from guesthouse.doors.metadata import application, conversation
from guesthouse.doors.metadata.limits import MAX_CONNECTIONS
from guesthouse.doors.metadata.server import MetadataService, plain_address
from guesthouse.model.errors import Failed
from guesthouse.model.metadata import Asked, MetadataOptions

OPEN_BARE = msgspec.structs.replace(BARE, options=FREE)
WEB_AT, BARE_AT, NOBODY_AT = "127.0.0.2", "127.0.0.3", "127.0.0.4"
GOOGLE_LINE = "Metadata-Flavor: Google\r\n"
ID, TREE = "/latest/meta-data/instance-id", "/computeMetadata/v1/?recursive=true"


@dataclass
class Place:
    """The service with the networks ``front`` and ``back``, as ports of the loopback."""

    book: Book
    service: MetadataService
    front: int
    back: int

    @asynccontextmanager
    async def client(self, at: str = WEB_AT, *, back: bool = False) -> AsyncIterator[httpx.AsyncClient]:
        """A guest with this address, on the network ``front`` or ``back``."""
        transport = httpx.AsyncHTTPTransport(local_address=at)
        base = f"http://127.0.0.1:{self.back if back else self.front}"
        async with httpx.AsyncClient(transport=transport, base_url=base, timeout=PATIENCE_S) as client:
            yield client

    async def connect(self, at: str = WEB_AT) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.front, local_addr=(at, 0))

    async def say(self, said: bytes, at: str = WEB_AT) -> bytes:
        """All that is answered to these bytes until the connection ends."""
        reader, writer = await self.connect(at)
        writer.write(said)
        async with asyncio.timeout(PATIENCE_S):
            answer = await reader.read()
        writer.close()
        return answer


def listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    book = Book()
    book.write("front", WEB_AT, WEB)
    book.write("front", BARE_AT, OPEN_BARE)
    book.write("back", WEB_AT, OPEN_BARE)
    front, back = listener(), listener()
    async with serving(book) as service:
        await service.open("front", [front])
        await service.open("back", [back])
        yield Place(book, service, front.getsockname()[1], back.getsockname()[1])


def strict(asked: Asked) -> Asked:
    return msgspec.structs.replace(asked, options=STRICT)


# --- who asks -------------------------------------------------------------------------------------------------


async def test_the_same_address_is_another_machine_on_another_network(place: Place) -> None:
    async with place.client() as front, place.client(back=True) as back:
        assert (await front.get(ID)).text == "i-6f1c2d3e4a5b4c6d8"
        assert (await back.get(ID)).text == "i-00112233445546778"
        assert (await front.get(TREE, headers=GOOGLE)).json()["instance"]["name"] == "web"
        assert (await back.get(TREE, headers=GOOGLE)).json()["instance"]["name"] == "bare"


async def test_another_tenants_token_opens_nothing(place: Place) -> None:
    place.book.write("front", WEB_AT, strict(WEB))
    place.book.write("back", WEB_AT, strict(BARE))
    async with place.client() as front, place.client(back=True) as back:
        token = (await front.put("/latest/api/token", headers={TTL: "60"})).text
        assert (await front.get(ID, headers={TOKEN: token})).text == "i-6f1c2d3e4a5b4c6d8"
        assert (await back.get(ID, headers={TOKEN: token})).status_code == 401


@pytest.mark.parametrize("target", ["/", ID, "/nothing", TREE, "/metadata/versions"])
async def test_strangers_learn_nothing(place: Place, target: str) -> None:
    async with place.client(NOBODY_AT) as client:
        assert (await client.get(target, headers={**GOOGLE, "Metadata": "true"})).status_code == 404
        assert (await client.put("/latest/api/token", headers={TTL: "60"})).status_code == 404


async def test_a_machine_that_is_gone_learns_nothing_more_on_the_same_connection(place: Place) -> None:
    async with place.client() as client:
        assert (await client.get(ID)).status_code == 200
        place.book.strike("front", WEB_AT)
        assert (await client.get(ID)).status_code == 404


@pytest.mark.parametrize(
    ("peer", "address"),
    [("10.0.0.5", "10.0.0.5"), ("::ffff:10.0.0.5", "10.0.0.5"), ("fd00::0005", "fd00::5"), ("fe80::1%eth0", "fe80::1")],
)
def test_addresses_are_written_as_the_register_has_them(peer: str, address: str) -> None:
    assert plain_address(peer) == address


# --- what everybody is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "headers", "status"),
    [
        (FREE, {}, 200),
        (FREE, {"Host": "instance-data"}, 200),
        (FREE, {"Host": "[fd00:ec2::254]:80"}, 200),
        (FREE, {"Host": "rebound.example.org"}, 403),
        (FREE, {"X-Forwarded-For": "10.0.0.9"}, 403),
        (MetadataOptions(enabled=False, tokens_required=False), {}, 403),
        (MetadataOptions(dialects=(), tokens_required=False), {}, 403),
        (MetadataOptions(ipv6=False, tokens_required=False), {}, 200),
    ],
)
async def test_what_everybody_is_refused(
    place: Place, options: MetadataOptions, headers: dict[str, str], status: int
) -> None:
    place.book.write("front", WEB_AT, msgspec.structs.replace(WEB, options=options))
    async with place.client() as client:
        assert (await client.get(ID, headers=headers)).status_code == status


async def test_dialects_that_a_machine_may_not_speak(place: Place) -> None:
    place.book.write("front", WEB_AT, msgspec.structs.replace(WEB, options=EC2_ONLY))
    async with place.client() as client:
        assert (await client.put("/latest/api/token", headers={TTL: "60"})).status_code == 200
        assert (await client.get(TREE, headers=GOOGLE)).status_code == 403
        assert (await client.get("/", headers=GOOGLE)).status_code == 403
        assert (await client.get("/metadata/versions", headers={"Metadata": "true"})).status_code == 403


# --- HTTP -----------------------------------------------------------------------------------------------------


async def test_a_connection_is_kept(place: Place) -> None:
    said = f"GET {ID} HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n".encode()
    last = said.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    answer = await place.say(said + said + last)
    assert answer.count(b"HTTP/1.1 200") == 3
    assert answer.count(b"\r\n\r\ni-6f1c2d3e4a5b4c6d8") == 3


@pytest.mark.parametrize("target", [ID, "/latest/user-data", "/nothing", "/computeMetadata/v1/instance/id"])
async def test_head_has_the_headers_of_get(place: Place, target: str) -> None:
    async with place.client() as client:
        get, head = await client.get(target), await client.head(target)
        assert (head.status_code, head.content) == (get.status_code, b"")
        names = ("content-length", "content-type")
        assert [head.headers[name] for name in names] == [get.headers[name] for name in names]
        assert (await client.get(ID)).text == "i-6f1c2d3e4a5b4c6d8"


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"GET " + ID.encode() + b" HTTP/1.0\r\n\r\n", 200),
        (b"GET http://169.254.169.254" + ID.encode() + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 403),
        (b"GET http://169.254.169.254" + ID.encode() + b" HTTP/1.0\r\n\r\n", 200),
        (b"GET ftp://169.254.169.254/ HTTP/1.0\r\n\r\n", 400),
        (b"OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 400),
        (b"CONNECT example.org:443 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"HEAD no-path HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 400),
        (b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X-A: b\r\n" * 3000 + b"\r\n", 431),
        (b"PUT / HTTP/1.0\r\nContent-Length: 5000\r\n\r\n" + b"a" * 5000, 413),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n", 505),
    ],
)
async def test_odd_and_hostile_requests(place: Place, said: bytes, status: int) -> None:
    answer = await place.say(said)
    assert answer.startswith(b"HTTP/1.1 %d" % status)
    assert (b"i-6f1c2d3e4a5b4c6d8" in answer) == (status == 200)


async def test_a_token_request_that_says_more_than_it_must(place: Place) -> None:
    head = f"PUT /latest/api/token HTTP/1.1\r\nHost: 169.254.169.254\r\n{TTL}: 60\r\nConnection: close\r\n"
    answer = await place.say(f"{head}Expect: 100-continue\r\nContent-Length: 4\r\n\r\nbody".encode())
    assert b"HTTP/1.1 200" in answer
    assert (await place.say(f"{head}Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n".encode())).startswith(
        b"HTTP/1.1 200"
    )


async def test_what_goes_wrong_inside_is_not_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async with place.client() as client:
        for error, status in ((Failed("the database is away"), 503), (RuntimeError("secret"), 500)):

            async def fail(network: str, address: str, error: Exception = error) -> Asked | None:
                raise error

            with monkeypatch.context() as patched:
                patched.setattr(place.book, "who", fail)
                answer = await client.get(ID)
                assert answer.status_code == status
                assert "secret" not in answer.text
                assert "database" not in answer.text
        assert (await client.get(ID)).status_code == 200


async def test_nobody_waits_for_ever_to_be_known(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(network: str, address: str) -> Asked | None:
        return await asyncio.get_running_loop().create_future()

    async with place.client() as client:
        with monkeypatch.context() as patched:
            patched.setattr(application, "LOOK_S", 0.01)
            patched.setattr(place.book, "who", hang)
            assert (await client.get(ID)).status_code == 503
        assert (await client.get(ID)).status_code == 200


# --- waiting for a change -------------------------------------------------------------------------------------


async def until(condition: Callable[[], bool]) -> None:
    """Let the service go on until something holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0)


async def test_who_waits_is_told_of_the_change(place: Place) -> None:
    async with place.client() as client:
        seen = await client.get(TREE, headers=GOOGLE)
        asking = asyncio.ensure_future(
            client.get(f"{TREE}&wait_for_change=true&last_etag={seen.headers['ETag']}", headers=GOOGLE)
        )
        await until(lambda: place.book.watched == 1)
        place.book.write("front", BARE_AT, OPEN_BARE)  # a hint for nothing
        place.book.write("front", WEB_AT, msgspec.structs.replace(WEB, user_data=b"#!/bin/true"))
        told = await asking
        assert told.json()["instance"]["attributes"]["user-data"] == "#!/bin/true"
        assert told.headers["ETag"] != seen.headers["ETag"]
    await until(lambda: place.book.watched == 0)


@pytest.mark.parametrize("more", ["last_etag=0", "timeout_sec=0", "last_etag=NONE&timeout_sec=60"])
async def test_who_knows_less_or_has_no_time_is_answered_at_once(place: Place, more: str) -> None:
    async with place.client() as client:
        told = await client.get(f"{TREE}&wait_for_change=true&{more}", headers=GOOGLE)
        assert told.json()["instance"]["name"] == "web"


async def test_nobody_waits_for_a_guest_that_is_gone(place: Place) -> None:
    _, writer = await place.connect()
    writer.write(f"GET {TREE}&wait_for_change=true HTTP/1.1\r\nHost: 127.0.0.1\r\n{GOOGLE_LINE}\r\n".encode())
    await until(lambda: place.book.watched == 1)
    writer.close()
    await until(lambda: place.book.watched == 0 and place.service.limits.connections == 0)


async def test_what_is_said_while_waiting_is_answered_after_it(place: Place) -> None:
    wait = f"GET {TREE}&wait_for_change=true HTTP/1.1\r\nHost: 127.0.0.1\r\n{GOOGLE_LINE}\r\n".encode()
    reader, writer = await place.connect()
    writer.write(wait)
    await until(lambda: place.book.watched == 1)
    writer.write(f"GET {ID} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    await writer.drain()
    place.book.write("front", WEB_AT, msgspec.structs.replace(WEB, name="other"))
    async with asyncio.timeout(PATIENCE_S):
        answer = await reader.read()
    assert answer.index(b'"name":"other"') < answer.index(b"\r\n\r\ni-6f1c2d3e4a5b4c6d8")
    writer.close()


async def test_a_machine_that_goes_while_it_waits_learns_nothing(place: Place) -> None:
    async with place.client() as client:
        asking = asyncio.ensure_future(client.get(f"{TREE}&wait_for_change=true", headers=GOOGLE))
        await until(lambda: place.book.watched == 1)
        place.book.strike("front", WEB_AT)
        place.book.write("front", BARE_AT, BARE)
        assert (await asking).status_code == 404


# --- limits ---------------------------------------------------------------------------------------------------


async def test_a_guest_with_a_thousand_silent_connections_delays_nobody(place: Place) -> None:
    silent = [await place.connect(WEB_AT) for _ in range(1000)]
    times_s = []
    async with place.client(BARE_AT) as client:
        for _ in range(50):
            began_s = time.perf_counter()
            assert (await client.get(ID)).status_code == 200
            times_s.append(time.perf_counter() - began_s)
    # Half of them: another process may take the processor away for a moment.
    assert sorted(times_s)[len(times_s) // 2] < 0.5
    assert place.service.limits.connections <= MAX_CONNECTIONS + 1
    for _, writer in silent:
        writer.close()
    await until(lambda: place.service.limits.connections == 0)
    async with place.client(WEB_AT) as client:
        assert (await client.get(ID)).status_code == 200


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time limits that a test can wait for."""
    monkeypatch.setattr(conversation, "REQUEST_S", 0.05)
    monkeypatch.setattr(conversation, "REPLY_S", 0.05)


@pytest.mark.parametrize("said", [b"", b"GET /lat", b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n12"])
async def test_who_does_not_finish_is_hung_up_on(place: Place, hurried: None, said: bytes) -> None:
    assert await place.say(said) == b""
    await until(lambda: place.service.limits.connections == 0)


async def test_who_does_not_listen_is_hung_up_on(place: Place, hurried: None) -> None:
    place.book.write("front", WEB_AT, msgspec.structs.replace(WEB, user_data=b"x" * 32_000_000))
    with socket.socket() as client:
        client.bind((WEB_AT, 0))
        client.connect(("127.0.0.1", place.front))
        client.sendall(b"GET /latest/user-data HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await until(lambda: place.service.limits.connections == 1)
        await until(lambda: place.service.limits.connections == 0)
        heard = 0
        while piece := client.recv(1 << 20):
            heard += len(piece)
        assert 0 < heard < 32_000_000


async def test_a_flood_of_requests_is_answered_in_its_own_time(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guesthouse.doors.metadata.limits.PURSE", 20.0)
    monkeypatch.setattr("guesthouse.doors.metadata.limits.COINS_A_SECOND", 400.0)
    said = f"GET {ID} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    last = said.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    began_s = time.perf_counter()
    assert (await place.say(said * 99 + last)).count(b"HTTP/1.1 200") == 100
    assert time.perf_counter() - began_s > 80 / 400


# --- opening and closing --------------------------------------------------------------------------------------


async def test_a_network_that_is_closed_is_served_no_more(place: Place) -> None:
    async with place.client() as front, place.client(back=True) as back:
        assert (await front.get(ID)).status_code == 200
        await place.service.close("front")
        await place.service.close("front")
        with pytest.raises(httpx.TransportError):
            await front.get(ID)
        assert (await back.get(ID)).status_code == 200
        assert place.service.limits.connections == 1


async def test_a_network_is_opened_anew_on_other_sockets(place: Place) -> None:
    other = listener()
    await place.service.open("front", [other])
    place.front = other.getsockname()[1]
    async with place.client() as client:
        assert (await client.get(ID)).status_code == 200


async def test_closing_does_not_wait_for_guests() -> None:
    book, front = Book(), listener()
    book.write("front", WEB_AT, WEB)
    async with asyncio.timeout(PATIENCE_S):
        async with serving(book) as service:
            await service.open("front", [front])
            place = Place(book, service, front.getsockname()[1], 0)
            reader, writer = await place.connect()
            writer.write(f"GET {TREE}&wait_for_change=true HTTP/1.1\r\nHost: 127.0.0.1\r\n{GOOGLE_LINE}\r\n".encode())
            await until(lambda: book.watched == 1)
        assert await reader.read() == b""
        writer.close()
    assert book.watched == 0
