"""Requests that no client would send: for every operation of the door, arguments true and false, then spoilt.

They go through the whole application but its sockets, signed by botocore as any client's.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any
from urllib.parse import quote_plus, urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from starlette.types import ASGIApp, Message
from tests.doors.ec2.conftest import Cloud

from guesthouse.doors.ec2 import tags
from guesthouse.doors.ec2.application import Ec2, application
from guesthouse.doors.ec2.dialects import Service
from guesthouse.doors.ec2.rows import Row
from guesthouse.doors.ec2.table import services
from guesthouse.engine import intents
from guesthouse.formats.awsquery.shapes import LIST, STRUCTURE, Shape
from guesthouse.formats.cloudids import ec2_id
from guesthouse.model.resources import Quota

URL = "http://127.0.0.1:8773/"
FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8", "Host": urlsplit(URL).netloc}
LOOK_EVERY, MACHINES = 200, 12
# An RSA key takes a tenth of a second.
SELDOM = {"CreateKeyPair": 0.05}

ODD = [
    "", " ", "x" * 3000, "ü\u2028\U0001f9a9", "\x00\x01", "../../etc/passwd", "%s%n", "-1", "true", "*", "[", "\\",
    "a.b", "<&>\"'", "i-", "i-0123456789abcdef0", "ami-ffffffffffffffff", "0", "9" * 30, "web", "10.0.0.0/24",
    "10.0.0.9",
    "::1", "0.0.0.0/0", "999.1.1.1/99",
]  # fmt: skip
NUMBERS = [
    "0",
    "1",
    "1",
    "2",
    "3",
    "-1",
    "65536",
    "2147483648",
    "9" * 25,
    "1e3",
    "NaN",
    "٣",
    "1_0",
    " 1",
    "0x10",
    "1.5",
]
ODDLY: dict[str, list[str]] = {
    "boolean": ["true", "false", "True", "1", "maybe", ""],
    "integer": NUMBERS,
    "long": NUMBERS,
    "float": ["0.5", "nan", "inf", "1e999", "x"],
    "double": ["0.5", "nan", "inf", "1e999", "x"],
    "timestamp": ["2026-11-23T07:05:00Z", "0", "99999999999999", "1e5", "2026-13-45", "now", "", "-5"],
    "blob": [base64.b64encode(b"ssh-ed25519 AAAA x").decode(), "====", "AAAA", "ü", base64.b64encode(b"\xff").decode()],
}


class Writer:
    """Writes requests with the ids of what is there."""

    def __init__(self, service: Service, random: Random) -> None:
        self._service = service
        self._random = random
        self.ids: list[str] = []

    def request(self, row: Row) -> list[tuple[str, str]]:
        """The parameters of one request."""
        pairs = [("Action", row.action), ("Version", self._service.shapes.version)]
        if shape := self._service.shapes.operations[row.action].input:
            pairs += self._members(row, shape, "", "", 0)
        for _ in range(self._random.choice([0, 0, 0, 0, 1, 1, 2, 4])):
            self._spoil(pairs)
        return pairs

    def _members(self, row: Row, shape: str, path: str, wire: str, depth: int) -> Iterator[tuple[str, str]]:
        described = self._service.shapes.shapes[shape]
        for name, member in described.members.items():
            here = f"{path}.{name}" if path else name
            begins = tuple(word for word in row.understood if word.startswith(f"{here}."))
            likely = 0.5 if begins or self._service.understands(row, here) else 0.02
            if depth < 6 and self._random.random() < (0.97 if name in described.required else likely):
                yield from self._value(row, member.shape, here, f"{wire}.{member.into}" if wire else member.into, depth)

    def _value(self, row: Row, shape: str, path: str, wire: str, depth: int) -> Iterator[tuple[str, str]]:
        described = self._service.shapes.shapes[shape]
        if described.kind == LIST:
            for number in range(1, self._random.choice([2, 2, 2, 3, 4])):
                yield from self._value(row, described.item, path, f"{wire}.{number}", depth + 1)
        elif described.kind == STRUCTURE:
            yield from self._members(row, shape, path, wire, depth + 1)
        else:
            yield wire, self._scalar(row, described, path)

    def _scalar(self, row: Row, shape: Shape, path: str) -> str:
        dice = self._random.random()
        if path == "Filters.Name" and dice < 0.9:
            return self._random.choice(self._service.shapes.operations[row.action].filters or ("tag:Name",))
        if path == "TagSpecifications.ResourceType" and row.tags:
            return self._random.choice(row.tags)
        if path == "DryRun":
            return "true" if dice < 0.3 else "false"
        if shape.values and dice < 0.9:
            return self._random.choice(shape.values)
        if shape.kind != "string":
            return self._random.choice(ODDLY[shape.kind])
        return self._random.choice(self.ids if self.ids and dice < 0.7 else ODD)

    def _spoil(self, pairs: list[tuple[str, str]]) -> None:
        if not pairs:
            return
        place = self._random.randrange(len(pairs))
        name, text = pairs[place]
        letters = list(name)
        place_in = self._random.randrange(len(letters) + 1)
        letters[place_in : place_in + 1] = self._random.choice("aZ.0 \x00ü&")
        pairs[place : place + 1] = self._random.choice(
            [
                [],
                [(name, text), (name, text)],
                [(name, self._random.choice(ODD))],
                [(f"{name}.{self._random.choice(['1', '0', '-1', 'x', '', '99999', '7777777'])}", text)],
                [("".join(letters), text)],
                [(name, text), (name.rpartition(".")[0] or "x", text)],
                [(name + ".1" * 20, text)],
                [(name.lower(), text)],
            ]
        )


def form(pairs: list[tuple[str, str]]) -> str:
    """Parameters as clients send them."""
    return "&".join(f"{quote_plus(name)}={quote_plus(text)}" for name, text in pairs)


def posted(credentials: Credentials, body: str, service: str = "ec2") -> AWSRequest:
    """A signed request."""
    request = AWSRequest("POST", URL, dict(FORM), body)
    SigV4Auth(credentials, service, "local-1").add_auth(request)
    return request


async def ask(app: ASGIApp, request: AWSRequest) -> tuple[int, str]:
    """The status and the document that a request is answered with."""
    url = urlsplit(request.url)
    headers = [(name.lower().encode(), _bytes(text)) for name, text in request.headers.items()]
    body = _bytes(request.data or b"")
    scope = {
        "type": "http", "http_version": "1.1", "scheme": "http", "method": request.method, "path": url.path,
        "raw_path": url.path.encode(), "query_string": url.query.encode(), "headers": headers, "root_path": "",
        "server": ("127.0.0.1", 8773), "client": ("127.0.0.1", 1),
    }  # fmt: skip
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], b"".join(part.get("body", b"") for part in sent).decode()


def _bytes(text: Any) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode("latin-1", "replace")


def code_of(document: str) -> str:
    """The code of a refusal, "" for an answer."""
    return document.partition("<Code>")[2].partition("</Code>")[0]


async def play(cloud: Cloud, seed: int, count: int) -> tuple[Counter[str], list[str]]:
    """Ask so many spoilt requests; how often each code was answered, and what was answered with an internal error."""
    random, app = Random(seed), application(Ec2(cloud.engine, services()))
    environment = await cloud.environment()
    credentials = Credentials(environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])
    await cloud.engine.accept(cloud.asker, intents.ProjectChange(project="default", quota=Quota(machines=MACHINES)))
    await cloud.network()
    ec2 = services()["ec2"]
    writer, rows = Writer(ec2, random), list(ec2.rows.values())
    chances = [SELDOM.get(row.action, 1.0) for row in rows]
    codes: Counter[str] = Counter()
    wrong = []
    for number, row in enumerate(random.choices(rows, chances, k=count)):
        if number % LOOK_EVERY == 0:
            writer.ids = await _ids(cloud)
        body = form(writer.request(row))
        status, document = await ask(app, posted(credentials, body))
        code = code_of(document) if status >= 400 else ""
        codes[code] += 1
        if not document.startswith("<?xml") or code == "InternalError":
            wrong.append(f"{body}\n{document}")
    return codes, wrong


async def _ids(cloud: Cloud) -> list[str]:
    """The EC2 ids of all that is there, and names."""
    stock = await cloud.engine.stock(cloud.asker, tags.NOUNS)
    found = [ec2_id(prefix, id) for prefix, kind in tags.KINDS.items() for id in kind.things(stock)]
    return [*found, *(key.name for key in stock.keys.values()), "t3.micro"]
