"""Networks, groups, rules and elastic addresses: what is accepted, what is refused, and what becomes of it."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from tests.engine.house import at_work, do, ended, fails, launch, with_image
from tests.hosts import NO_NETWORKS, FakeHost
from tests.patience import PATIENCE_S

from guesthouse.engine import intents
from guesthouse.engine import network_intents as asked
from guesthouse.engine.engine import Engine
from guesthouse.engine.intents import Asker, Intent
from guesthouse.engine.network_views import NetworkView
from guesthouse.model.errors import (
    Conflict,
    Denied,
    Failed,
    GuesthouseError,
    Invalid,
    NoCapacity,
    NotFound,
    QuotaExceeded,
)
from guesthouse.model.machine import NicSpec
from guesthouse.model.network import Direction, Elastic, Network, NetworkMode, NetworkState, Port, Protocol
from guesthouse.model.resources import Operation, OperationState, Quota, Role
from guesthouse.ports import HostAddresses, Lease, Store, Transaction

EVERYBODY = "0.0.0.0/0"


def create(name: str = "lan", mode: NetworkMode = NetworkMode.PRIVATE, **words: Any) -> asked.NetworkCreate:
    return asked.NetworkCreate(name=name, mode=mode, **words)


def rule(group: str = "web", **words: Any) -> asked.RuleAdd:
    said = {"protocol": Protocol.TCP, "first_port": 80, "cidr": EVERYBODY} | words
    return asked.RuleAdd(network="lan", group=group, **said)


async def shown(engine: Engine, asker: Asker, ref: str = "lan") -> NetworkView:
    return await engine.networks.network(asker, ref)


async def tenant(engine: Engine, asker: Asker, name: str = "shop", **quota: int) -> Asker:
    """An operator of a project of its own."""
    await engine.accept(asker, intents.ProjectCreate(name=name, quota=Quota(**quota)))
    return Asker((await engine.access.local(name)).project, Role.OPERATOR)


async def a_port(tx: Transaction, network: Network, machine: str, number: int = 1, **words: Any) -> Port:
    """A NIC of a machine on a network, in its first subnet."""
    owner = (await tx.machines.select(name=machine))[0]
    subnet = (await tx.subnets.select(network=network.id))[0]
    said: dict[str, Any] = {
        "project": owner.project, "mac": f"52:54:00:00:{network.number:02x}:{number:02x}", "subnet": subnet.id,
        "address": subnet.first.rpartition(".")[0] + f".{number + 10}",
    }  # fmt: skip
    port = Port(
        id=f"{network.number}-{number}", network=network.id, machine=owner.id, name=machine, number=number,
        **(said | words),
    )  # fmt: skip
    return await tx.ports.insert(port)


# --- making them ---------------------------------------------------------------------------------------------


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


# --- refusals ------------------------------------------------------------------------------------------------


async def trace(store: Store) -> list[Any]:
    """All records, and the number of the last event."""
    async with store.read() as tx:
        nouns = (tx.networks, tx.subnets, tx.groups, tx.ports, tx.elastics, tx.pools, tx.operations)
        return [*[await table.select() for table in nouns], await tx.events.last()]


async def test_refusals_change_nothing(store: Store) -> None:
    async with at_work(store, FakeHost()) as (engine, asker):
        await with_image(engine, asker)
        await do(engine, asker, launch(nics=(NicSpec(), NicSpec())))
        for name, mode in (("lan", NetworkMode.PRIVATE), ("home", NetworkMode.NAT)):
            await do(engine, asker, create(name, mode))
        await do(engine, asker, create("wire", NetworkMode.BRIDGE, link="br0"))
        await do(engine, asker, asked.SubnetCreate(network="lan", cidr="10.1.0.0/24", name="one"))
        for name in ("web", "db"):
            await do(engine, asker, asked.GroupCreate(network="lan", name=name))
        await do(engine, asker, rule())
        await do(engine, asker, rule("db", cidr="", peer="web"))
        await engine.accept(asker, asked.PoolAdd(cidr="203.0.113.0/30"))
        await engine.accept(asker, asked.AddressAllocate())
        async with store.write() as tx:
            (lan,) = await tx.networks.select(name="lan")
            group = (await tx.groups.select(name="db"))[0].id
            for number in (1, 2):
                await a_port(tx, lan, "web", number, groups=(group,))
        before = await trace(store)
        for intent, error, field in REFUSALS:
            with pytest.raises(error) as refused:
                await engine.accept(asker, intent)
            assert refused.value.field == field, (intent, refused.value)
            assert refused.value.hint or field in ("rules", "shared"), intent
            assert await trace(store) == before, intent
        no_operator = msgspec.structs.replace(asker, house=False)
        for intent in FOR_THE_HOUSE:
            with pytest.raises(Denied):
                await engine.accept(no_operator, intent)
        assert await trace(store) == before


NAT = NetworkMode.NAT
FOR_THE_HOUSE: list[Intent] = [
    create("x", shared=True),
    create("x", NetworkMode.BRIDGE, link="br0"),
    create("x", NAT, cidr="10.50.0.0/24"),
    create("x", NetworkMode.HOST_ONLY, cidr="8.8.8.0/24"),
    asked.NetworkChange(network="lan", shared=True),
    asked.PoolAdd(cidr="198.51.100.0/24"),
    asked.PoolRemove(cidr="203.0.113.0/30"),
]
REFUSALS: list[tuple[Intent, type[GuesthouseError], str]] = [
    (create("Lan"), Invalid, "name"),
    (create("lan"), Conflict, "name"),
    (create("x", cidr="10.9.0.0/24"), Invalid, "cidr"),
    (create("x", NAT, cidr="10.100.0.0/16"), Conflict, "cidr"),
    (create("x", NAT, cidr="192.0.2.0/25"), Conflict, "cidr"),
    (create("x", NAT, cidr="203.0.113.0/24"), Conflict, "cidr"),
    (create("x", NAT, cidr="10.9.0.9/24"), Invalid, "cidr"),
    (create("x", NAT, first="10.9.0.9"), Invalid, "first"),
    (create("x", NAT, link="br0"), Invalid, "link"),
    (create("x", NAT, mtu=100), Invalid, "mtu"),
    (create("x", NAT, domain="example.org"), Invalid, "domain"),
    (create("x", NAT, domain="home.guest.internal"), Conflict, "domain"),
    (create("x", NAT, domain="guest.internal"), Conflict, "domain"),
    (create("x", domain="no_domain"), Invalid, "domain"),
    (create("x", NetworkMode.BRIDGE), Invalid, "link"),
    (create("x", NetworkMode.BRIDGE, link="br0", ipv6=True), Invalid, "ipv6"),
    (asked.NetworkChange(network="lan"), Invalid, "network"),
    (asked.NetworkChange(network="none", mtu=1400), NotFound, "network"),
    (asked.NetworkChange(network="lan", mtu=100), Invalid, "mtu"),
    (asked.NetworkChange(network="wire", ipv6=True), Invalid, "ipv6"),
    (asked.NetworkChange(network="wire", domain="a.internal"), Invalid, "domain"),
    (asked.NetworkChange(network="home", domain="org"), Invalid, "domain"),
    (asked.NetworkDelete(network="none"), NotFound, "network"),
    (asked.NetworkDelete(network="lan"), Conflict, "machines"),
    (asked.SubnetCreate(network="home", cidr="10.9.0.0/24"), Conflict, "mode"),
    (asked.SubnetCreate(network="lan", cidr="10.1.0.128/25"), Conflict, "cidr"),
    (asked.SubnetCreate(network="lan", cidr="10.2.0.0/24", name="one"), Conflict, "name"),
    (asked.SubnetCreate(network="lan", cidr="10.2.0.0/24", name="One"), Invalid, "name"),
    (asked.SubnetCreate(network="lan", cidr="10.2.0.0/24", last="10.1.0.9"), Invalid, "last"),
    (asked.SubnetDelete(network="lan", subnet="none"), NotFound, "subnet"),
    (asked.SubnetDelete(network="lan", subnet="one"), Conflict, "machines"),
    (asked.GroupCreate(network="wire", name="x"), Conflict, "mode"),
    (asked.GroupCreate(network="lan", name="web"), Conflict, "name"),
    (asked.GroupCreate(network="lan", name="x", description="a\nb"), Invalid, "description"),
    (asked.GroupDelete(network="home", group="web"), NotFound, "group"),
    (asked.GroupDelete(network="lan", group="default"), Conflict, ""),
    (asked.GroupDelete(network="lan", group="db"), Conflict, "machines"),
    (asked.GroupDelete(network="lan", group="web"), Conflict, "group"),
    (rule("none"), NotFound, "group"),
    (rule(), Conflict, "rules"),
    (rule(description="another word for it"), Conflict, "rules"),
    (rule(peer="db"), Invalid, "cidr"),
    (rule(cidr="", peer="none"), NotFound, "peer"),
    (rule(cidr="10.0.0.1/8"), Invalid, "cidr"),
    (rule(first_port=90, last_port=80), Invalid, "last_port"),
    (rule(protocol=Protocol.ICMP6), Invalid, "protocol"),
    (asked.RuleRemove(network="lan", group="web", rule="none"), NotFound, "rule"),
    (asked.PoolAdd(cidr="203.0.113.0/24"), Conflict, "cidr"),
    (asked.PoolAdd(cidr="10.100.0.0/25"), Conflict, "cidr"),
    (asked.PoolAdd(cidr="many"), Invalid, "cidr"),
    (asked.PoolRemove(cidr="198.51.100.0/24"), NotFound, "cidr"),
    (asked.PoolRemove(cidr="203.0.113.0/30"), Conflict, "cidr"),
    (asked.AddressAllocate(address="203.0.113.1"), Conflict, "address"),
    (asked.AddressAllocate(address="203.0.113.3"), Invalid, "address"),
    (asked.AddressAttach(address="203.0.113.2", machine="web"), NotFound, "address"),
    (asked.AddressAttach(address="203.0.113.1", machine="none"), NotFound, "machine"),
    (asked.AddressAttach(address="203.0.113.1", machine="web"), Invalid, "mac"),
    (asked.AddressAttach(address="203.0.113.1", machine="web", mac="52:54:00:00:00:99"), Conflict, "mac"),
    (asked.AddressDetach(address="203.0.113.1"), Conflict, "address"),
    (asked.AddressRelease(address="203.0.113.2"), NotFound, "address"),
]  # fmt: skip


# --- changing them -------------------------------------------------------------------------------------------


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


# --- elastic addresses ---------------------------------------------------------------------------------------


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


# --- tenants -------------------------------------------------------------------------------------------------


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


# --- keeping them --------------------------------------------------------------------------------------------


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
