"""Elastic addresses: kept, led to a machine, led away, given back."""

from __future__ import annotations

import pytest
from tests.engine.house import at_work, do, fails, launch, with_image
from tests.engine.on_networks import NAT, a_port, create, shown
from tests.hosts import FakeHost

from guesthouse.engine import network_intents as asked
from guesthouse.model.errors import (
    Conflict,
    Failed,
)
from guesthouse.model.network import Elastic
from guesthouse.ports import Store


async def test_an_elastic_address_leads_to_a_machine_and_away(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch())
        await do(engine, asker, create("home", NAT))
        network = (await shown(engine, asker, "home")).network
        async with store.write() as tx:
            ports = [await a_port(tx, network, "web", number) for number in (1, 2)]
        await engine.accept(asker, asked.PoolAdd(cidr="192.0.2.0/29"))
        taken = [await engine.accept(asker, asked.AddressAllocate()) for _ in range(2)]
        addresses = [each.address for each in taken if isinstance(each, Elastic)]
        assert addresses == ["192.0.2.2", "192.0.2.3"], "192.0.2.1 is the host's own"
        attach = asked.AddressAttach(address=addresses[0], machine="web", mac=ports[1].mac)
        await do(engine, asker, attach)
        assert [each.elastic for each in host.networks.made[network.id].ports] == ["", addresses[0]]
        view = await engine.networks.elastic(asker, addresses[0])
        assert (view.machine_name, view.network_name, view.mac) == ("web", "home", ports[1].mac)
        assert (await do(engine, asker, attach)).result == {"already": True}
        for address, mac, field in ((addresses[0], ports[0].mac, "address"), (addresses[1], ports[1].mac, "mac")):
            with pytest.raises(Conflict) as refused:
                await engine.accept(asker, asked.AddressAttach(address=address, machine="web", mac=mac))
            assert refused.value.field == field
        with pytest.raises(Conflict, match="leads to a machine"):
            await engine.accept(asker, asked.AddressRelease(address=addresses[0]))
        host.networks.faults["apply"] = Failed("no")
        await fails(engine, asker, asked.AddressDetach(address=addresses[0]))
        assert (await engine.networks.elastic(asker, addresses[0])).machine_name == "web"
        host.networks.faults.clear()
        await do(engine, asker, asked.AddressDetach(address=addresses[0]))
        assert [each.elastic for each in host.networks.made[network.id].ports] == ["", ""]
        for address in addresses:
            await engine.accept(asker, asked.AddressRelease(address=address))
        await engine.accept(asker, asked.PoolRemove(cidr="192.0.2.0/29"))
