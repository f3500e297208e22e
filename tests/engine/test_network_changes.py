"""Changes of networks, groups and rules: what becomes of them, and of those that fail."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from tests.engine.house import at_work, do, ended, fails, launch, with_image
from tests.engine.on_networks import NAT, a_port, create, rule, shown
from tests.hosts import FakeHost
from tests.patience import PATIENCE_S

from guesthouse.engine import intents
from guesthouse.engine import network_intents as asked
from guesthouse.model.errors import (
    Conflict,
    Failed,
)
from guesthouse.model.network import Protocol
from guesthouse.model.resources import Operation, OperationState
from guesthouse.ports import Store


async def test_changes_reach_the_host(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await do(engine, asker, create())
        id = (await shown(engine, asker)).network.id
        subnet = await do(engine, asker, asked.SubnetCreate(network="lan", cidr="10.1.0.0/24"))
        group = await do(engine, asker, asked.GroupCreate(network="lan", name="web"))
        added = await do(engine, asker, rule())
        await do(engine, asker, rule(protocol=Protocol.ICMP, first_port=None))
        made = host.networks.made[id]
        assert (made.subnets[0].id, made.subnets[0].name) == (subnet.result["subnet"], "subnet-1")
        assert made.groups[1].id == group.result["group"]
        numbers = [(each.protocol, each.first_port, each.last_port) for each in made.groups[1].rules]
        assert numbers == [(Protocol.TCP, 80, 80), (Protocol.ICMP, -1, -1)]
        await do(engine, asker, asked.NetworkChange(network="lan", ipv6=True, mtu=1400, domain="shop.example"))
        made = host.networks.made[id]
        assert (made.network.mtu, made.network.domain, made.subnets[0].cidr6[:2]) == (1400, "shop.example", "fd")
        await do(engine, asker, asked.RuleRemove(network="lan", group="web", rule=added.result["rule"]))
        assert [each.protocol for each in host.networks.made[id].groups[1].rules] == [Protocol.ICMP]
        await do(engine, asker, asked.GroupDelete(network="lan", group="web"))
        await do(engine, asker, asked.SubnetDelete(network="lan", subnet="subnet-1"))
        made = host.networks.made[id]
        assert (len(made.groups), made.subnets) == (1, ())
        network = (await shown(engine, asker)).network
        assert network.generation == network.observed_generation == made.network.generation == 9
        already = await do(engine, asker, asked.NetworkChange(network="lan", mtu=1400))
        assert already.result == {"already": True}


async def test_a_change_that_the_host_refuses_is_taken_back(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await do(engine, asker, create())
        await do(engine, asker, asked.SubnetCreate(network="lan", cidr="10.1.0.0/24"))
        await do(engine, asker, asked.GroupCreate(network="lan", name="web"))
        added = await do(engine, asker, rule())
        before = await wishes(store)
        for intent in (
            asked.NetworkChange(network="lan", ipv6=True, mtu=1400),
            asked.SubnetCreate(network="lan", cidr="10.2.0.0/24"),
            asked.SubnetDelete(network="lan", subnet="subnet-1"),
            asked.GroupCreate(network="lan", name="more"),
            asked.GroupDelete(network="lan", group="web"),
            rule(first_port=81),
            asked.RuleRemove(network="lan", group="web", rule=added.result["rule"]),
        ):
            host.networks.faults["apply"] = Failed("no")
            await fails(engine, asker, intent)
            host.networks.faults.clear()
            assert await wishes(store) == before, intent
            # What was taken back is had by the host again as soon as it can.
            await do(engine, asker, rule(first_port=99))
            last = (await engine.networks.group(asker, "lan", "web")).group.rules[-1]
            await do(engine, asker, asked.RuleRemove(network="lan", group="web", rule=last.id))


async def wishes(store: Store) -> list[Any]:
    """What is wanted, without generations and times."""
    async with store.read() as tx:
        found = [
            *await tx.networks.select(),
            *await tx.subnets.select(),
            *await tx.groups.select(),
            *await tx.ports.select(),
        ]
    steady = {"generation": 0, "observed_generation": 0, "created_at": 0.0}
    kept = [{**msgspec.to_builtins(each), **steady} for each in found]
    return sorted(kept, key=lambda each: str(each["id"]))


async def test_of_two_changes_one_that_is_cancelled_leaves_the_other(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await do(engine, asker, create())
        await do(engine, asker, asked.GroupCreate(network="lan", name="web"))
        host.networks.gates["apply"] = gate = asyncio.Event()
        accepted = [await engine.accept(asker, rule(first_port=port)) for port in (1, 2)]
        first, second = [each for each in accepted if isinstance(each, Operation)]
        await engine.accept(asker, intents.OperationCancel(operation=first.id))
        async with asyncio.timeout(PATIENCE_S):
            while (await engine.views.operation(asker, first.id)).state is not OperationState.UNDOING:
                await asyncio.sleep(0)
        gate.set()
        assert (await ended(engine, asker, first)).state is OperationState.CANCELLED
        assert (await ended(engine, asker, second)).state is OperationState.DONE
        rules = (await engine.networks.group(asker, "lan", "web")).group.rules
        assert [each.first_port for each in rules] == [2]


async def test_a_network_that_is_being_made_or_removed_is_not_changed(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        host.networks.gates["apply"] = gate = asyncio.Event()
        operation = await engine.accept(asker, create())
        assert isinstance(operation, Operation)
        for intent in (asked.NetworkChange(network="lan", mtu=1400), asked.GroupCreate(network="lan", name="web")):
            with pytest.raises(Conflict, match="is not ready: making"):
                await engine.accept(asker, intent)
        with pytest.raises(Conflict, match=r"network\.create is under way"):
            await engine.accept(asker, asked.NetworkDelete(network="lan"))
        gate.set()
        await ended(engine, asker, operation)
        host.networks.faults["remove"] = Failed("no")
        await fails(engine, asker, asked.NetworkDelete(network="lan"))
        with pytest.raises(Conflict, match="is not ready: deleting"):
            await engine.accept(asker, asked.NetworkChange(network="lan", mtu=1400))
        host.networks.faults.clear()
        await do(engine, asker, asked.NetworkDelete(network="lan"))


async def test_ipv6_comes_to_the_machines_that_are_there_and_goes_again(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch())
        await do(engine, asker, create("home", NAT))
        network = (await shown(engine, asker, "home")).network
        async with store.write() as tx:
            await a_port(tx, network, "web")
        await do(engine, asker, asked.NetworkChange(network="home", ipv6=True))
        (port,) = host.networks.made[network.id].ports
        assert port.port.address6 == host.networks.made[network.id].subnets[0].cidr6.replace("/64", "b")
        await do(engine, asker, asked.NetworkChange(network="home", ipv6=False))
        (port,) = host.networks.made[network.id].ports
        assert port.port.address6 == ""
