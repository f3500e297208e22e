"""Networks that are made, shown and deleted, by one tenant or several."""

from __future__ import annotations

import pytest
from tests.engine.house import at_work, do, ended, fails, launch, with_image
from tests.engine.on_networks import EVERYBODY, NAT, a_port, create, shown, tenant
from tests.hosts import NO_NETWORKS, FakeHost

from guesthouse.engine import intents
from guesthouse.engine import network_intents as asked
from guesthouse.engine.register import MachineRegister
from guesthouse.model.errors import (
    Conflict,
    NoCapacity,
    NotFound,
    QuotaExceeded,
)
from guesthouse.model.machine import NicSpec
from guesthouse.model.network import Direction, NetworkMode, NetworkState
from guesthouse.ports import HostAddresses, Lease, Store


async def test_a_network_of_each_mode_is_made_shown_and_deleted(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await do(engine, asker, create("home", NetworkMode.NAT))
        await do(engine, asker, create("lab", NetworkMode.HOST_ONLY, cidr="10.5.0.0/24", first="10.5.0.100", ipv6=True))
        await do(engine, asker, create("wire", NetworkMode.BRIDGE, link="br0", mtu=9000))
        await do(engine, asker, create())
        views = await engine.networks.networks(asker)
        assert [(view.network.name, view.network.number, [each.cidr for each in view.subnets]) for view in views] == [
            ("home", 1, ["10.100.0.0/24"]),
            ("lab", 2, ["10.5.0.0/24"]),
            ("wire", 3, []),
            ("lan", 4, []),
        ]
        assert {view.network.state for view in views} == {NetworkState.READY}
        assert [view.network.domain for view in views] == [
            "home.guest.internal",
            "lab.guest.internal",
            "",
            "lan.guest.internal",
        ]
        assert {view.network.observed_generation for view in views} == {1}
        assert set(host.networks.made) == {view.network.id for view in views}
        lab = host.networks.made[views[1].network.id].subnets[0]
        assert (lab.gateway, lab.first, lab.last) == ("10.5.0.1", "10.5.0.100", "10.5.0.254")
        assert lab.cidr6.startswith("fd")
        (group,) = host.networks.made[views[3].network.id].groups
        assert [(each.direction, each.group or each.cidr) for each in group.rules] == [
            (Direction.IN, group.id), (Direction.OUT, EVERYBODY), (Direction.OUT, "::/0"),
        ]  # fmt: skip
        await do(engine, asker, asked.NetworkDelete(network="lab"))
        await do(engine, asker, create("next", NetworkMode.NAT))
        assert (await shown(engine, asker, "next")).network.number == 2
        for view in await engine.networks.networks(asker):
            await do(engine, asker, asked.NetworkDelete(network=view.network.id))
        assert host.networks.made == {}
        async with store.read() as tx:
            assert [*await tx.networks.scan(), *await tx.subnets.scan(), *await tx.groups.scan()] == []


async def test_one_that_the_host_cannot_have_leaves_nothing(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        host.networks.faults["apply"] = Conflict("eth0 is Wi-Fi", field="link")
        operation = await fails(engine, asker, create())
        assert operation.error is not None
        assert operation.error["message"] == "eth0 is Wi-Fi"
        assert await engine.networks.networks(asker) == []
        async with store.read() as tx:
            assert await tx.groups.scan() == []
        host.networks.faults.clear()
        await do(engine, asker, create())


async def test_the_first_network_is_there_from_the_start(store: Store) -> None:
    async with at_work(store, FakeHost(), networks=True) as (engine, asker):
        (view,) = await engine.networks.networks(asker)
        assert (view.network.name, view.network.mode, view.network.shared) == ("default", NetworkMode.NAT, True)
        for row in await engine.views.operations(asker, all=False):
            await ended(engine, asker, await engine.views.operation(asker, row.id))
        await do(engine, asker, create())
        await do(engine, asker, asked.NetworkDelete(network="default"))
    async with at_work(store, FakeHost(), networks=True) as (engine, asker):
        assert [view.network.name for view in await engine.networks.networks(asker)] == ["lan"], "it was deleted"


async def test_where_there_can_be_none_there_is_none_and_it_is_said_why(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        assert await engine.networks.networks(asker) == []
        host.network_facts.refused = NO_NETWORKS
        with pytest.raises(NoCapacity, match="user-mode networks alone") as refused:
            await engine.accept(asker, create())
        assert refused.value.hint == "become root"


async def test_where_there_can_be_none_any_more_they_are_left_as_they_are(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await do(engine, asker, create())
        network = (await shown(engine, asker)).network
    host.networks.drifted[network.id] = "there is no link"
    async with at_work(store, host, networks=False) as (engine, asker):
        host.network_facts.refused = NO_NETWORKS
        for intent in (asked.NetworkDelete(network="lan"), asked.GroupCreate(network="lan", name="web")):
            with pytest.raises(NoCapacity):
                await engine.accept(asker, intent)
        assert host.networks.drifted, "nobody has looked"


async def test_addresses_that_are_taken_are_not_chosen(store: Store) -> None:
    host = FakeHost()
    host.network_facts.has = HostAddresses(own=("10.100.1.5",), reached=("10.100.0.0/24",))
    async with at_work(store, host) as (engine, asker):
        await engine.accept(asker, asked.PoolAdd(cidr="10.100.2.0/24"))
        await do(engine, asker, create("one", NetworkMode.NAT))
        await do(engine, asker, create("two", NetworkMode.HOST_ONLY))
        views = await engine.networks.networks(asker)
        assert [view.subnets[0].cidr for view in views] == ["10.100.3.0/24", "10.100.4.0/24"]


async def test_tenants_share_a_network_and_see_nothing_of_each_other(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        async with store.write() as tx:
            (image,) = await tx.images.select()
            await tx.images.update(image.id, {}, public=True)
        await do(engine, asker, create("home", NAT, shared=True))
        await do(engine, asker, create("own", NAT))
        one, other = await tenant(engine, asker, "one"), await tenant(engine, asker, "other")
        for each in (one, other):
            await do(engine, each, asked.GroupCreate(network="home", name="web"))
            await do(engine, each, create("lan"))
            assert [view.network.name for view in await engine.networks.networks(each)] == ["home", "lan"]
            with pytest.raises(NotFound):
                await engine.networks.network(each, "own")
            for intent in (asked.NetworkChange(network="home", mtu=1400), asked.NetworkDelete(network="home")):
                with pytest.raises(NotFound):
                    await engine.accept(each, intent)
        await do(engine, one, launch("secret"))
        network = (await shown(engine, asker, "home")).network
        async with store.write() as tx:
            port = await a_port(tx, network, "secret")
        host.network_facts.leased = [Lease(port.address, port.mac, 1.0), Lease("10.100.0.99", "52:54:00:00:00:99", 1.0)]
        seen = [await engine.networks.network(each, "home") for each in (one, other, asker)]
        assert [(len(view.ports), len(view.leases)) for view in seen] == [(1, 1), (0, 0), (1, 1)]
        groups = [(await engine.networks.groups(each, "home"))[0] for each in (one, other)]
        assert groups[0].id != groups[1].id
        with pytest.raises(NotFound):
            await engine.networks.group(other, "home", groups[0].id)
        with pytest.raises(NotFound):
            await engine.accept(other, asked.RuleAdd(network="home", group="web", peer=groups[0].id))
        with pytest.raises(Conflict, match="1 machines of other projects"):
            await engine.accept(asker, asked.NetworkDelete(network="home"))
        with pytest.raises(Conflict, match="used by other projects"):
            await engine.accept(asker, asked.NetworkChange(network="home", shared=False))
        with pytest.raises(Conflict, match="another network's") as refused:
            await engine.accept(one, create("late", NAT, cidr="10.100.1.0/24"))
        assert "own" not in str(refused.value)
        assert [each.kind for each in await engine.views.operations(other, all=True)] == [
            "network.change",
            "network.create",
        ]


async def test_two_tenants_networks_of_one_name_have_two_domains_where_the_host_knows_them(store: Store) -> None:
    async with at_work(store, FakeHost()) as (engine, asker):
        await do(engine, asker, create("lan", NAT))
        other = await tenant(engine, asker)
        await do(engine, other, create("lan", NAT))
        domains = [(await shown(engine, each)).network.domain for each in (asker, other)]
        assert domains == ["lan.guest.internal", "lan-2.guest.internal"]
        assert (await shown(engine, other)).subnets[0].cidr == "10.100.1.0/24"


async def test_machines_of_one_name_on_a_shared_network_have_names_of_their_own(store: Store) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        async with store.write() as tx:
            (image,) = await tx.images.select()
            await tx.images.update(image.id, {}, public=True)
        await do(engine, asker, create("home", NAT, shared=True))
        other = await tenant(engine, asker)
        for each in (asker, other):
            await do(engine, each, launch(nics=(NicSpec(network="home"),)))
        network = (await shown(engine, asker, "home")).network
        ports = host.networks.made[network.id].ports
        assert [(each.machine, each.project) for each in ports] == [("web", ""), ("web", "shop")]
        register = MachineRegister(store, engine.changes, host.keys)  # type: ignore[arg-type]
        told = [await register.who(network.id, each.port.address) for each in ports]
        assert [each.hostname for each in told if each] == ["web.home.guest.internal", "web.shop.home.guest.internal"]


async def test_quotas_count_networks_and_elastic_addresses(store: Store) -> None:
    async with at_work(store, FakeHost()) as (engine, asker):
        other = await tenant(engine, asker, networks=1, addresses=1)
        await do(engine, other, create())
        with pytest.raises(QuotaExceeded) as refused:
            await engine.accept(other, create("more"))
        assert refused.value.field == "networks"
        await engine.accept(asker, asked.PoolAdd(cidr="203.0.113.0/29"))
        await engine.accept(other, asked.AddressAllocate())
        with pytest.raises(QuotaExceeded) as refused:
            await engine.accept(other, asked.AddressAllocate())
        assert refused.value.field == "addresses"
        used = (await engine.views.project(asker, "shop")).used
        assert (used.networks, used.addresses) == (1, 1)
        with pytest.raises(Conflict, match="1 networks, 1 groups, 1 elastic addresses"):
            await engine.accept(asker, intents.ProjectDelete(project="shop"))
