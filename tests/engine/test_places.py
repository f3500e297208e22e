"""Places of machines on networks: who gets which address, who is refused, and when a place is free again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import SystemRandom
from typing import Any

import pytest
from tests.engine.house import at_work, do, ended, fails, launch, with_image
from tests.hosts import FakeHost
from tests.machines import FIRST_PORT
from tests.patience import PATIENCE_S

from guesthouse.engine import intents, network_intents, nic_intents
from guesthouse.engine.engine import Engine
from guesthouse.engine.intents import Asker
from guesthouse.engine.register import MachineRegister
from guesthouse.model.errors import Conflict, Failed, GuesthouseError, Invalid, NoCapacity, NotFound
from guesthouse.model.hosts import FIRST_HOST
from guesthouse.model.machine import Forward, Machine, NicSpec
from guesthouse.model.names import make_id
from guesthouse.model.network import Group, Network, NetworkMode, NetworkState, Port, Subnet
from guesthouse.model.resources import Operation, OperationState
from guesthouse.store import SqlStore

_RANDOM = SystemRandom()


class Street:
    """A house at work, its store, and the networks that a test puts there."""

    def __init__(self, engine: Engine, asker: Asker, store: SqlStore, host: FakeHost) -> None:
        self.engine, self.asker, self.store, self.host = engine, asker, store, host
        self._numbers = 100

    async def network(self, name: str, mode: NetworkMode = NetworkMode.NAT, *cidrs: str, **values: Any) -> Network:
        """A network that is ready, with a subnet for each of `cidrs`; the last address is the first one's end."""
        self._numbers += 1
        said = {"project": self.asker.project, "name": name, "mode": mode, "number": self._numbers}
        said["host"] = FIRST_HOST
        network = Network(id=make_id(_RANDOM), **{**said, "state": NetworkState.READY, **values})
        async with self.store.write() as tx:
            network = await tx.networks.insert(network)
            for number, cidr in enumerate(cidrs, 1):
                await tx.subnets.insert(_subnet(network, number, cidr))
        return network

    async def group(self, network: Network, name: str) -> Group:
        async with self.store.write() as tx:
            return await tx.groups.insert(
                Group(id=make_id(_RANDOM), project=network.project, network=network.id, name=name)
            )

    async def launch(self, name: str, *nics: NicSpec) -> Machine:
        await do(self.engine, self.asker, launch(name, nics=nics))
        return await self.machine(name)

    async def machine(self, name: str) -> Machine:
        async with self.store.read() as tx:
            (found,) = await tx.machines.select(name=name)
        return found

    async def ports(self, **equal: object) -> list[Port]:
        async with self.store.read() as tx:
            return await tx.ports.select(**equal)

    async def generation(self, network: Network) -> int:
        async with self.store.read() as tx:
            found = await tx.networks.get(network.id)
        assert found is not None
        return found.generation


def _subnet(network: Network, number: int, cidr: str) -> Subnet:
    base = cidr.rpartition(".")[0]
    return Subnet(
        id=make_id(_RANDOM),
        project=network.project,
        network=network.id,
        name=f"s{number}",
        number=number,
        cidr=cidr,
        gateway=f"{base}.1",
        first=f"{base}.2",
        last=f"{base}.4",
        cidr6=f"fd00:0:0:{number}::/64" if network.ipv6 else "",
    )


@asynccontextmanager
async def a_street(store: SqlStore) -> AsyncIterator[Street]:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        yield Street(engine, asker, store, host)


async def test_a_machine_gets_the_first_free_address_and_keeps_it(store: SqlStore) -> None:
    async with a_street(store) as street:
        back = await street.network("back", NetworkMode.NAT, "10.0.0.0/24", ipv6=True)
        web = await street.launch("web", NicSpec(network="back"))
        (nic,) = web.spec.nics
        assert (nic.network, nic.subnet, nic.address, web.address) == ("back", "s1", "10.0.0.2", "10.0.0.2")
        (port,) = await street.ports(machine=web.id)
        assert (port.mac, port.address, port.address6, port.number) == (nic.mac, "10.0.0.2", "fd00:0:0:1::2", 1)
        before = await street.generation(back)
        db = await street.launch("db", NicSpec(network=back.id, address="10.0.0.77"))
        assert db.spec.nics[0].address == "10.0.0.77"
        assert await street.generation(back) > before
        await do(street.engine, street.asker, intents.Change(machine="web", vcpus=2))
        assert (await street.machine("web")).spec.nics == web.spec.nics
        await do(street.engine, street.asker, intents.Rename(machine="web", name="www"))
        assert [port.name for port in await street.ports(machine=web.id)] == ["www"]
        await do(street.engine, street.asker, intents.Delete(machine="www"))
        assert await street.ports(machine=web.id) == []
        assert (await street.launch("again", NicSpec(network="back"))).address == "10.0.0.2"


