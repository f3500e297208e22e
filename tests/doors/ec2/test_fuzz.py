"""What no client would send is refused in EC2's words; what was signed cannot be altered, nor told again late."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import pytest
from botocore.auth import SigV2Auth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from starlette.types import ASGIApp
from tests.doors.ec2.conftest import Cloud
from tests.doors.ec2.fuzzing import FORM, URL, ask, code_of, form, play, posted

from guesthouse.doors.ec2.application import Ec2, application
from guesthouse.doors.ec2.table import services
from guesthouse.formats.signatures import pairs_of

REQUESTS = 1500
BODY = form(
    [("Action", "DescribeTags"), ("Version", "2016-11-15"), ("Filter.1.Name", "key"), ("Filter.1.Value.1", "ü")]
)
REFUSALS = {
    "AuthFailure",
    "IncompleteSignature",
    "InvalidAction",
    "MissingAuthenticationToken",
    "RequestExpired",
    "UnsupportedProtocol",
}


async def test_whatever_is_asked_is_answered(cloud: Cloud, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    codes, wrong = await play(cloud, 1, REQUESTS)
    assert wrong == []
    assert [record.message for record in caplog.records] == []
    # It is no test of the first check alone.
    assert codes[""] > REQUESTS / 60
    assert len(codes) > 15


@pytest.fixture
async def app(cloud: Cloud) -> AsyncIterator[ASGIApp]:
    yield application(Ec2(cloud.engine, services()))


@pytest.fixture
async def credentials(cloud: Cloud) -> Credentials:
    said = await cloud.environment()
    return Credentials(said["AWS_ACCESS_KEY_ID"], said["AWS_SECRET_ACCESS_KEY"])


def by_query(credentials: Credentials) -> AWSRequest:
    request = AWSRequest("GET", f"{URL}?{BODY}", {"Host": FORM["Host"]})
    SigV4QueryAuth(credentials, "ec2", "local-1", expires=60).add_auth(request)
    return request


def by_version_2(credentials: Credentials) -> AWSRequest:
    request = AWSRequest("POST", URL, dict(FORM), dict(pairs_of(BODY)))
    SigV2Auth(credentials).add_auth(request)
    request.data = form(list(request.data.items()))
    return request


WAYS: dict[str, Callable[[Credentials], AWSRequest]] = {
    "header": lambda credentials: posted(credentials, BODY),
    "query": by_query,
    "version 2": by_version_2,
}
each_way = pytest.mark.parametrize("way", WAYS)


@each_way
async def test_what_is_signed_passes_and_with_one_byte_altered_it_does_not(
    way: str, app: ASGIApp, credentials: Credentials
) -> None:
    request = WAYS[way](credentials)
    status, document = await ask(app, request)
    assert status == 200, document
    passed = []
    for what, altered in alterations(request):
        status, document = await ask(app, altered)
        if status == 200:
            passed.append(what)
        else:
            assert code_of(document) in REFUSALS, (what, document)
    assert passed == []


def alterations(request: AWSRequest) -> list[tuple[str, AWSRequest]]:
    """The request with each byte of what is signed altered in turn, but for what reads the same."""
    base, _, query = request.url.removeprefix("http://").partition("?")
    host, _, path = base.partition("/")
    body = request.data or ""
    found = [(f"path, {at}", _like(request, url=f"http://{host}/{text}?{query}")) for at, text in altered(path or "x")]
    for at, text in altered(query):
        if pairs_of(text) != pairs_of(query):
            found.append((f"query, {at}", _like(request, url=f"http://{host}/{path}?{text}")))
    by_version_2 = "SignatureVersion=2" in body
    for at, text in altered(body):
        if not by_version_2 or pairs_of(text) != pairs_of(body):
            found.append((f"body, {at}", _like(request, body=text)))
    for name in ("Host", "X-Amz-Date", "Authorization"):
        if name == "Host" and by_version_2:
            continue  # it is signed with small letters
        for at, text in altered(str(request.headers.get(name, ""))):
            headers = {**dict(request.headers.items()), name: text}
            found.append((f"{name}, {at}", _like(request, headers=headers)))
    return found


def altered(text: str) -> list[tuple[int, str]]:
    """A text with one letter of it replaced, each in turn, by one that may be in a URL."""
    return [(at, f"{text[:at]}{'b' if letter != 'b' else 'c'}{text[at + 1 :]}") for at, letter in enumerate(text)]


def _like(
    request: AWSRequest, url: str = "", body: str | None = None, headers: dict[str, str] | None = None
) -> AWSRequest:
    return AWSRequest(
        request.method,
        url or request.url,
        headers or dict(request.headers.items()),
        request.data if body is None else body,
    )


class At(SigV4Auth):
    """Signs as if it were then."""

    then: datetime

    def add_auth(self, request: AWSRequest) -> None:
        request.context["timestamp"] = f"{self.then:%Y%m%dT%H%M%SZ}"
        self._modify_request_before_signing(request)
        text = self.string_to_sign(request, self.canonical_request(request))
        self._inject_signature_to_request(request, self.signature(text, request))


@pytest.mark.parametrize(("minutes", "code"), [(-14, ""), (-16, "RequestExpired"), (14, ""), (16, "RequestExpired")])
async def test_what_is_told_again_late_is_refused(
    app: ASGIApp, credentials: Credentials, minutes: int, code: str
) -> None:
    request = AWSRequest("POST", URL, dict(FORM), BODY)
    signer = At(credentials, "ec2", "local-1")
    signer.then = datetime.now(UTC) + timedelta(minutes=minutes)
    signer.add_auth(request)
    assert code_of((await ask(app, request))[1]) == code


@each_way
async def test_nobody_signs_for_another_project(way: str, cloud: Cloud, app: ASGIApp, credentials: Credentials) -> None:
    other = await cloud.environment(await cloud.project("other"))
    forged = WAYS[way](Credentials(other["AWS_ACCESS_KEY_ID"], credentials.secret_key))
    assert code_of((await ask(app, forged))[1]) == "AuthFailure"
    unknown = WAYS[way](Credentials("GHAK" + "A" * 16, credentials.secret_key))
    assert code_of((await ask(app, unknown))[1]) == "AuthFailure"
