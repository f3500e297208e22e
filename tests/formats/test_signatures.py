"""Signatures, made by botocore's own signers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV2Auth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from guesthouse.formats.awsquery.fault import Fault
from guesthouse.formats.signatures import Signed, check, claim, pairs_of

KEY, SECRET = "GHAKABCDEFGHIJKLMNOP", "not+a/secret"
FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8", "User-Agent": "a  client/1"}


def now() -> datetime:
    return datetime.now(UTC)


def signed(request: AWSRequest) -> Signed:
    """The request as a server sees it."""
    prepared = request.prepare()
    url = urlsplit(prepared.url)
    headers = {
        name.lower(): text if isinstance(text, str) else text.decode() for name, text in prepared.headers.items()
    }
    body = prepared.body or b""
    body = body.encode() if isinstance(body, str) else body
    in_query = pairs_of(url.query)
    headers.setdefault("host", url.netloc)
    return Signed(prepared.method, url.path, in_query, headers, [*in_query, *pairs_of(body.decode())], body)


def by_header(body: str = "Action=DescribeInstances&Version=2016-11-15", query: str = "") -> Signed:
    request = AWSRequest("POST", f"http://127.0.0.1:8773/{query}", dict(FORM), body)
    SigV4Auth(Credentials(KEY, SECRET), "ec2", "local-1").add_auth(request)
    return signed(request)


def by_query() -> Signed:
    request = AWSRequest("GET", "http://127.0.0.1:8773/?Action=DescribeRegions&Version=2016-11-15&A=b%20c%2F", {})
    SigV4QueryAuth(Credentials(KEY, SECRET), "ec2", "local-1", expires=900).add_auth(request)
    return signed(request)


def by_version_2() -> Signed:
    request = AWSRequest("POST", "http://127.0.0.1:8773/", {}, {"Action": "DescribeImages", "Owner.1": "self x"})
    SigV2Auth(Credentials(KEY, SECRET)).add_auth(request)
    return signed(request)


WAYS = {"header": by_header, "query": by_query, "version 2": by_version_2}


@cache
def once(way: str) -> Signed:
    """One request for all examples: they are played again, and must then be the same."""
    return WAYS[way]()


each_way = pytest.mark.parametrize("way", WAYS)


def refusal(request: Signed, secret: str = SECRET, at: datetime | None = None) -> str:
    """The code with which it is refused, "" where it is not."""
    try:
        check(request, claim(request), secret, at or now())
    except Fault as fault:
        return fault.code
    return ""


@each_way
def test_what_the_secret_signed_passes(way: str) -> None:
    request = WAYS[way]()
    assert claim(request).key == KEY
    assert refusal(request) == ""
    assert refusal(request, "another") == "AuthFailure"


@each_way
def test_it_ends(way: str) -> None:
    request = WAYS[way]()
    lasts = timedelta(seconds=claim(request).lasts_s)
    assert refusal(request, at=now() + lasts - timedelta(seconds=5)) == ""
    assert refusal(request, at=now() + lasts + timedelta(seconds=5)) == "RequestExpired"
    assert refusal(request, at=now() - timedelta(minutes=16)) == "RequestExpired"


@each_way
@settings(max_examples=40)
@given(data=st.data())
def test_whatever_is_altered_is_refused(way: str, data: Any) -> None:
    request = once(way)
    field = data.draw(st.sampled_from(["method", "path", "body", "header", "pair"]))
    altered = _altered(request, field, data)
    if altered is not None:
        assert refusal(altered) in (
            "AuthFailure",
            "IncompleteSignature",
            "RequestExpired",
            "MissingAuthenticationToken",
        )


def _altered(request: Signed, field: str, data: Any) -> Signed | None:
    """The request with one letter of something that is signed replaced; None where there is no such thing."""
    if field == "method":
        return replace(request, method="PUT")
    if field == "path":
        return replace(request, path="/other")
    if field == "header":
        names = [name for name in ("host", *claim(request).headers) if name in request.headers]
        name = data.draw(st.sampled_from(sorted(names)))
        return replace(request, headers={**request.headers, name: _replaced(request.headers[name], data)})
    if field == "body":
        if not request.body or claim(request).version == 2:
            return None
        return replace(request, body=_replaced(request.body.decode(), data).encode())
    place = data.draw(st.integers(0, len(request.pairs) - 1))
    name, text = request.pairs[place]
    if claim(request).version == 4 and place >= len(request.in_query):
        return None  # what stands in the body is signed as that
    changed = (name, _replaced(text, data)) if text else (name, "x")
    pairs = [*request.pairs[:place], changed, *request.pairs[place + 1 :]]
    in_query = pairs[: len(request.in_query)]
    return replace(request, pairs=pairs, in_query=in_query)


def _replaced(text: str, data: Any) -> str:
    place = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.sampled_from([each for each in "aZ09-x" if each.lower() != text[place].lower()]))
    return text[:place] + letter + text[place + 1 :]


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "MissingAuthenticationToken"),
        ({"authorization": "Bearer x"}, "IncompleteSignature"),
        ({"authorization": "AWS4-HMAC-SHA256 Credential=x"}, "IncompleteSignature"),
        ({"authorization": "AWS4-HMAC-SHA256 Credential=, SignedHeaders=host;x-amz-date, Signature="},
         "IncompleteSignature"),
    ],
)  # fmt: skip
def test_half_a_signature_is_told_so(headers: dict[str, str], code: str) -> None:
    assert refusal(Signed("POST", "/", [], headers, [], b"")) == code


def test_what_is_not_signed_may_differ() -> None:
    request = by_header()
    assert refusal(replace(request, headers={**request.headers, "accept": "x"})) == ""


def test_the_host_must_be_signed() -> None:
    request = by_header()
    header = request.headers["authorization"].replace("content-type;host;", "content-type;")
    assert refusal(replace(request, headers={**request.headers, "authorization": header})) == "IncompleteSignature"