async def test_a_place_is_free_when_its_nic_is_gone(store: SqlStore) -> None:
    async with a_street(store) as street:
        await street.network("back", NetworkMode.NAT, "10.0.0.0/24")
        web = await street.launch("web", NicSpec(), NicSpec(network="back"))
        assert len(await street.ports()) == 1
        await do(street.engine, street.asker, intents.Change(machine="web", nics=web.spec.nics[:1]))
        assert await street.ports() == []
        both = await street.launch("two", NicSpec(network="back"), NicSpec(network="back"))
        assert [nic.address for nic in both.spec.nics] == ["10.0.0.2", "10.0.0.3"]


async def test_a_machine_goes_back_to_its_address_or_not_at_all(store: SqlStore) -> None:
    async with a_street(store) as street:
        await street.network("back", NetworkMode.NAT, "10.0.0.0/24")
        web = await street.launch("web", NicSpec(network="back"))
        await do(street.engine, street.asker, intents.SnapshotCreate(machine="web", name="s"))
        await do(street.engine, street.asker, intents.Change(machine="web", nics=()))
        await do(street.engine, street.asker, intents.SnapshotRevert(machine="web", snapshot="s"))
        assert [port.address for port in await street.ports(machine=web.id)] == ["10.0.0.2"]
        await do(street.engine, street.asker, intents.Change(machine="web", nics=()))
        await street.launch("other", NicSpec(network="back"))
        with pytest.raises(Conflict, match=r"address 10\.0\.0\.2 is taken"):
            await street.engine.accept(street.asker, intents.SnapshotRevert(machine="web", snapshot="s"))


async def test_forks_have_places_of_their_own(store: SqlStore) -> None:
    async with a_street(store) as street:
        await street.network("back", NetworkMode.NAT, "10.0.0.0/24")
        await street.launch("web", NicSpec(network="back"))
        await do(street.engine, street.asker, intents.Fork(machine="web", count=2))
        assert sorted(port.address for port in await street.ports()) == ["10.0.0.2", "10.0.0.3", "10.0.0.4"]
        assert len({port.mac for port in await street.ports()}) == 3
        with pytest.raises(NoCapacity, match="no free address"):
            await street.engine.accept(street.asker, intents.Fork(machine="web"))
        assert len(await street.ports()) == 3


async def test_groups_and_forwards_may_change(store: SqlStore) -> None:
    async with a_street(store) as street:
        back = await street.network("back", NetworkMode.PRIVATE, "10.0.0.0/24", "10.0.1.0/24")
        default, db = await street.group(back, "default"), await street.group(back, "db")
        web = await street.launch("web", NicSpec(network="back", subnet="s2"))
        assert (web.address, web.spec.nics[0].groups) == ("10.0.1.2", ("default",))
        assert [port.groups for port in await street.ports()] == [(default.id,)]
        before = await street.generation(back)
        await do(street.engine, street.asker, nic_intents.NicChange(machine="web", nic="back", groups=("db",)))
        (port,) = await street.ports()
        assert (port.groups, port.address) == ((db.id,), "10.0.1.2")
        assert await street.generation(back) > before
        await street.network("lab", NetworkMode.NAT, "10.2.0.0/24")
        await street.launch("www", NicSpec(network="lab", forwards=(Forward(guest_port=80),)))
        (port,) = await street.ports(name="www")
        assert port.forwards[0].host_port >= 40000


