"""What of networks, groups, rules and elastic addresses is refused, and leaves no trace."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.engine.house import at_work, do, launch, with_image
from tests.engine.on_networks import NAT, a_port, create, rule
from tests.hosts import FakeHost

from guesthouse.engine import network_intents as asked
from guesthouse.engine.intents import Intent
from guesthouse.model.errors import (
    Conflict,
    Denied,
    GuesthouseError,
    Invalid,
    NotFound,
)
from guesthouse.model.machine import NicSpec
from guesthouse.model.network import NetworkMode, Protocol
from guesthouse.ports import Store


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
    (create("x", first="10.9.0.5"), Invalid, "first"),
    (create("x", cidr="10.9.0.1/24"), Invalid, "cidr"),
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
