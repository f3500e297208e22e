"""One request over HTTP: redirects that are watched, addresses that are allowed, errors in plain words.

Rules
-----
1. A redirect is followed only to a scheme and an address that `Reach` allows, never from https to http, and not
   more than `Reach.redirects` times.
2. Where tenants name the URL, `private` is off: the answer of an address that is not public (this host, its
   network, a metadata service) is not read. The address is that of the connection itself, so DNS cannot lie.
3. No wait without end: `connect_s` for a connection, `idle_s` for the next bytes.
4. The authorities trusted for https are those of certifi, or of SSL_CERT_FILE and SSL_CERT_DIR where set.
5. Passwords in a URL are sent, but never shown.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import NamedTuple
from urllib.request import getproxies

import httpx

from guesthouse.model.errors import Denied, Failed, GuesthouseError, Invalid, NotFound, TimedOut

_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "guesthouse"}


@dataclass(frozen=True, slots=True)
class Reach:
    """Where a request may go, and how long it may take to get on. Times in seconds."""

    schemes: frozenset[str] = frozenset({"https", "http"})
    private: bool = True
    redirects: int = 5
    connect_s: float = 15
    idle_s: float = 60


class _Status(NamedTuple):
    """A row: what a status of the server means."""

    kind: type[GuesthouseError]
    says: str
    hint: str


_STATUSES: dict[int, _Status] = {
    401: _Status(Failed, "wants a login", "put the user and password into the URL"),
    403: _Status(Failed, "refuses access", "look at the address, and at who may read it"),
    404: _Status(NotFound, "has no such file", "look at the address"),
    410: _Status(NotFound, "no longer has this file", "look for a newer one"),
    429: _Status(Failed, "is asked too often", "try again later"),
    503: _Status(Failed, "is not available", "try again later"),
}


class _Trouble(NamedTuple):
    """A row: a failure found anywhere in the chain of causes, and what it means."""

    cause: type[BaseException]
    kind: type[GuesthouseError]
    says: str
    hint: str


_TROUBLES = (
    _Trouble(socket.gaierror, Failed, "cannot be found by name", "look at the name, and at the DNS of this host"),
    _Trouble(ConnectionRefusedError, Failed, "refuses the connection", "nothing listens there, or a firewall says no"),
    _Trouble(ssl.SSLError, Failed, "has no certificate that is trusted here", "look at the name and the clock"),
    _Trouble(httpx.ConnectTimeout, TimedOut, "did not answer in time", "look at the address and the network"),
    _Trouble(
        httpx.TimeoutException,
        TimedOut,
        "stopped sending",
        "run it again: it goes on where it stopped, if the server can",
    ),
    _Trouble(httpx.UnsupportedProtocol, Invalid, "has a scheme that is not known", "https, http or file"),
    _Trouble(httpx.ProxyError, Failed, "cannot be reached through the proxy", "look at the proxy settings"),
    _Trouble(httpx.ConnectError, Failed, "cannot be reached", "look at the address and the network"),
    _Trouble(
        httpx.TransportError,
        Failed,
        "broke the connection",
        "run it again: it goes on where it stopped, if the server can",
    ),
)


def shown(url: httpx.URL | str) -> str:
    """The URL for a message: without a password."""
    url = parse(url)
    return str(url.copy_with(userinfo=b"")) if url.userinfo else str(url)


def parse(url: httpx.URL | str) -> httpx.URL:
    """Raises `Invalid` for what is no absolute URL."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError) as error:
        raise Invalid(f"{url} is no URL: {error}", field="url", value=url) from error
    if not parsed.scheme or (not parsed.host and parsed.scheme != "file"):
        raise Invalid(f"{url} is no whole URL", field="url", value=url, hint="https://HOST/PATH")
    return parsed


def client(reach: Reach) -> httpx.AsyncClient:
    """A client for requests within `reach`; to be closed by the caller, as `async with`."""
    timeout = httpx.Timeout(reach.idle_s, connect=reach.connect_s)
    return httpx.AsyncClient(timeout=timeout, headers=_HEADERS, follow_redirects=False)


@contextlib.asynccontextmanager
async def get(
    client: httpx.AsyncClient, url: str, reach: Reach, headers: dict[str, str] | None = None
) -> AsyncIterator[httpx.Response]:
    """The open answer to a GET, after redirects; a status of 400 and more, other than 416, is raised as our error.

    Raises `httpx.TransportError` as it is: see `explained`.
    """
    request = client.build_request("GET", parse(url), headers=headers)
    for _ in range(reach.redirects + 1):
        _check_scheme(request.url, reach)
        response = await client.send(request, stream=True)
        try:
            _check_address(response, reach)
            if response.next_request is None:
                _check_status(response)
                yield response
                return
            _check_downgrade(request.url, response.next_request.url)
            request = response.next_request
        finally:
            await response.aclose()
    raise Failed(
        f"{shown(url)} redirects more than {reach.redirects} times",
        field="url",
        value=shown(url),
        hint="in a circle?",
    )


@contextlib.contextmanager
def explained(url: str) -> Iterator[None]:
    """Turn the errors of httpx into ours, by the table."""
    try:
        yield
    except httpx.HTTPError as error:
        raise explain(error, url) from error


def explain(error: httpx.HTTPError, url: str) -> GuesthouseError:
    """What an error of httpx means, by `_TROUBLES`."""
    causes = list(_causes(error))
    host = parse(url).host or shown(url)
    for row in _TROUBLES:
        if any(isinstance(cause, row.cause) for cause in causes):
            return row.kind(f"{host} {row.says}", subject=shown(url), field="url", value=shown(url), hint=row.hint)
    return Failed(f"{host}: {error}", subject=shown(url), field="url", value=shown(url))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all it came from, groups opened."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions


def _check_scheme(url: httpx.URL, reach: Reach) -> None:
    if url.scheme not in reach.schemes - {"file"}:
        allowed = ", ".join(sorted(reach.schemes))
        raise Invalid(
            f"{shown(url)} may not be asked: its scheme is {url.scheme}",
            field="url",
            value=shown(url),
            hint=f"allowed here: {allowed}",
        )


def _check_downgrade(before: httpx.URL, after: httpx.URL) -> None:
    if before.scheme == "https" and after.scheme != "https":
        raise Failed(
            f"{shown(before)} redirects to {shown(after)}, which is not encrypted", field="url", value=shown(after)
        )


def _check_address(response: httpx.Response, reach: Reach) -> None:
    """Look at the other end of the connection; through a proxy that is the proxy, whose rules then count."""
    if reach.private or getproxies().get(response.url.scheme):
        return
    peer = response.extensions["network_stream"].get_extra_info("server_addr")
    address = ipaddress.ip_address(peer[0].partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    if not address.is_global:
        raise Denied(
            f"{response.url.host} is at {address}, which is not public",
            field="url",
            value=shown(response.url),
            hint="ask the operator to import it",
        )


def _check_status(response: httpx.Response) -> None:
    code = response.status_code
    if code < 400 or code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
        return
    row = _STATUSES.get(code, _Status(Failed, "cannot serve this file", "try again later"))
    url = shown(response.url)
    raise row.kind(
        f"{response.url.host} {row.says} ({code}): {url}", subject=url, field="url", value=url, hint=row.hint
    )