async def test_a_nic_that_moves_keeps_its_mac_and_gets_another_address(store: SqlStore) -> None:
    async with a_street(store) as street:
        back = await street.network("back", NetworkMode.NAT, "10.0.0.0/24")
        shop = await street.network("shop", NetworkMode.PRIVATE, "10.1.0.0/24", "10.1.1.0/24")
        await street.group(shop, "default")
        web = await street.launch("web", NicSpec(network="back", forwards=(Forward(guest_port=80, host_port=8080),)))
        mac = web.spec.nics[0].mac
        for said, expected in (
            ({"network": "shop"}, Invalid),  # it forwards a port, and shop forwards none
            ({}, Invalid),
            ({"network": "none"}, NotFound),
            ({"address": "10.9.0.1"}, Invalid),
        ):
            with pytest.raises(expected):
                await street.engine.accept(street.asker, nic_intents.NicMove(machine="web", nic="back", **said))
        assert [port.mac for port in await street.ports()] == [mac]
        await do(street.engine, street.asker, intents.ForwardRemove(machine="web", guest_port=80))
        before = await street.generation(back), await street.generation(shop)
        await do(street.engine, street.asker, nic_intents.NicMove(machine="web", nic="back", network="shop"))
        (nic,) = (await street.machine("web")).spec.nics
        assert (nic.mac, nic.network, nic.subnet, nic.address) == (mac, "shop", "s1", "10.1.0.2")
        assert (nic.groups, (await street.machine("web")).address) == (("default",), "10.1.0.2")
        assert [(port.network, port.mac) for port in await street.ports()] == [(shop.id, mac)]
        assert (await street.generation(back), await street.generation(shop)) > before
        await do(street.engine, street.asker, nic_intents.NicMove(machine="web", nic=mac, subnet="s2"))
        assert [port.address for port in await street.ports()] == ["10.1.1.2"]
        await do(street.engine, street.asker, nic_intents.NicMove(machine="web", nic=mac, address="10.1.0.9"))
        assert [port.address for port in await street.ports()] == ["10.1.0.9"]


async def test_a_place_is_kept_until_the_guest_has_let_go_of_it(store: SqlStore) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        street = Street(engine, asker, store, host)
        await street.network("back", NetworkMode.NAT, "10.0.0.0/24")
        await street.network("lab", NetworkMode.NAT, "10.1.0.0/24")
        web = await street.launch("web", NicSpec(network="back", forwards=(Forward(guest_port=80, host_port=8080),)))
        host.machines.gates["unplug-nic"] = asyncio.Event()
        operation = await engine.accept(asker, nic_intents.NicMove(machine="web", nic="back", network="lab"))
        old, new = await street.ports()
        assert (old.address, new.address, new.mac) == ("10.0.0.2", "10.1.0.2", web.spec.nics[0].mac)
        assert (old.mac == new.mac, old.forwards, len(new.forwards)) == (False, (), 1)
        assert (await street.launch("db", NicSpec(network="back"))).address == "10.0.0.3"
        host.machines.gates["unplug-nic"].set()
        assert isinstance(operation, Operation)
        assert (await ended(engine, asker, operation)).state is OperationState.DONE
        assert [port.address for port in await street.ports(machine=web.id)] == ["10.1.0.2"]
        assert (await street.launch("again", NicSpec(network="back"))).address == "10.0.0.2"


async def test_a_move_that_fails_leads_back(store: SqlStore) -> None:
    host = FakeHost()
    async with at_work(store, host) as (engine, asker):
        await with_image(engine, asker)
        street = Street(engine, asker, store, host)
        back = await street.network("back", NetworkMode.NAT, "10.0.0.0/24", host="local")
        lab = await street.network("lab", NetworkMode.NAT, "10.1.0.0/24", host="local")
        web = await street.launch("web", NicSpec(network="back", forwards=(Forward(guest_port=80, host_port=8080),)))
        before = await street.ports()
        host.machines.faults["plug-nic lab"] = Failed("no")
        await fails(engine, asker, nic_intents.NicMove(machine="web", nic="back", network="lab"))
        assert await street.ports() == before
        assert (await street.machine("web")).spec == web.spec
        made = host.networks.made
        async with asyncio.timeout(PATIENCE_S):
            for network in (back, lab):
                while made[network.id].network.generation != await street.generation(network):
                    await host.networks.applied.get()
        assert [each.port.address for each in made[back.id].ports] == ["10.0.0.2"]
        assert made[lab.id].ports == ()


