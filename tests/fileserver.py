"""A real HTTP server for tests of downloads: ranges, validators, and every way to misbehave."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


@dataclass
class File:
    """What is served at a path, and how.

    `cuts` are numbers of body bytes after which the connection is broken, one for each request, until none is
    left; `stall` holds the connection after the first `stall` bytes, saying nothing more.
    """

    data: bytes = b""
    etag: str = ""
    last_modified: str = ""
    status: int = 200
    redirect: str = ""
    announce: bool = True
    announced_bytes: int | None = None
    ranges: bool = True
    wrong_range: bool = False
    stall: int | None = None
    cuts: list[int] = field(default_factory=list)


class Request(NamedTuple):
    """What was asked for."""

    path: str
    range: str
    if_range: str


class Server:
    """Serves `files` by path and notes all `requests`."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.files: dict[str, File] = {}
        self.requests: list[Request] = []
        self.closing = threading.Event()


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """A server on a free port of this host."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    http.daemon_threads = True
    served = Server(http.server_port)
    http.served = served  # type: ignore[attr-defined]
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield served
    finally:
        served.closing.set()
        http.shutdown()
        thread.join()
        http.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        served: Server = self.server.served  # type: ignore[attr-defined]
        self.close_connection = True
        served.requests.append(Request(self.path, self.headers.get("Range", ""), self.headers.get("If-Range", "")))
        file = served.files.get(self.path, File(status=404))
        if file.status != 200 or file.redirect:
            self._head(file.status if file.status != 200 else 302, {"Location": file.redirect, "Content-Length": "0"})
            return
        start = self._start(file)
        if start > len(file.data):
            self._head(416, {"Content-Range": f"bytes */{len(file.data)}", "Content-Length": "0"})
            return
        self._head(206 if start else 200, self._fields(file, start))
        self._body(served, file, file.data[start:])

    def _start(self, file: File) -> int:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        same = self.headers.get("If-Range", "") in (file.etag, file.last_modified)
        return int(asked[1]) if asked and same and file.ranges else 0

    def _fields(self, file: File, start: int) -> dict[str, str]:
        fields = {"ETag": file.etag, "Last-Modified": file.last_modified, "Connection": "close"}
        if file.announce:
            fields["Content-Length"] = str(file.announced_bytes or len(file.data) - start)
        if start:
            first = start + 1 if file.wrong_range else start
            fields["Content-Range"] = f"bytes {first}-{len(file.data) - 1}/{len(file.data)}"
        return fields

    def _head(self, status: int, fields: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in fields.items():
            if value:
                self.send_header(name, value)
        self.end_headers()

    def _body(self, served: Server, file: File, data: bytes) -> None:
        if file.cuts:
            data = data[: file.cuts.pop(0)]
        if file.stall is not None:
            self.wfile.write(data[: file.stall])
            self.wfile.flush()
            served.closing.wait()
            return
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the test looks at `requests`."""
