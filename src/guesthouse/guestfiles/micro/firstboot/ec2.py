"""The EC2 metadata service, as an instance asks it.

Source: Amazon's "Instance metadata and user data": IMDSv2 with a session token, IMDSv1 without.
"""

from __future__ import annotations

import http.client

from .guest import Refused
from .sources import Seed

ADDRESS = "169.254.169.254"
_PORT = 80
_TIMEOUT_S = 10
_TOKEN_LIFE_S = 21600
_TOKEN_HEADER = "X-aws-ec2-metadata-token"  # noqa: S105 - the name of a header
_VERSIONS = ("2021-03-23", "2018-09-24", "2016-09-02", "2009-04-04")
_NO_SERVICE = (404, 403, 405, 400, 501)


class Service:
    """The service at an address; a connection a request, as simple servers expect it."""

    def __init__(self, address: str = ADDRESS, port: int = _PORT) -> None:
        self.address = address
        self.port = port
        self.headers: dict[str, str] = {}

    def log_in(self) -> None:
        """Get a session token (IMDSv2); a service that has none is asked without (IMDSv1)."""
        status, body = self._ask("PUT", "/latest/api/token", {f"{_TOKEN_HEADER}-ttl-seconds": str(_TOKEN_LIFE_S)})
        if status == 200:
            self.headers = {_TOKEN_HEADER: body.decode("ascii", "replace").strip()}
        elif status not in _NO_SERVICE:
            raise Refused(f"the metadata service at {self.address} answers {status} to a token request")

    def get(self, path: str) -> bytes | None:
        """One document, None when there is no such."""
        status, body = self._ask("GET", path, self.headers)
        if status == 404:
            return None
        if status != 200:
            raise Refused(f"the metadata service at {self.address} answers {status} to {path}")
        return body

    def text(self, path: str) -> str:
        """One document as text; empty when there is no such."""
        return (self.get(path) or b"").decode(errors="replace").strip()

    def _ask(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.address, self.port, timeout=_TIMEOUT_S)
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Refused(f"the metadata service at {self.address} does not answer: {error}") from error
        finally:
            connection.close()


def read(service: Service) -> Seed:
    """All that we use of the service. What fails is among the seed's problems."""
    seed = Seed("ec2", "DataSourceEc2")
    try:
        service.log_in()
        version = next(version for version in (*_VERSIONS, "") if not version or _has(service, version))
        base = f"/{version or 'latest'}"
        for name in ("instance-id", "local-hostname", "hostname", "local-ipv4"):
            seed.metadata[name] = service.text(f"{base}/meta-data/{name}")
        seed.keys = _keys(service, f"{base}/meta-data/public-keys/")
        seed.userdata = service.get(f"{base}/user-data") or b""
    except Refused as problem:
        seed.problems.append(str(problem))
    return seed


def _has(service: Service, version: str) -> bool:
    return bool(service.text(f"/{version}/meta-data/instance-id"))


def _keys(service: Service, folder: str) -> list[str]:
    # A line is INDEX=NAME; the key itself lies below its index.
    indices = [line.partition("=")[0] for line in service.text(folder).splitlines() if line]
    return [key for index in indices if (key := service.text(f"{folder}{index}/openssh-key"))]