async def test_an_elastic_address_follows_a_nic_on_its_network_alone(store: SqlStore) -> None:
    async with a_street(store) as street:
        await street.network("back", NetworkMode.NAT, "10.0.0.0/24")
        await street.network("lab", NetworkMode.NAT, "10.1.0.0/24")
        await street.launch("web", NicSpec(network="back"))
        await street.engine.accept(street.asker, network_intents.PoolAdd(cidr="203.0.113.0/28"))
        await street.engine.accept(street.asker, network_intents.AddressAllocate())
        (elastic,) = await street.engine.networks.elastics(street.asker)
        attach = network_intents.AddressAttach(address=elastic.elastic.address, machine="web")
        await do(street.engine, street.asker, attach)
        await do(street.engine, street.asker, nic_intents.NicMove(machine="web", nic="back", address="10.0.0.9"))
        (view,) = await street.engine.networks.nics(street.asker, "web")
        assert (view.nic.address, view.elastic) == ("10.0.0.9", elastic.elastic.address)
        await do(street.engine, street.asker, nic_intents.NicMove(machine="web", nic="back", network="lab"))
        (view,) = await street.engine.networks.nics(street.asker, "web")
        assert (view.nic.address, view.elastic) == ("10.1.0.2", "")


async def test_nics_are_added_and_removed_by_what_they_are_called(store: SqlStore) -> None:
    async with a_street(store) as street:
        await street.network("back", NetworkMode.NAT, "10.0.0.0/24")
        await street.launch("web", NicSpec())
        user = (await street.machine("web")).spec.nics[0].mac
        add = nic_intents.NicAdd(machine="web", network="back", address="10.0.0.9", mac="52:54:00:00:00:09")
        await do(street.engine, street.asker, add)
        with pytest.raises(Conflict, match="has a NIC 52:54:00:00:00:09 already"):
            await street.engine.accept(street.asker, add)
        assert [nic.address for nic in (await street.machine("web")).spec.nics] == ["", "10.0.0.9"]
        await do(street.engine, street.asker, nic_intents.NicAdd(machine="web", network="back"))
        with pytest.raises(Conflict, match="has 2 NICs on network 'back'"):
            await street.engine.accept(street.asker, nic_intents.NicRemove(machine="web", nic="back"))
        await do(street.engine, street.asker, nic_intents.NicRemove(machine="web", nic=add.mac.upper()))
        await do(street.engine, street.asker, nic_intents.NicRemove(machine="web", nic="back"))
        assert [nic.mac for nic in (await street.machine("web")).spec.nics] == [user]
        with pytest.raises(NotFound, match="has no NIC 'back'"):
            await street.engine.accept(street.asker, nic_intents.NicRemove(machine="web", nic="back"))
        assert await street.ports() == []


REFUSED: dict[str, tuple[NicSpec, type[GuesthouseError], str]] = {
    "no such network": (NicSpec(network="none"), NotFound, "there is no network 'none'"),
    "of others": (NicSpec(network="theirs"), NotFound, "there is no network 'theirs'"),
    "in the making": (NicSpec(network="making"), Conflict, "is not ready: making"),
    "no such subnet": (NicSpec(network="back", subnet="s9"), NotFound, "has no subnet 's9'"),
    "no such group": (NicSpec(network="back", groups=("g",)), NotFound, "has no group 'g'"),
    "outside": (NicSpec(network="back", address="10.9.0.1"), Invalid, "is not in subnet s1"),
    "the gateway's": (NicSpec(network="back", address="10.0.0.1"), Invalid, "is the gateway's"),
    "no address": (NicSpec(network="back", address="x"), Invalid, "is no address"),
    "taken": (NicSpec(network="back", address="10.0.0.2"), Conflict, "is taken"),
    "given by others": (NicSpec(network="lan", address="10.0.0.9"), Invalid, "has no address"),
    "forwards none": (NicSpec(network="lan", forwards=(Forward(guest_port=80),)), Invalid, "forwards no ports"),
    "no network": (NicSpec(address="10.0.0.9"), Invalid, "a NIC without a network has no address"),
}


