"""Who signed a request: AWS's signatures, version 4 and version 2.

Rules
-----
1. Version 4 signs method, path, query, the headers that it lists (always `host`), and the SHA-256 of the body, with a
   key made of the secret, the day, the region and the service. It stands in the header Authorization, or in the query.
2. Version 2 signs method, host, path and all parameters, with HMAC-SHA256 alone: the older HMAC-SHA1 is refused.
3. A signature is good for a quarter of an hour around its time; one in the query says itself for how long.
4. A stranger cannot tell a wrong key from a wrong signature.

Source: AWS, "Signature Version 4 signing process" and "Signature Version 2 signing process".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, unquote

from guesthouse.formats.awsquery.fault import Fault

SKEW_S = 15 * 60
MAX_EXPIRES_S = 7 * 24 * 3600
_V4 = "AWS4-HMAC-SHA256"
_CREDENTIAL = re.compile(r"([A-Za-z0-9]{16,128})/(\d{8})/([a-z0-9-]{1,64})/([a-z0-9-]{1,64})/aws4_request")
_SPACES = re.compile(" +")

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Signed:
    """A request as it was signed. Names of `headers` are lower case; `pairs` are all parameters, decoded.

    `in_query` are those of the pairs that stood in the URL.
    """

    method: str
    path: str
    in_query: Pairs
    headers: Mapping[str, str]
    pairs: Pairs
    body: bytes


@dataclass(frozen=True)
class Claim:
    """What a signature says of itself; `headers` are the names of those that it covers."""

    version: int
    key: str
    signature: str
    at: datetime
    lasts_s: int = SKEW_S
    scope: tuple[str, str, str] = ("", "", "")
    headers: tuple[str, ...] = ()

    @property
    def region(self) -> str:
        return self.scope[1]

    @property
    def service(self) -> str:
        """The service that it is for; version 2 names none."""
        return self.scope[2]


def claim(signed: Signed) -> Claim:
    """Find the signature of a request; raises `Fault` where there is none, or only half of one."""
    header = signed.headers.get("authorization", "")
    parameters = dict(signed.pairs)
    if header.startswith(_V4):
        return _of_header(header.removeprefix(_V4), signed)
    if header:
        raise _incomplete(f"authorization by {header.split()[0][:40]!r} is not understood")
    if parameters.get("X-Amz-Algorithm") == _V4:
        return _of_query(parameters)
    if "Signature" in parameters:
        return _of_parameters(parameters)
    raise Fault("MissingAuthenticationToken", "The request must be signed with an access key", 403)


def check(signed: Signed, claim: Claim, secret: str, now: datetime) -> None:
    """Raise `Fault` unless the secret made this signature, and it is good at this time."""
    expected = _v4(signed, claim, secret) if claim.version == 4 else _v2(signed, secret)
    if not hmac.compare_digest(expected.encode(), claim.signature.encode()):
        raise not_validated()
    age_s = (now - claim.at).total_seconds()
    if age_s > claim.lasts_s or age_s < -SKEW_S:
        raise Fault("RequestExpired", f"Request has expired. It was signed at {claim.at:%Y-%m-%dT%H:%M:%SZ}")


def not_validated() -> Fault:
    """What whoever has a wrong key or makes a wrong signature is told."""
    return Fault("AuthFailure", "AWS was not able to validate the provided access credentials", 401)


# --- finding it ----------------------------------------------------------------------------------------------


def _of_header(text: str, signed: Signed) -> Claim:
    parts = dict(part.strip().partition("=")[::2] for part in text.split(","))
    stamp = signed.headers.get("x-amz-date") or ""
    covered = tuple(parts.get("SignedHeaders", "").split(";"))
    if "x-amz-date" not in covered:
        raise _incomplete("the header X-Amz-Date must be there and be signed")
    key, scope = _credential(parts.get("Credential", ""))
    return Claim(4, key, _signature(parts.get("Signature", "")), _time(stamp, scope), SKEW_S, scope, _covers(covered))


def _of_query(parameters: Mapping[str, str]) -> Claim:
    key, scope = _credential(parameters.get("X-Amz-Credential", ""))
    lasts = parameters.get("X-Amz-Expires", "")
    if not (lasts.isascii() and lasts.isdigit()) or not 0 < int(lasts[:9]) <= MAX_EXPIRES_S:
        raise _incomplete(f"X-Amz-Expires is from 1 to {MAX_EXPIRES_S}")
    covered = _covers(tuple(parameters.get("X-Amz-SignedHeaders", "").split(";")))
    at = _time(parameters.get("X-Amz-Date", ""), scope)
    return Claim(4, key, _signature(parameters.get("X-Amz-Signature", "")), at, int(lasts), scope, covered)


def _of_parameters(parameters: Mapping[str, str]) -> Claim:
    if (parameters.get("SignatureVersion"), parameters.get("SignatureMethod")) != ("2", "HmacSHA256"):
        raise _incomplete("only version 4, and version 2 with HmacSHA256, are understood")
    text, name = parameters.get("Timestamp", ""), "Timestamp"
    try:
        at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise _incomplete(f"{name} is no time") from None
    return Claim(2, parameters.get("AWSAccessKeyId", ""), parameters["Signature"], at if at.tzinfo else _utc(at))


def _utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC)


def _credential(text: str) -> tuple[str, tuple[str, str, str]]:
    match = _CREDENTIAL.fullmatch(text)
    if match is None:
        raise _incomplete("Credential is KEY/DAY/REGION/SERVICE/aws4_request")
    return match[1], (match[2], match[3], match[4])


def _covers(covered: tuple[str, ...]) -> tuple[str, ...]:
    if "host" not in covered:
        raise _incomplete("the header Host must be signed")
    return covered


def _signature(text: str) -> str:
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise _incomplete("Signature is 64 hexadecimal digits")
    return text


def _time(stamp: str, scope: tuple[str, str, str]) -> datetime:
    try:
        at = _utc(datetime.strptime(stamp, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        raise _incomplete("X-Amz-Date is like 20261123T070500Z") from None
    if not stamp.startswith(scope[0]):
        raise _incomplete("the days in X-Amz-Date and Credential differ")
    return at


def _incomplete(why: str) -> Fault:
    return Fault("IncompleteSignature", f"The request signature does not conform to AWS standards: {why}", 400)


# --- making it -----------------------------------------------------------------------------------------------


def _v4(signed: Signed, claim: Claim, secret: str) -> str:
    query = sorted((_quoted(name), _quoted(text)) for name, text in signed.in_query if name != "X-Amz-Signature")
    headers = "".join(f"{name}:{_SPACES.sub(' ', signed.headers.get(name, '').strip())}\n" for name in claim.headers)
    canonical = "\n".join(
        (
            signed.method,
            quote(_normal(signed.path), safe="/~"),
            "&".join(f"{name}={text}" for name, text in query),
            headers,
            ";".join(claim.headers),
            hashlib.sha256(signed.body).hexdigest(),
        )
    )
    scope = "/".join((*claim.scope, "aws4_request"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    message = f"{_V4}\n{claim.at:%Y%m%dT%H%M%SZ}\n{scope}\n{digest}"
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = _hmac(key, part)
    return _hmac(key, message).hex()


def _v2(signed: Signed, secret: str) -> str:
    pairs = sorted((_quoted(name), _quoted(text)) for name, text in signed.pairs if name != "Signature")
    query = "&".join(f"{name}={text}" for name, text in pairs)
    message = f"{signed.method}\n{signed.headers.get('host', '').lower()}\n{signed.path or '/'}\n{query}"
    return base64.b64encode(_hmac(secret.encode(), message)).decode()


def _normal(path: str) -> str:
    """A path without ``.``, ``..`` and empty parts (RFC 3986, 5.2.4)."""
    kept: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del kept[-1:]
        elif part not in ("", "."):
            kept.append(part)
    return "/" + "/".join(kept) + ("/" if kept and path.endswith("/") else "")


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")


def _hmac(key: bytes, message: str) -> bytes:
    return hmac.new(key, message.encode(), hashlib.sha256).digest()


def pairs_of(text: str) -> list[tuple[str, str]]:
    """Parameters of a query or a form, decoded; a name alone has an empty value."""
    found = []
    for part in text.split("&"):
        if part:
            name, _, value = part.partition("=")
            found.append((_decoded(name), _decoded(value)))
    return found


def _decoded(text: str) -> str:
    return unquote(text.replace("+", " "), errors="replace")
