"""Networks that are not, or no longer, as they are wanted."""

from __future__ import annotations

import asyncio

import pytest
from tests.engine.house import at_work, do
from tests.engine.on_networks import create, shown
from tests.hosts import FakeHost
from tests.patience import PATIENCE_S

from guesthouse.engine import network_intents as asked
from guesthouse.model.errors import (
    Failed,
)
from guesthouse.ports import Store


async def applied(host: FakeHost, name: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while await host.networks.applied.get() != name:
            pass


async def test_what_others_take_away_is_made_again(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await do(engine, asker, create())
        await applied(host, "lan")
        host.networks.drift((await shown(engine, asker)).network.id)
        await applied(host, "lan")
        assert "network.repair of lan: there is no link" in caplog.text
    host.networks.made.clear()
    async with at_work(store, host):
        await applied(host, "lan")
        assert "network.repair of lan: there is none" in caplog.text


async def test_what_was_wanted_while_no_daemon_was_there_is_applied(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await do(engine, asker, create())
        network = (await shown(engine, asker)).network
        await applied(host, "lan")
    async with store.write() as tx:
        await tx.networks.update(network.id, {}, generation=7, mtu=1300)
    async with at_work(store, host) as (engine, asker):
        await applied(host, "lan")
        assert host.networks.made[network.id].network.mtu == 1300
        async with asyncio.timeout(PATIENCE_S):
            while (await shown(engine, asker)).network.observed_generation != 7:
                await asyncio.sleep(0)


async def test_what_cannot_be_mended_is_told_and_takes_nobody_with_it(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await do(engine, asker, create())
        host.networks.faults["apply"] = Failed("nft is gone")
        host.networks.drift((await shown(engine, asker)).network.id)
        async with asyncio.timeout(PATIENCE_S):
            while "network.repair of lan: nft is gone" not in caplog.text:
                await asyncio.sleep(0)
        host.networks.faults.clear()
        await do(engine, asker, asked.GroupCreate(network="lan", name="web"))
