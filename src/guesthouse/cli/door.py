"""The native door, from outside: HTTP/1.1 over the house's unix socket, or over TLS to another box.

Rules
-----
1. The door's errors come back as the very `GuesthouseError` that the house raised.
2. Nobody there is `NoDaemon`, told with how to start one.
3. A connection lasts for one command and is opened by its first request. A request is never sent twice: when
   the connection breaks, the house may have heard it.
4. A remote house is known by a certificate authority (`ca`, or the system's) or by the SHA-256 `fingerprint` of
   its certificate; plain HTTP is refused, since a token would travel in it.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from guesthouse.cli.exits import NoDaemon
from guesthouse.model.errors import Denied, Failed, GuesthouseError, Invalid, from_dict
from guesthouse.model.house import House

if TYPE_CHECKING:
    import ssl

PREFIX = "/v1"
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
_CHUNK_BYTES = 256 * 1024
_REACHED_IN_S = 30


class Place(NamedTuple):
    """Where a house listens: the unix socket of a local one, or host and port of a remote one."""

    house: House | None = None
    host: str = ""
    port: int = 443
    token: str = ""
    ca: str = ""
    fingerprint: str = ""

    @property
    def name(self) -> str:
        return str(self.house.socket) if self.house else f"https://{self.host}:{self.port}"


def remote(url: str, token: str, ca: str, fingerprint: str) -> Place:
    """The place of ``https://host:port``; raises `Invalid` for what is no such URL, `Denied` without a token."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.path.strip("/"):
        raise Invalid(
            f"{url!r} is not the address of a house",
            field="GUESTHOUSE_URL",
            value=url,
            hint="write it like https://host:8443",
        )
    if not token:
        raise Denied(f"{url} wants a token", hint="set GUESTHOUSE_TOKEN; `guest token create` on that house makes one")
    if ca and not Path(ca).is_file():
        raise Invalid(f"{ca}: no such file", field="ca", value=ca, hint="name a file of certificates (PEM)")
    return Place(None, parts.hostname, parts.port or 443, token, ca, fingerprint.replace(":", "").lower())


