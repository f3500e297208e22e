"""Twenty thousand requests that nobody sends by mistake: none goes wrong inside, none gets what is another's."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from random import Random

import msgspec
import pytest
from tests.doors.metadata.asking import GOOGLE, TOKEN, TOKENS, TTL, Book
from tests.doors.metadata.samples import BARE, FREE, NOW, STRICT, WEB

from guesthouse.doors.metadata.application import Application, Asker, Reply
from guesthouse.doors.metadata.conversation import Answering, Conversation
from guesthouse.doors.metadata.messages import Request, read

REQUESTS, TALKS = 18_000, 2_000
EXPECTED = {200, 301, 400, 401, 403, 404, 405, 408, 413, 431, 501, 505}
VERSION = "api-version=2021-08-01"
SEEDS = (
    ("GET", "/latest/meta-data/instance-id", {}),
    ("GET", "/2021-03-23/meta-data/network/interfaces/macs/52:54:00:0a:0b:0c/ipv6s", {}),
    ("GET", "/latest/meta-data/public-keys/0/openssh-key", {TOKEN: TOKENS.make(WEB.machine, NOW, 60)}),
    ("GET", "/latest/dynamic/instance-identity/document", {}),
    ("GET", "/latest/user-data", {}),
    ("PUT", "/latest/api/token", {TTL: "60"}),
    ("GET", "/computeMetadata/v1/?recursive=true&alt=json", GOOGLE),
    ("GET", "/computeMetadata/v1/instance/network-interfaces/0/ip?alt=text&last_etag=0&timeout_sec=0", GOOGLE),
    ("GET", f"/metadata/instance/compute?{VERSION}&format=text", {"Metadata": "true"}),
    ("GET", f"/metadata/instance/network/interface/0?{VERSION}", {"Metadata": "true"}),
    ("HEAD", "/", {"Host": "169.254.169.254"}),
)
ODD = (
    "", "/", "//", "..", "/../", "%2e%2e/", "%00", "%", "%zz", "%ff", "ä", "\u2028", "🏠", "?", "&", "=", ";", "#", "@",
    ":", "[", "]", "[::1", "{mac}", "*", " ", "\t", "-1", "0", "999999999999999999999", "NaN", "true", "TRUE", "null",
    "a" * 300, "&a=b" * 40, "http://", "latest", "meta-data", "v1", "instance", "0/", "None", "\\", "'", '"',
)  # fmt: skip
METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "TRACE", "PATCH", "get", "A" * 60)
HEADERS = ("Host", TOKEN, TTL, "Metadata-Flavor", "Metadata", "X-Forwarded-For", "Accept", "Content-Length", "Expect")


def mutated(text: str, random: Random) -> str:
    """A text with one thing changed: something taken out, put in, doubled or turned round."""
    start = random.randrange(len(text) + 1)
    end = min(len(text), start + random.choice((0, 1, 1, 4, 20)))
    piece = text[start:end]
    return text[:start] + random.choice((*ODD, piece * 2, piece[::-1], piece.swapcase())) + text[end:]


def a_request(random: Random) -> tuple[str, str, list[tuple[str, str]]]:
    method, target, said = random.choice(SEEDS)
    headers = list(said.items())
    for _ in range(random.randrange(1, 4)):
        what = random.randrange(4)
        if what == 0:
            method = random.choice(METHODS)
        elif what in (1, 2):
            target = mutated(target, random)
        else:
            headers.append(
                (random.choice(HEADERS), mutated(random.choice(("true", "60", "Google", "10.0.0.1")), random))
            )
    return method, target, headers


async def no_pace() -> None:
    return None


@pytest.fixture
def book() -> Book:
    book = Book()
    book.write("front", "10.0.0.5", WEB)
    book.write("strict", "10.0.0.5", msgspec.structs.replace(WEB, options=STRICT))
    book.write("other", "10.0.0.5", msgspec.structs.replace(BARE, options=FREE, user_data=b"of another"))
    return book


FOREIGN = (b"of another", BARE.machine.encode(), b"i-00112233445546778")


async def test_requests(book: Book, caplog: pytest.LogCaptureFixture) -> None:
    random, statuses = Random(4), Counter[int]()
    application = Application(book, TOKENS, None, lambda: NOW)
    for number in range(REQUESTS):
        method, target, headers = a_request(random)
        request = read(method, target, ((name.lower(), value) for name, value in headers))
        if request is None:
            statuses[400] += 1
            continue
        asker = Asker(random.choice(("front", "strict")), "10.0.0.5", 0, no_pace)
        async with asyncio.timeout(60):
            reply = await application.answer(request, asker)
        statuses[reply.answer.status] += 1
        assert reply.answer.status in EXPECTED, (number, method, target, headers)
        assert not any(foreign in reply.answer.body for foreign in FOREIGN)
        for name, value in reply.answer.headers:
            assert (name + value).isascii()
            assert (name + value).isprintable()
    assert not caplog.records
    assert set(statuses) >= {200, 400, 401, 403, 404, 405}


async def test_bytes(book: Book, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "guesthouse")
    random, statuses = Random(5), Counter[bytes]()
    application = Application(book, TOKENS, None, lambda: NOW)

    async def answer(request: Request) -> Reply:
        reply = await application.answer(request, Asker("front", "10.0.0.5", 0, no_pace))
        return reply._replace(hops=0)  # there are none between two ends of a pair of sockets

    for number in range(TALKS):
        said = await talk(answer, some_bytes(random))
        for line in said.split(b"\r\n"):
            if line.startswith(b"HTTP/1.1 ") and line != b"HTTP/1.1 100 ":
                statuses[line[9:12]] += 1
                assert int(line[9:12]) in EXPECTED, number
        assert not any(foreign in said for foreign in FOREIGN)
    assert not caplog.records
    assert set(statuses) >= {b"200", b"400", b"404"}


def some_bytes(random: Random) -> bytes:
    """A few requests as bytes, of which some were changed, or nothing like a request."""
    said = bytearray()
    for _ in range(random.randrange(1, 3)):
        method, target, headers = a_request(random)
        lines = [f"{method} {target} HTTP/1.1", "Host: 169.254.169.254", *(f"{name}: {text}" for name, text in headers)]
        said += "\r\n".join((*lines, "", "")).encode()
    for _ in range(random.randrange(4)):
        place = random.randrange(len(said))
        said[place : place + random.randrange(3)] = random.randbytes(random.randrange(3))
    return bytes(said)


async def talk(answer: Answering, said: bytes) -> bytes:
    """What a conversation answers to bytes after which the guest says no more."""
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    listening, speaking = await asyncio.open_connection(sock=theirs)
    speaking.write(said)
    speaking.write_eof()
    async with asyncio.timeout(60):
        await Conversation(reader, writer, answer).hold()
        writer.close()
        told = await listening.read()
    speaking.close()
    return told
