"""HTTP as all doors serve it: uvicorn without its signal handlers, its clock tick and its logs of requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

GRACE_S = 1
IDLE_S = 5
MAX_CONNECTIONS = 512


def http_server(app: ASGIApp, *, chain: Path | None = None, key: Path | None = None, **more: Any) -> uvicorn.Server:
    """A server of an application, over TLS with a certificate's `chain` and its `key`; it is not started."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=GRACE_S,
        ssl_certfile=chain,
        ssl_keyfile=key,
        **more,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    return server
