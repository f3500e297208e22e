"""The EC2 door, open: `async with serve(engine, listener)`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from socket import socket

from guesthouse.doors.ec2.application import Ec2, application
from guesthouse.doors.ec2.table import services
from guesthouse.doors.serving import MAX_CONNECTIONS, http_server
from guesthouse.engine.engine import Engine


@asynccontextmanager
async def serve(
    engine: Engine, listener: socket, chain: Path | None = None, key: Path | None = None
) -> AsyncIterator[None]:
    """Answer at a socket, over TLS where there is a certificate, as long as the block lasts."""
    app = application(Ec2(engine, services()))
    server = http_server(app, chain=chain, key=key, http="h11", ws="none", limit_concurrency=MAX_CONNECTIONS)
    await server.startup(sockets=[listener])
    try:
        yield
    finally:
        await server.shutdown(sockets=[listener])
