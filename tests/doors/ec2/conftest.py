"""A house with its EC2 door open, on a host in memory: a real engine, a real store, real sockets, real clients."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from tests.hosts import FakeHost

from guesthouse.catalog.places import REGION
from guesthouse.doors.ec2.server import serve
from guesthouse.engine import door_intents, intents, network_intents
from guesthouse.engine.engine import Engine, open_engine
from guesthouse.engine.hosts import Identity
from guesthouse.engine.intents import Asker
from guesthouse.formats.cloudids import ec2_id
from guesthouse.model.house import House
from guesthouse.model.network import NetworkMode
from guesthouse.model.resources import Role
from guesthouse.store import open_store


@dataclass
class Cloud:
    """An open EC2 door, and the house behind it."""

    engine: Engine
    host: FakeHost
    url: str
    asker: Asker

    async def client(self, service: str = "ec2", *, asker: Asker | None = None, role: Role = Role.OPERATOR) -> Client:
        """A client with an access key of its own."""
        asker = asker or self.asker
        key = await self.engine.accept(asker, door_intents.AccessKeyCreate(role=role))
        return self.client_with(key.name, await self.engine.access.secret(key.name), service)

    def client_with(self, key: str, secret: str, service: str = "ec2") -> Client:
        """A client that signs with this key."""
        session = botocore.session.Session()
        once = Config(retries={"max_attempts": 1, "mode": "standard"}, parameter_validation=False)
        return Client(
            session.create_client(
                service,
                region_name="local-1",
                endpoint_url=self.url,
                aws_access_key_id=key,
                aws_secret_access_key=secret,
                config=once,
            )
        )

    async def environment(self, asker: Asker | None = None) -> dict[str, str]:
        """What programs need that are to use this door: as `guest ec2 credentials` prints it."""
        key = await self.engine.accept(asker or self.asker, door_intents.AccessKeyCreate())
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": key.name,
            "AWS_SECRET_ACCESS_KEY": await self.engine.access.secret(key.name),
            "AWS_DEFAULT_REGION": REGION,
        }

    async def project(self, name: str) -> Asker:
        """An administrator of another project."""
        project = await self.engine.accept(self.asker, intents.ProjectCreate(name=name))
        return Asker(project.id, Role.ADMIN)

    async def done(self, intent: intents.Intent, asker: Asker | None = None) -> Any:
        """Ask something of the house itself, and wait until it is done."""
        asker = asker or self.asker
        accepted = await self.engine.accept(asker, intent)
        await self.engine.views.ended(asker, [accepted], wait_s=30)
        return accepted

    async def network(self, name: str = "vpc", asker: Asker | None = None) -> tuple[str, str]:
        """A private network with a subnet; the ids of both."""
        network = await self.done(network_intents.NetworkCreate(name=name, mode=NetworkMode.PRIVATE), asker)
        subnet = await self.done(network_intents.SubnetCreate(network=name, cidr="10.0.0.0/24"), asker)
        return network.subject, subnet.context["result"]["subnet"]


class Client:
    """botocore's client, off the loop: `await client("describe_instances", InstanceIds=[...])`."""

    def __init__(self, client: Any) -> None:
        self.plain = client

    async def __call__(self, operation: str, **arguments: Any) -> Any:
        return await asyncio.to_thread(getattr(self.plain, operation), **arguments)

    async def refused(self, operation: str, **arguments: Any) -> tuple[str, str]:
        """The code and the message with which it is refused."""
        with pytest.raises(ClientError) as caught:
            await self(operation, **arguments)
        error = caught.value.response["Error"]
        return error["Code"], error["Message"]

    async def until(self, state: str, instance: str) -> dict[str, Any]:
        """The instance, once it is in this state."""
        await asyncio.to_thread(
            self.plain.get_waiter(f"instance_{state}").wait,
            InstanceIds=[instance],
            WaiterConfig={"Delay": 0.05, "MaxAttempts": 200},
        )
        answer = await self("describe_instances", InstanceIds=[instance])
        found: dict[str, Any] = answer["Reservations"][0]["Instances"][0]
        return found


@asynccontextmanager
async def a_cloud(folder: Path) -> AsyncIterator[Cloud]:
    """A house in a folder with an image and its EC2 door open."""
    host = FakeHost()
    place = House(folder, folder)
    listener = socket.create_server(("127.0.0.1", 0))
    async with (
        open_store(f"sqlite:///{place.database}") as store,
        open_engine(store, host, place, Identity("here", "boot-1"), Random(7)) as engine,
        serve(engine, listener),
    ):
        host.network_facts.refused = None
        asker = await engine.access.local()
        cloud = Cloud(engine, host, f"http://127.0.0.1:{listener.getsockname()[1]}", asker)
        await cloud.done(intents.ImageBuild(recipe="micro"))
        yield cloud
    listener.close()


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Cloud]:
    async with a_cloud(tmp_path) as cloud:
        yield cloud


@pytest.fixture
async def client(cloud: Cloud) -> Client:
    return await cloud.client()


@pytest.fixture
async def image(client: Client, cloud: Cloud) -> str:
    """The EC2 id of an image."""
    (found,) = await cloud.engine.views.images(cloud.asker)
    return ec2_id("ami", found.id)
