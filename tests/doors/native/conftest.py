"""A house for the tests of its native door: a real engine on a real SQLite store, a host in memory, real sockets."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
from tests.hosts import FakeHost
from tests.patience import PATIENCE_S

from guesthouse.doors.ec2.server import serve as serve_ec2
from guesthouse.doors.keeper import Keeper, keeping
from guesthouse.doors.native.certificates import ensure
from guesthouse.doors.native.listeners import Listener, bind_tcp, bind_unix
from guesthouse.doors.native.rows import Door
from guesthouse.doors.native.server import serve
from guesthouse.engine.engine import Engine, open_engine
from guesthouse.engine.hosts import Identity
from guesthouse.model.house import House
from guesthouse.store import open_store


@dataclass
class Open:
    """An open house: its parts, and how to reach it."""

    home: Path
    host: FakeHost
    engine: Engine
    door: Door
    unix: Listener
    tcp: Listener

    @property
    def socket(self) -> Path:
        return self.home / "guesthouse.sock"

    def local(self, project: str = "") -> httpx.AsyncClient:
        """A client on the unix socket."""
        headers = {"X-Guesthouse-Project": project} if project else {}
        transport = httpx.AsyncHTTPTransport(uds=str(self.socket))
        return httpx.AsyncClient(transport=transport, base_url="http://house/v1", headers=headers, timeout=PATIENCE_S)

    def remote(self, token: str, project: str = "") -> httpx.AsyncClient:
        """A client over TLS that trusts the house's own certificate."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if project:
            headers["X-Guesthouse-Project"] = project
        return httpx.AsyncClient(
            base_url=f"https://127.0.0.1:{self.tcp.port}/v1", verify=self.trust(), headers=headers, timeout=PATIENCE_S
        )

    def trust(self) -> ssl.SSLContext:
        """Trust in the house's own certificate and nobody else's."""
        assert self.tcp.certificate is not None
        return ssl.create_default_context(cafile=str(self.tcp.certificate.chain))


def clouds(engine: Engine, folder: Path) -> Keeper:
    """Who opens the doors of clouds."""
    return Keeper(
        {"ec2": partial(serve_ec2, engine)},
        lambda host: ensure(folder / "tls", [host]),
        folder / "doors.json",
        Path.write_bytes,
    )


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Open]:
    host = FakeHost()
    place = House(tmp_path, tmp_path)
    unix = bind_unix(place.socket)
    tcp = bind_tcp("127.0.0.1", 0, ensure(tmp_path / "tls", ["127.0.0.1", "localhost"]))
    async with (
        open_store(f"sqlite:///{place.database}") as store,
        open_engine(store, host, place, Identity("here", "boot-1"), Random(7)) as engine,
        keeping(clouds(engine, tmp_path)) as kept,
        serve(engine, [unix, tcp], kept) as door,
    ):
        host.network_facts.refused = None
        yield Open(tmp_path, host, engine, door, unix, tcp)


@pytest.fixture
async def client(house: Open) -> AsyncIterator[httpx.AsyncClient]:
    async with house.local() as client:
        yield client


async def done(client: httpx.AsyncClient, response: httpx.Response) -> dict[str, Any]:
    """Wait for the operation that a request was answered with; it must end well."""
    assert response.status_code == 202, response.text
    operation: dict[str, Any] = response.json()
    while operation["state"] not in ("done", "failed", "cancelled"):
        answer = await client.get(f"/operations/{operation['id']}", params={"wait_s": 10, "after": operation["stamp"]})
        operation = answer.json()
    assert operation["state"] == "done", operation
    return operation


async def furnish(client: httpx.AsyncClient, name: str = "web") -> dict[str, Any]:
    """An image and a running machine on it; the machine's document."""
    if not (await client.get("/images")).json()["items"]:
        await done(client, await client.post("/images/build", json={"recipe": "micro"}))
    await done(client, await client.post("/machines", json={"spec": {"name": name, "image": "micro"}}))
    document: dict[str, Any] = (await client.get(f"/machines/{name}")).json()
    return document
