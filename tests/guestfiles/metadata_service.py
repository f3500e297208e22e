"""A metadata service with the layout of EC2's, on a port of the loopback interface."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "token-of-the-session"
_HEADER = "X-aws-ec2-metadata-token"


def layout(user_data: str, keys: Mapping[str, str], version: str = "2021-03-23") -> dict[str, str]:
    """Documents by path; a folder lists what is in it, keys as INDEX=NAME."""
    meta = f"/{version}/meta-data"
    return {
        f"{meta}/instance-id": "i-0123456789abcdef0",
        f"{meta}/local-hostname": "ip-10-0-2-15.example.org",
        f"{meta}/public-keys/": "\n".join(f"{index}={name}" for index, name in enumerate(keys)),
        **{f"{meta}/public-keys/{index}/openssh-key": f"{key}\n" for index, key in enumerate(keys.values())},
        f"/{version}/user-data": user_data,
    }


@contextmanager
def serving(documents: Mapping[str, str], *, tokens: bool = True) -> Iterator[int]:
    """Serve the documents and yield the port; with `tokens` a request without one is refused (IMDSv2 required)."""

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            if tokens and self.path == "/latest/api/token" and int(self.headers[f"{_HEADER}-ttl-seconds"]) > 0:
                self._answer(200, TOKEN)
            else:
                self._answer(404, "no tokens here")

        def do_GET(self) -> None:
            if tokens and self.headers[_HEADER] != TOKEN:
                self._answer(401, "a token is required")
            elif self.path in documents:
                self._answer(200, documents[self.path])
            else:
                self._answer(404, "not found")

        def _answer(self, status: int, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
