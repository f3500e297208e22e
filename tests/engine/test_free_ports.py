"""Ports that no machine has, or that outlast theirs; addresses that are lent; ways out; blocks of networks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace
from tests.engine.house import at_work, do, fails, launch, with_image
from tests.engine.on_networks import create, tenant
from tests.hosts import FakeHost

from guesthouse.engine import intents, nic_intents
from guesthouse.engine import network_intents as asked
from guesthouse.engine.engine import Engine
from guesthouse.engine.intents import Asker
from guesthouse.model.errors import Conflict, Failed, GuesthouseError, Invalid, NoCapacity, NotFound, QuotaExceeded
from guesthouse.model.machine import NicSpec
from guesthouse.model.network import Elastic, Outlet, Port, Subnet
from guesthouse.ports import Store


class Lan:
    """A private network `lan` with a subnet, and what a test asks about it."""

    def __init__(self, engine: Engine, asker: Asker, host: FakeHost, store: Store) -> None:
        self.engine, self.asker, self.host, self.store = engine, asker, host, store

    async def port(self, id: str) -> Port | None:
        async with self.store.read() as tx:
            return await tx.ports.get(id)

    async def elastics(self) -> list[Elastic]:
        async with self.store.read() as tx:
            return await tx.elastics.select()

    async def subnet(self) -> Subnet:
        (found,) = await self.engine.networks.subnets(self.asker, "lan")
        return found

    async def kept(self, **said: object) -> Port:
        operation = await do(self.engine, self.asker, asked.PortCreate(network="lan", **said))  # type: ignore[arg-type]
        found = await self.port(operation.context["result"]["port"])
        assert found is not None
        return found


@asynccontextmanager
async def a_lan(store: Store) -> AsyncIterator[Lan]:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, create("lan", cidr="10.1.0.0/16"))
        await do(engine, asker, asked.SubnetCreate(network="lan", cidr="10.1.0.0/24"))
        yield Lan(engine, asker, host, store)


async def test_a_port_is_there_before_its_machine_and_after_it(store: Store) -> None:
    async with a_lan(store) as lan:
        await lan.engine.accept(lan.asker, asked.PoolAdd(cidr="192.0.2.0/29"))
        kept = await lan.kept(address="10.1.0.9")
        assert (kept.machine, kept.address, kept.stays, len(kept.groups)) == ("", "10.1.0.9", True, 1)
        address = await lan.engine.accept(lan.asker, asked.AddressAllocate())
        assert isinstance(address, Elastic)
        await do(lan.engine, lan.asker, asked.AddressLead(address=address.id, port=kept.id))
        await do(lan.engine, lan.asker, launch(nics=(NicSpec(network="lan", mac=kept.mac),)))
        taken = await lan.port(kept.id)
        assert taken is not None
        assert (taken.name, taken.address, taken.groups) == ("web", "10.1.0.9", kept.groups)
        with pytest.raises(Conflict, match="machine web has this port"):
            await lan.engine.accept(lan.asker, asked.PortDelete(port=kept.id))
        with pytest.raises(Conflict, match="the place of NIC"):
            await lan.engine.accept(lan.asker, nic_intents.NicMove(machine="web", nic=kept.mac, address="10.1.0.10"))
        await do(lan.engine, lan.asker, intents.Delete(machine="web"))
        left = await lan.port(kept.id)
        assert left is not None
        assert (left.machine, left.name, left.address) == ("", "", "10.1.0.9")
        assert [each.port for each in await lan.elastics()] == [kept.id]
        await do(lan.engine, lan.asker, asked.PortDelete(port=kept.id))
        assert await lan.port(kept.id) is None
        assert [each.port for each in await lan.elastics()] == [""]


async def test_a_port_that_no_longer_stays_goes_with_its_machine(store: Store) -> None:
    async with a_lan(store) as lan:
        kept = await lan.kept()
        with pytest.raises(Conflict, match="no machine has this port"):
            await lan.engine.accept(lan.asker, asked.PortChange(port=kept.id, stays=False))
        await do(lan.engine, lan.asker, launch(nics=(NicSpec(network="lan", mac=kept.mac),)))
        await do(lan.engine, lan.asker, asked.PortChange(port=kept.id, stays=False, guarded=False))
        changed = await lan.port(kept.id)
        assert changed is not None
        assert (changed.stays, changed.guarded) == (False, False)
        await do(lan.engine, lan.asker, intents.Delete(machine="web"))
        assert await lan.port(kept.id) is None


async def test_what_fails_leaves_ports_as_they_were(store: Store) -> None:
    async with a_lan(store) as lan:
        kept = await lan.kept()
        for intent in (
            asked.PortCreate(network="lan"),
            asked.PortChange(port=kept.id, guarded=False),
            asked.PortDelete(port=kept.id),
            asked.SubnetChange(network="lan", subnet="subnet-1", outlet=Outlet.NONE),
        ):
            lan.host.networks.faults["apply"] = Failed("no")
            await fails(lan.engine, lan.asker, intent)
            lan.host.networks.faults.clear()
            async with lan.store.read() as tx:
                (now,) = await tx.ports.select()
            assert replace(now, created_at=kept.created_at) == kept
            assert (await lan.subnet()).outlet is Outlet.ALL


async def test_a_public_nic_is_lent_an_address(store: Store) -> None:
    async with a_lan(store) as lan:
        public = launch(nics=(NicSpec(network="lan", public=True),))
        with pytest.raises(NoCapacity):
            await lan.engine.accept(lan.asker, public)
        await lan.engine.accept(lan.asker, asked.PoolAdd(cidr="192.0.2.0/29"))
        await do(lan.engine, lan.asker, public)
        (lent,) = await lan.elastics()
        assert lent.lent
        network = (await lan.engine.networks.network(lan.asker, "lan")).network
        assert [each.elastic for each in lan.host.networks.made[network.id].ports] == [lent.address]
        await do(lan.engine, lan.asker, intents.Delete(machine="web"))
        assert await lan.elastics() == []


async def test_ways_out_and_gates(store: Store) -> None:
    async with a_lan(store) as lan:
        gate = await lan.kept()
        shared = asked.SubnetChange(network="lan", subnet="subnet-1", outlet=Outlet.SHARED, gate=gate.id)
        await do(lan.engine, lan.asker, shared)
        assert ((await lan.subnet()).outlet, (await lan.subnet()).gate) == (Outlet.SHARED, gate.id)
        with pytest.raises(Conflict, match="subnets go out by this port"):
            await lan.engine.accept(lan.asker, asked.PortDelete(port=gate.id))
        with pytest.raises(NotFound):
            await lan.engine.accept(lan.asker, asked.SubnetChange(network="lan", subnet="subnet-1", gate="no"))


@pytest.mark.parametrize(
    ("intent", "kind"),
    [
        (asked.SubnetCreate(network="lan", cidr="10.2.0.0/24"), Invalid),
        (create("other", cidr="10.1.0.1/16"), Invalid),
        (asked.PortCreate(network="lan", address="10.1.0.1"), Invalid),
        (asked.PortCreate(network="lan", groups=("none",)), NotFound),
        (asked.PortChange(port="none", guarded=True), NotFound),
    ],
)
async def test_what_cannot_be_is_refused(store: Store, intent: intents.Intent, kind: type[GuesthouseError]) -> None:
    async with a_lan(store) as lan:
        with pytest.raises(kind):
            await lan.engine.accept(lan.asker, intent)


async def test_a_nic_that_is_public_no_more_gives_its_address_back(store: Store) -> None:
    async with a_lan(store) as lan:
        await lan.engine.accept(lan.asker, asked.PoolAdd(cidr="192.0.2.0/29"))
        await do(lan.engine, lan.asker, launch(nics=(NicSpec(network="lan"),)))
        spec = (await lan.engine.views.machine(lan.asker, "web")).machine.spec
        public = replace(spec, nics=(replace(spec.nics[0], public=True),))
        await do(lan.engine, lan.asker, intents.Apply(spec=public))
        (lent,) = await lan.elastics()
        assert lent.lent
        await do(lan.engine, lan.asker, intents.Apply(spec=spec))
        assert await lan.elastics() == []


async def test_a_port_is_free_again_when_its_nic_cannot_be_plugged(store: Store) -> None:
    async with a_lan(store) as lan:
        kept = await lan.kept()
        await do(lan.engine, lan.asker, launch(nics=()))
        lan.host.machines.faults["plug-nic"] = Failed("no")
        await fails(lan.engine, lan.asker, nic_intents.NicAdd(machine="web", network="lan", mac=kept.mac))
        lan.host.machines.faults.clear()
        left = await lan.port(kept.id)
        assert left is not None
        assert (left.machine, left.name) == ("", "")


async def test_ports_count_as_addresses_of_their_project(store: Store) -> None:
    async with a_lan(store) as lan:
        shop = await tenant(lan.engine, lan.asker, addresses=1)
        await do(lan.engine, shop, create("back"))
        await do(lan.engine, shop, asked.SubnetCreate(network="back", cidr="10.1.0.0/24"))
        await do(lan.engine, shop, asked.PortCreate(network="back"))
        with pytest.raises(QuotaExceeded):
            await lan.engine.accept(shop, asked.PortCreate(network="back"))
