"""What is listed of instances is what is so, whatever was kept of earlier lists."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from botocore.exceptions import ClientError
from tests.doors.ec2.conftest import Client, Cloud
from tests.patience import PATIENCE_S

from guesthouse.doors.ec2.instances import view
from guesthouse.doors.ec2.table import services
from guesthouse.engine.intents import Asker
from guesthouse.engine.stock import Stock, Stocktaking
from guesthouse.formats.cloudids import ec2_id
from guesthouse.store import SqlStore

SERVICE = services()["ec2"]
ROW = SERVICE.rows["DescribeInstances"]


def document(stock: Stock) -> bytes:
    """The answer that lists all instances of a stock."""
    assert ROW.listing is not None
    return SERVICE.writer.answer(ROW.action, ROW.listing.answer(stock, {}, SERVICE.filters(ROW, ())), "request")


async def both(cloud: Cloud, asker: Asker) -> tuple[bytes, bytes]:
    """What is answered from what is kept, and from what is there now, of one moment: machines change all the time."""
    store = cloud.engine.accept.store
    assert isinstance(store, SqlStore)
    async with asyncio.timeout(PATIENCE_S):
        while True:
            kept = await cloud.engine.stock(asker, view.NOUNS)
            fresh = await Stocktaking(store, store, cloud.host.facts)(asker, view.NOUNS)
            if kept.number == fresh.number:
                return document(kept), document(fresh)


class Tenant:
    """Does anything with instances of a project."""

    def __init__(self, client: Client, image: str, subnet: str, random: Random) -> None:
        self._client, self._image, self._subnet, self._random = client, image, subnet, random
        self._there: list[str] = []

    async def act(self) -> None:
        """One thing; what EC2 refuses changes nothing."""
        acts = (self._run, self._run, self._stop, self._start, self._tag, self._untag, self._guard, self._terminate)
        try:
            await self._random.choice(acts if self._there else acts[:1])()
        except ClientError as error:
            assert "InternalError" not in str(error)

    async def _run(self) -> None:
        count = self._random.randint(1, 2)
        made = await self._client(
            "run_instances", ImageId=self._image, SubnetId=self._subnet, MinCount=count, MaxCount=count,
        )  # fmt: skip
        self._there += [each["InstanceId"] for each in made["Instances"]]

    async def _stop(self) -> None:
        await self._client("stop_instances", InstanceIds=[self._any()], Force=True)

    async def _start(self) -> None:
        await self._client("start_instances", InstanceIds=[self._any()])

    async def _tag(self) -> None:
        tag = {"Key": self._random.choice("ab"), "Value": f"<{self._random.random()}> ü"}
        await self._client("create_tags", Resources=[self._any()], Tags=[tag])

    async def _untag(self) -> None:
        await self._client("delete_tags", Resources=[self._any()], Tags=[{"Key": self._random.choice("ab")}])

    async def _guard(self) -> None:
        options = {"HttpTokens": self._random.choice(["optional", "required"])}
        await self._client("modify_instance_metadata_options", InstanceId=self._any(), **options)

    async def _terminate(self) -> None:
        await self._client("terminate_instances", InstanceIds=[self._any()])

    def _any(self) -> str:
        return self._random.choice(self._there)


@pytest.mark.parametrize("seed", range(3))
async def test_what_is_kept_is_listed_as_what_is_read_anew(cloud: Cloud, image: str, seed: int) -> None:
    random = Random(seed)
    askers = [cloud.asker, await cloud.project("other")]
    (public,) = await cloud.engine.views.images(askers[1])
    assert ec2_id("ami", public.id) == image
    tenants = []
    for asker in askers:
        _, subnet = await cloud.network("vpc", asker)
        tenants.append(Tenant(await cloud.client(asker=asker), image, ec2_id("subnet", subnet), random))
    for _ in range(20):
        await random.choice(tenants).act()
        for asker in askers:
            kept, fresh = await both(cloud, asker)
            assert kept == fresh
    first, second = [await both(cloud, asker) for asker in askers]
    assert min(first[0].count(b"<instanceId>"), second[0].count(b"<instanceId>")) > 0
    assert not set(ids_in(first[0])) & set(ids_in(second[0]))


def ids_in(answer: bytes) -> list[str]:
    """The ids of the instances in an answer."""
    return [part.partition("<")[0] for part in answer.decode().split("<instanceId>")[1:]]