async def test_who_is_refused_leaves_no_trace(store: SqlStore) -> None:
    async with a_street(store) as street:
        await street.network("back", NetworkMode.NAT, "10.0.0.0/24")
        await street.network("lan", NetworkMode.BRIDGE)
        await street.network("making", NetworkMode.NAT, "10.2.0.0/24", state=NetworkState.MAKING)
        await do(street.engine, street.asker, launch("web", nics=(NicSpec(network="back"),)))
        accepted = await street.engine.accept(street.asker, intents.ProjectCreate(name="others"))
        await street.network("theirs", NetworkMode.NAT, "10.3.0.0/24", project=accepted.id)  # type: ignore[union-attr]
        before = await street.ports()
        for name, (nic, kind, message) in REFUSED.items():
            with pytest.raises(kind, match=message):
                await street.engine.accept(street.asker, launch("x", nics=(nic,)))
            assert await street.ports() == before, name


class Keys:
    """The house's keys, of which a test needs the public half."""

    async def public(self, project: str) -> str:
        return f"ssh-ed25519 AAAA of {project}"

    def private_path(self, project: str) -> str:
        return ""


async def test_who_asks_for_metadata_is_known_by_network_and_address(store: SqlStore) -> None:
    async with a_street(store) as street:
        one = await street.network("one", NetworkMode.PRIVATE, "10.0.0.0/24", ipv6=True, domain="one.guest.internal")
        two = await street.network("two", NetworkMode.PRIVATE, "10.0.0.0/24")
        group = await street.group(one, "default")
        register = MachineRegister(store, store, Keys())
        web = await street.launch("web", NicSpec(network="one"), NicSpec(network="two", address="10.0.0.9"))
        other = await street.launch("other", NicSpec(network="two"))
        for network, address, machine in (
            (one, "10.0.0.2", web),
            (one, "fd00:0:0:1::2", web),
            (two, "10.0.0.2", other),
            (two, "10.0.0.9", web),
        ):
            asked = await register.who(network.id, address)
            assert asked is not None
            assert (asked.machine, asked.name) == (machine.id, machine.name)
        asked = await register.who(one.id, "10.0.0.2")
        assert asked is not None
        assert asked.hostname == "web.one.guest.internal"
        assert [(nic.network_name, nic.address) for nic in asked.nics] == [("one", "10.0.0.2"), ("two", "10.0.0.9")]
        assert [each.name for each in asked.nics[0].groups] == [group.name]
        assert asked.keys[-1].public == f"ssh-ed25519 AAAA of {web.project}"
        assert await register.who(one.id, "10.0.0.9") is None
        assert await register.who(one.id, "") is None
        await do(street.engine, street.asker, intents.Delete(machine="web"))
        assert await register.who(one.id, "10.0.0.2") is None


async def test_ssh_goes_where_who_asks_reaches_a_machine(store: SqlStore) -> None:
    async with a_street(store) as street:
        back = await street.network("back", NetworkMode.NAT, "10.0.0.0/24")
        await street.network("shop", NetworkMode.PRIVATE, "10.1.0.0/24")
        await street.network("lan", NetworkMode.BRIDGE)
        await street.group(back, "web")
        await street.launch("web", NicSpec(network="back"))
        await street.launch("judged", NicSpec(network="back", groups=("web",)))
        await street.launch("db", NicSpec(network="shop"))
        await street.launch("both", NicSpec(network="shop"), NicSpec(network="back"))
        await street.launch("user", NicSpec())
        await street.launch("far", NicSpec(network="lan"))
        ways = {
            "web": ("10.0.0.2", 22, False),
            "judged": ("judged", 22, True),
            "db": ("db", 22, True),
            "both": ("10.0.0.4", 22, False),
            "user": ("127.0.0.1", FIRST_PORT + 4, False),
        }
        for name, way in ways.items():
            access = await street.engine.inside.ssh(street.asker, name)
            assert (access.host, access.port, access.tunnel) == way, name
            elsewhere = await street.engine.inside.ssh(street.asker, name, local=False)
            assert (elsewhere.host, elsewhere.port, elsewhere.tunnel) == (name, 22, True)
            assert elsewhere.known_hosts == f"{name} ssh-ed25519 AAAA"
        with pytest.raises(Conflict, match=r"neither a port of this host .* nor an address"):
            await street.engine.inside.ssh(street.asker, "far")
        street.host.network_facts.reaches = False
        for name, led in (("web", True), ("both", True), ("user", False)):
            assert (await street.engine.inside.ssh(street.asker, name)).tunnel is led