class Door:
    """Requests to one house in the name of one project."""

    def __init__(self, place: Place, project: str) -> None:
        self.place = place
        self.project = project
        self._connection: http.client.HTTPConnection | None = None

    @property
    def headers(self) -> dict[str, str]:
        """What goes with every request, WebSocket handshakes too."""
        headers = {"X-Guesthouse-Project": self.project} if self.project else {}
        if self.place.token:
            headers["Authorization"] = f"Bearer {self.place.token}"
        return headers

    def ask(self, method: str, path: str, query: Mapping[str, object] | None = None, body: object | None = None) -> Any:
        """One request, its JSON answer (None where the answer is empty); raises the error that the door tells."""
        payload = None if body is None else json.dumps(body).encode()
        response = self._send(method, address(path, query), payload, {"Content-Type": "application/json"})
        text = self._read(response)
        return json.loads(text) if text else None

    def read(self, path: str, query: Mapping[str, object] | None = None) -> Iterator[bytes]:
        """The bytes of an answer, piece by piece."""
        response = self._send("GET", address(path, query), None, {})
        while piece := self._read(response, _CHUNK_BYTES):
            yield piece

    def write(self, path: str, query: Mapping[str, object], pieces: Iterable[bytes]) -> None:
        """Send bytes piece by piece as the body of a PUT."""
        self._read(self._send("PUT", address(path, query), pieces, {"Content-Type": "application/octet-stream"}))

    def open(self) -> socket.socket:
        """A connected socket of its own, for a WebSocket."""
        return self._guard(connect, self.place)

    def reach(self) -> socket.socket:
        """A connected socket of its own without TLS yet, for who speaks that himself (`trust`)."""
        return self._guard(reach, self.place)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _send(
        self, method: str, target: str, body: bytes | Iterable[bytes] | None, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self.place.host or "localhost")
            self._connection.sock = self._guard(connect, self.place)
        connection = self._connection
        all_headers = self.headers | (headers if body is not None else {})

        def exchange() -> http.client.HTTPResponse:
            connection.request(method, target, body, all_headers, encode_chunked=not isinstance(body, bytes | None))
            return connection.getresponse()

        response = self._guard(exchange)
        if response.status >= 400:
            raise told(response.status, self._read(response))
        return response

    def _read(self, response: http.client.HTTPResponse, amount: int | None = None) -> bytes:
        return self._guard(response.read, amount)

    def _guard(
        self, action: Callable[Parameters, Result], *given: Parameters.args, **named: Parameters.kwargs
    ) -> Result:
        """Do something on the connection; what goes wrong with it is told as an error of ours."""
        try:
            return action(*given, **named)
        except (FileNotFoundError, ConnectionRefusedError, socket.gaierror) as error:
            raise nobody(self.place) from error
        except PermissionError as error:
            raise Denied(
                f"{self.place.name} belongs to another user", hint="run guest as that user, or with sudo"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise NoDaemon(
                f"the connection to {self.place.name} broke: {error or type(error).__name__}",
                hint="`guest operation list --all` shows what the house has heard",
            ) from error


def nobody(place: Place) -> NoDaemon:
    """The error for a house where no daemon listens."""
    if place.house is None:
        return NoDaemon(
            f"no daemon answers at {place.name}", hint="check GUESTHOUSE_URL and that the daemon runs there"
        )
    return NoDaemon(
        f"no daemon answers at {place.name}",
        hint="start it with `systemctl start guesthouse`, or `guest serve` in another terminal",
    )


def address(path: str, query: Mapping[str, object] | None = None) -> str:
    """The request target of a path below the API's prefix, with its query."""
    said = {name: _written(value) for name, value in (query or {}).items()}
    return f"{PREFIX}{path}" + (f"?{urlencode(said)}" if said else "")


def segment(value: object) -> str:
    """A value as one segment of a path: a name can never reach another resource."""
    return quote(str(value), safe="")


def told(status: int, body: bytes) -> GuesthouseError:
    """The error that an answer tells; one that tells none is shown by its status and first line."""
    try:
        return from_dict(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError, AttributeError):
        line = body.decode(errors="replace").strip().split("\n", 1)[0][:200]
        return Failed(f"the door answered {status} {http.client.responses.get(status, '')}: {line}".rstrip(": "))


def reach(place: Place) -> socket.socket:
    """A connected socket to the house, without TLS."""
    if place.house is None:
        return socket.create_connection((place.host, place.port), timeout=_REACHED_IN_S)
    local = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        local.connect(str(place.house.socket))
    except OSError:
        local.close()
        raise
    return local


def connect(place: Place) -> socket.socket:
    """A connected socket to the house; over TLS where it is on another box."""
    plain = reach(place)
    if place.house is not None:
        return plain
    try:
        secure = trust(place).wrap_socket(plain, server_hostname=place.host)
    except OSError as error:
        plain.close()
        raise untrusted(place, error) or error from error
    try:
        check_certificate(place, secure.getpeercert(binary_form=True))
    except Denied:
        secure.close()
        raise
    secure.settimeout(None)
    return secure


def trust(place: Place) -> ssl.SSLContext:
    """What a remote house is known by in the handshake; where that is a fingerprint, `check_certificate` follows."""
    import ssl

    context = ssl.create_default_context(cafile=place.ca or None)
    if place.fingerprint:
        # The certificate is known by its own digest: names and authorities add nothing to that.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def untrusted(place: Place, error: OSError) -> Denied | None:
    """The error of ours for a handshake that failed because the certificate is not trusted; else None."""
    import ssl

    if not isinstance(error, ssl.SSLCertVerificationError):
        return None
    return Denied(
        f"the certificate of {place.name} is not trusted: {error.verify_message}",
        hint="name its authority with --ca FILE, or the certificate itself with --fingerprint SHA256",
    )


def check_certificate(place: Place, certificate: bytes | None) -> None:
    """Raise `Denied` unless the certificate that was shown (DER) is the expected one, where one is expected."""
    import hashlib
    import hmac

    seen = hashlib.sha256(certificate or b"").hexdigest()
    if place.fingerprint and not hmac.compare_digest(seen, place.fingerprint):
        raise Denied(
            f"{place.name} shows another certificate than the one expected",
            field="fingerprint",
            value=seen,
            hint="if the certificate was renewed on purpose, use its new fingerprint",
        )


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
