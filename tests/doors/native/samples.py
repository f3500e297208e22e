"""A request for any row of the table, made from the row: the least that it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
from tests.doors.native.conftest import Open
from websockets.asyncio.client import connect, unix_connect
from websockets.exceptions import InvalidStatus

from guesthouse.doors.native.rows import Content, Row

# For websockets: no clock of the client's own ends a connection that is slow.
PATIENT: dict[str, Any] = {"open_timeout": None, "ping_interval": None, "close_timeout": None, "compression": None}

PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me"

VALUES: dict[str, Any] = {
    "argv": ["true"],
    "cidr": "10.9.0.0/24",
    "door": "ec2",
    "format": "raw",
    "forward": {"guest_port": 80},
    "groups": [],
    "guest_port": "80",
    "image": "nothing",
    "listen": "127.0.0.1:0",
    "machine": "nothing",
    "name": "other",
    "path": "/etc/hostname",
    "port": "80",
    "project": "nothing",
    "protocol": "tcp",
    "public": PUBLIC_KEY,
    "quota": {},
    "recipe": "micro",
    "reference": "debian:12",
    "size_mib": 100,
    "source": "https://images.example.org/one.qcow2",
    "spec": {"name": "other"},
}


def path_of(row: Row, names: Mapping[str, str] | None = None) -> str:
    """The row's path with names filled in, ``nothing`` where none is given, and the query that it must have."""
    said = {name: (names or {}).get(name) or VALUES.get(name, "nothing") for name in row.in_path}
    path = row.path.format(**{name: quote(value, safe="") for name, value in said.items()})
    query = {
        field.name: VALUES[field.name]
        for field in msgspec.structs.fields(row.params)
        if field.required and field.name not in row.in_path
    }
    return f"{path}?{httpx.QueryParams(query)}" if query else path


def body_of(row: Row) -> dict[str, Any]:
    """The row's body as arguments of `httpx`: its required fields."""
    if row.body is None:
        return {}
    if isinstance(row.body, Content):
        return {"content": b"some bytes"}
    return {"json": {f.name: VALUES[f.name] for f in msgspec.structs.fields(row.body) if f.required}}


async def status_of(house: Open, client: httpx.AsyncClient, row: Row, names: Mapping[str, str] | None = None) -> int:
    """Ask for the row, and say with which status it is answered; a websocket that opens is 101."""
    path = path_of(row, names)
    if row.session is None:
        return (await client.request(row.method, path, **body_of(row))).status_code
    headers = {
        name: value for name, value in client.headers.items() if name in ("authorization", "x-guesthouse-project")
    }
    try:
        async with socket_to(house, client, path, headers):
            return 101
    except InvalidStatus as refused:
        assert b'"error"' in (refused.response.body or b"")
        return refused.response.status_code


def socket_to(house: Open, client: httpx.AsyncClient, path: str, headers: Mapping[str, str] | None = None) -> connect:
    """A websocket to where the client asks."""
    if client.base_url.scheme == "http":
        return unix_connect(str(house.socket), f"ws://house/v1{path}", additional_headers=headers, **PATIENT)
    address = f"wss://127.0.0.1:{house.tcp.port}/v1{path}"
    return connect(address, ssl=house.trust(), additional_headers=headers, **PATIENT)
